"""Decoupled differential distillation (D3still: Xie et al., CVPR 2024): not the similarities but their differences, by which
a ranking is made, those that the student has the wrong way round weighed more.

Three parts: `alpha` times the error of the similarity to the first of the teacher's ranking (the picture itself: this is
feature regression); `beta` times the differences among the k first whose sign the student has wrong ("hard"); `gamma` times
the others ("simple"). A difference's error is (dS - dT) / (0.1 + |dT|). Values from methods.md 6, which gives alpha 50 to
100 and beta 2 to 5. Reconstruction: each part is the Euclidean norm over the batch, divided by B, as the text has it for the
first; each pair is counted once, and the picture itself is one of the k. Asymmetric in the paper (student's query, teacher's
gallery); `symmetric` is ours: the student's own similarities, where the first is the nearest other picture.
"""

import torch
from torch import Tensor

from vreid.train.losses.csd import context_of

FLOOR = 0.1  # of what a difference's error is relative to


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of all entries, with an epsilon so that the gradient at zero is finite."""
    return x.pow(2).sum().clamp(min=1e-12).sqrt()


def d3still_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 10,
    alpha: float = 50.0,
    beta: float = 2.0,
    gamma: float = 1.0,
    symmetric: bool = False,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar; of the order of 1 / sqrt(B), as its weights were chosen at 256.

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, symmetric, "d3still")
    size = context.held.shape[1]
    first, second = torch.triu_indices(size, size, offset=1, device=student.device)
    held = context.held[:, first] & context.held[:, second]  # (B, pairs)
    ours = context.ours[:, first] - context.ours[:, second]
    theirs = context.theirs[:, first] - context.theirs[:, second]
    errors = (ours - theirs) / (FLOOR + theirs.abs()) * held
    hard = ours * theirs < 0
    regression = norm(context.ours[:, 0] - context.theirs[:, 0])
    return (alpha * regression + beta * norm(errors * hard) + gamma * norm(errors * ~hard)) / len(student)
