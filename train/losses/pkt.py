"""Probabilistic knowledge transfer (Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer,
ECCV 2018, section 3): KL between the shares that a picture's neighbours have of its affinity, affinity being (cosine + 1) / 2.

As in the paper's equations a picture is no neighbour of itself; ours: nor of its own copies. The paper writes a sum. Our
reconstruction: the mean over the B x B entries, with which alone the weight of 30000 (methods.md 6) makes sense. The spaces
need not be aligned.
"""

import torch
from torch import Tensor

from vreid.models.network import unit

WEIGHT = 30_000.0


def others(rows: Tensor, pictures: Tensor | None) -> Tensor:
    """rows (B, D), pictures (B,) or None where all differ -> (B, B) bool: the pairs of two different pictures."""
    if pictures is None:
        pictures = torch.arange(len(rows), device=rows.device)
    return pictures[:, None] != pictures[None]


def log_shares(features: Tensor, pairs: Tensor) -> Tensor:
    """features (B, D) of unit length, pairs (B, B) bool -> (B, B) log of each pair's share of its row, 0 for no pair.

    Two opposite vectors have an affinity of 1e-6, not of 0, whose log is no number.
    """
    affinity = ((features @ features.T + 1) / 2).clamp(min=1e-6)
    whole = affinity.masked_fill(~pairs, 0.0).sum(1, keepdim=True).clamp(min=1e-6)
    return (affinity.log() - whole.log()).masked_fill(~pairs, 0.0)


def pkt_loss(student: Tensor, teacher: Tensor, pictures: Tensor | None = None, weight: float = WEIGHT) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: `weight` times the mean entry of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once.
    """
    pairs = others(student, pictures)
    ours, theirs = log_shares(unit(student), pairs), log_shares(unit(teacher.detach()), pairs)
    return weight * (theirs.exp() * (theirs - ours)).masked_fill(~pairs, 0.0).mean()
