"""Retrieval-guided gradient resetting: a channel that no simulated retrieval needs loses its task gradient.

CDD, CVPR 2023 (methods.md 1.4). Vectorised where the paper loops, in float32 where it sorts float64. Options beyond the paper: a
softer consensus, masks that are decided anew, and leaving out the query itself, which the paper retrieves first.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ResettingRules:
    """k: pictures retrieved for each of the batch. p: share of a layer's channels that count as low in one retrieval.
    consensus: share of the retrievals that must find a channel low (1: all). memory: teacher vectors kept a layer.
    sticky: a mask once zero stays zero. itself: whether the query may be retrieved. every: steps between two decisions."""

    k: int = 2
    p: float = 0.5
    consensus: float = 1.0
    memory: int = 24_000
    sticky: bool = True
    itself: bool = True
    every: int = 1


class Memory:
    """The last `size` teacher vectors of one layer, at unit length: a ring buffer that is used while it fills."""

    def __init__(self, size: int, width: int, device: torch.device) -> None:
        self.vectors = torch.zeros(size, width, device=device)
        self.count = 0  # pushed so far

    def push(self, vectors: Tensor) -> Tensor:
        """(B, C) of unit length, B at most the size; returns (B,) the rows that they lie in now."""
        rows = torch.arange(self.count, self.count + len(vectors), device=vectors.device) % len(self.vectors)
        self.vectors[rows] = vectors
        self.count += len(vectors)
        return rows

    def filled(self) -> Tensor:
        """(N, C), N at most the size."""
        return self.vectors[: min(self.count, len(self.vectors))]


def retrieved(queries: Tensor, memory: Memory, own: Tensor, rules: ResettingRules) -> Tensor:
    """Queries (B, C) of unit length, `own` (B,) their rows in the memory -> the k nearest vectors (B, K, C), first the
    nearest. K is less than k while the memory holds less."""
    gallery = memory.filled()
    scores = queries @ gallery.T  # (B, N)
    if not rules.itself:
        scores = scores.scatter(1, own[:, None], -torch.inf)
    k = min(rules.k, len(gallery) - (0 if rules.itself else 1))
    return gallery[scores.topk(k, dim=1).indices]


def unimportant(student: Tensor, found: Tensor, rules: ResettingRules) -> Tensor:
    """Student vectors (B, C) of unit length, what was retrieved for them (B, K, C) -> (C,) bool.

    A channel's contribution to a retrieval is |student * retrieved|; it is low where it belongs to the floor(p C) smallest,
    and unimportant where it is low in at least `consensus` of the B K retrievals.
    """
    contributions = (found * student[:, None]).abs()  # (B, K, C)
    width = student.shape[1]
    order = contributions.argsort(dim=2, stable=True)[:, :, : math.floor(rules.p * width)]
    low = torch.zeros_like(contributions, dtype=torch.bool).scatter(2, order, True)
    votes = low.flatten(0, 1).sum(0)  # (C,)
    return votes >= rules.consensus * low.shape[0] * low.shape[1] - 1e-6


@torch.no_grad()
def reset(mask: Tensor, memory: Memory, student: Tensor, teacher: Tensor, rules: ResettingRules) -> Tensor:
    """One layer, one batch: remember the teacher's vectors, retrieve, and give the mask (C,) that follows `mask`.

    student (B, C): what the compactor leaves of each channel, pooled (train/online.py); teacher (B, C): at the same place.
    """
    student, teacher = (torch.nn.functional.normalize(x.float(), dim=1) for x in (student, teacher))
    own = memory.push(teacher)
    keep = ~unimportant(student, retrieved(teacher, memory, own, rules), rules)
    return mask * keep if rules.sticky else keep.to(mask)
