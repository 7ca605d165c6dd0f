"""The retrieval head: pooling, BNNeck (Luo et al., BoT, CVPRW 2019) and embedding, in the order of CDD (CVPR 2023)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused


class Features(NamedTuple):
    """What training sees: pooled (B, C) for the triplet loss, embedding (B, D) for retrieval, logits (B, ids)."""

    pooled: Tensor
    embedding: Tensor
    logits: Tensor | None


class GeM(nn.Module):
    """Generalised-mean pooling (Radenovic et al., TPAMI 2018), power `p` learned; p = 1 is the average."""

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return x.clamp(min=self.eps).pow(self.p).mean((2, 3)).pow(1.0 / self.p)


class GlobalAverage(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return x.mean((2, 3))


class Head(nn.Module):
    """pooling -> BN -> ReLU -> Linear -> BN -> classifier, no biases; the feature is what the last BN gives."""

    def __init__(self, channels: int, dim: int, classes: int = 0, pool: str = "gap") -> None:
        super().__init__()
        if pool not in ("gap", "gem"):
            raise Refused(f"there is no pooling '{pool}'; choose gap or gem")
        self.pool: nn.Module = GeM() if pool == "gem" else GlobalAverage()
        self.neck = nn.BatchNorm1d(channels)
        self.embed = nn.Linear(channels, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.classifier = nn.Linear(dim, classes, bias=False) if classes else None
        nn.init.kaiming_normal_(self.embed.weight, mode="fan_out")
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, x: Tensor) -> Features:
        """(B, C, h, w) -> pooled (B, C), embedding (B, D), logits (B, ids) or None."""
        pooled = self.pool(x)
        embedding = self.norm(self.embed(torch.relu(self.neck(pooled))))
        return Features(pooled, embedding, None if self.classifier is None else self.classifier(embedding))
