"""Distance between the blocks of student and teacher (CDD, CVPR 2023): pooled conv2+BN outputs, before any compactor.

Taken before the compactor it needs no adapter, since student and teacher are equally wide there, and it goes on
supervising channels that the compactor drops.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def blocks_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Per block (B, C), student and teacher -> scalar: sum over blocks of the batch mean of the L2 distance."""
    terms = [
        (ours - theirs.detach()).pow(2).sum(1).clamp(min=1e-12).sqrt().mean()
        for ours, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(terms).sum()
