"""Similarity distillation: KL between the softmaxes of pair similarities (Whiten-MTD, AAAI 2024, section on the loss).

Here with one teacher and a P x K batch against itself; pairs of one picture, 1 by definition, are left out: beside them the
same vehicle in another camera would look like a stranger. Dimensions of teacher and student need not agree.
"""

import torch
from torch import Tensor

from vreid.models.network import unit


def similarity_loss(student: Tensor, teacher: Tensor, tau: float = 0.05, pictures: Tensor | None = None) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: mean over rows of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once.
    """
    student, teacher = unit(student), unit(teacher.detach())
    if pictures is None:
        pictures = torch.arange(len(student), device=student.device)
    itself = pictures[:, None] == pictures[None]  # (B, B)
    ours = (student @ student.T / tau).masked_fill(itself, -1e4)
    theirs = (teacher @ teacher.T / tau).masked_fill(itself, -1e4)
    return torch.nn.functional.kl_div(
        ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True
    )
