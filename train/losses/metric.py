"""The losses of labels: batch-hard triplet and classification."""

import torch
from torch import Tensor, nn

# Cross-entropy with label smoothing (Szegedy et al., CVPR 2016, section 7).


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """logits (B, ids), labels (B,) -> scalar."""
    return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)


# Batch-hard triplet loss (Hermans et al., 2017, equation 5) on Euclidean distances.


def distances(x: Tensor) -> Tensor:
    """(B, D) -> (B, B) Euclidean, with an epsilon so that the gradient at zero is finite."""
    square = x.pow(2).sum(1)
    return (square[:, None] + square[None] - 2 * x @ x.T).clamp(min=1e-12).sqrt()


def triplet_loss(x: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """x (B, D), labels (B,) -> scalar; `margin` None takes the soft margin log(1 + exp(.))."""
    distance = distances(x)
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    far = distance.masked_fill(~same | itself, 0.0).amax(1)
    near = distance.masked_fill(same, float("inf")).amin(1)
    gap = far - near
    return torch.nn.functional.softplus(gap).mean() if margin is None else (gap + margin).clamp(min=0).mean()
