"""Cross-entropy with label smoothing (Szegedy et al., CVPR 2016, section 7)."""

from torch import Tensor, nn


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """logits (B, ids), labels (B,) -> scalar."""
    return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
