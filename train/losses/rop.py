"""Rank order preservation (Wu et al., A General Rank Preserving Framework for Asymmetric Image Retrieval, ICLR 2023): of every
two among a picture's k nearest, the student should put first the one that the teacher puts first.

The Heaviside step of "l lies before j" is a sigmoid of the difference of similarities, nearly a step for the teacher
(tau 1e-6), soft for the student (tau 0.1), compared by their squares and weighted by the softmax of 0.2 times the teacher's
similarity and by the position (methods.md 6). Reconstruction, since that text leaves it open: the position's weight is the
discount 1 / log2(1 + rank) of DCG, the product of the two weights is brought to a sum of 1 a row, and the squares are
averaged over l. With two temperatures the loss is not zero at the teacher's own vectors. Asymmetric in the paper (student's
query, teacher's gallery); `symmetric` is ours: the student's own similarities, a picture no longer ranked against itself.
"""

import torch
from torch import Tensor

from vreid.train.losses.csd import Context, context_of


def weights_of(context: Context, sharpness: float) -> Tensor:
    """(B, k) of sum 1 a row, 0 where nothing is held: softmax of `sharpness` times the similarity, times 1 / log2(1 + rank)."""
    rank = torch.arange(1, context.theirs.shape[1] + 1, device=context.theirs.device)
    shares = (sharpness * context.theirs).masked_fill(~context.held, -1e4).softmax(1) * context.held
    weights = shares / torch.log2(1.0 + rank)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def rop_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 96,
    teacher_tau: float = 1e-6,
    student_tau: float = 0.1,
    sharpness: float = 0.2,
    symmetric: bool = False,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar in [0, 1]: the mean over rows of the weighted squares.

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, symmetric, "rop")

    def before(similarity: Tensor, tau: float) -> Tensor:
        """(B, k) -> (B, k, k): how far the last axis lies before the one in the middle."""
        return ((similarity[:, None] - similarity[:, :, None]) / tau).sigmoid()

    squares = (before(context.ours, student_tau) - before(context.theirs, teacher_tau)).pow(2)
    pairs = context.held[:, None] & context.held[:, :, None]
    pairs = pairs & ~torch.eye(pairs.shape[1], dtype=torch.bool, device=pairs.device)
    errors = (squares * pairs).sum(2) / pairs.sum(2).clamp(min=1)  # (B, k)
    return (weights_of(context, sharpness) * errors).sum(1).mean()
