"""Similarity distillation: KL between the softmaxes of pair similarities (Whiten-MTD, AAAI 2024, section on the loss).

Here with one teacher and a P x K batch against itself; the diagonal, 1 by definition, is left out.
Dimensions of teacher and student need not agree.
"""

import torch
from torch import Tensor

from vreid.models.network import unit


def similarity_loss(student: Tensor, teacher: Tensor, tau: float = 0.05) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: mean over rows of KL(teacher || student)."""
    student, teacher = unit(student), unit(teacher)
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours = (student @ student.T / tau).masked_fill(itself, -1e4)  # (B, B)
    theirs = (teacher @ teacher.T / tau).masked_fill(itself, -1e4)
    return torch.nn.functional.kl_div(
        ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True
    )
