"""A re-identification network: camera pixels in, features out; preprocessing, body and head are one module."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import MOST_COUNT, MOST_SIDE, Refused, shown
from vreid.models.seam import open_seam

# The retrieval head: pooling, BNNeck (Luo et al., BoT, CVPRW 2019) and embedding, in the order of CDD (CVPR 2023).


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
    """pooling -> BN -> ReLU -> Linear -> BN -> classifier, no biases; the feature is the output of the last BN.

    `pool` is gap or gem, Refused otherwise; without `classes` there is no classifier.
    """

    def __init__(self, channels: int, dim: int, classes: int = 0, pool: str = "gap") -> None:
        super().__init__()
        if pool not in ("gap", "gem"):
            raise Refused(f"there is no pooling '{pool}'; choose gap or gem")
        self.pool: nn.Module = GeM() if pool == "gem" else GlobalAverage()
        self.neck = nn.BatchNorm1d(channels)
        self.gate: nn.Module = nn.Identity()  # of a compactor on the body's last layer (models/places.py)
        self.embed = nn.Linear(channels, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.classifier = nn.Linear(dim, classes, bias=False) if classes else None
        nn.init.kaiming_normal_(self.embed.weight, mode="fan_out")
        if self.classifier is not None:
            nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, x: Tensor) -> Features:
        """(B, C, h, w) -> pooled (B, C), embedding (B, D), logits (B, ids) or None."""
        pooled = self.pool(x)
        embedding = self.norm(self.embed(torch.relu(self.gate(self.neck(pooled)))))
        return Features(pooled, embedding, None if self.classifier is None else self.classifier(embedding))


NETWORKS = {
    "resnet18": "vreid.models.resnet:resnet",
    "resnet34": "vreid.models.resnet:resnet",
    "resnet50": "vreid.models.resnet:resnet",
    "resnet101": "vreid.models.resnet:resnet",
    "mobilenet_v2": "vreid.models.mobilenet:mobilenet",
    "efficientnet_lite0": "vreid.models.mobilenet:mobilenet",
    "efficientnet_lite1": "vreid.models.mobilenet:mobilenet",
    "efficientnet_lite2": "vreid.models.mobilenet:mobilenet",
}
MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB, of pixels divided by 255
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network again; `options` go to the body, `classes` may be 0."""

    body: str
    height: int = 256
    width: int = 256
    dim: int = 512
    pool: str = "gap"
    classes: int = 0
    options: dict[str, Any] = field(default_factory=dict)


class Pixels(nn.Module):
    """Camera pixels to RGB, normalised with ImageNet's mean and deviation. The cast to float is the first node on purpose:
    TensorRT does not transpose uint8."""

    mean: Tensor
    std: Tensor
    reversed: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("reversed", torch.tensor([2, 1, 0]), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR -> (B, 3, H, W) float32."""
        x = pixels.to(torch.float32).permute(0, 3, 1, 2)[:, self.reversed]
        return (x - self.mean) / self.std


class ReidNetwork(nn.Module):
    """pixels -> body -> head."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels = Pixels()
        self.body = cast(nn.Module, open_seam("network", NETWORKS, config.body, "train")(config.body, config.options))
        self.head = Head(cast(int, self.body.channels), config.dim, config.classes, config.pool)

    def forward(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features."""
        out: Features = self.head(self.body(self.pixels(pixels)))
        return out

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32 of unit length."""
        return unit(self(pixels).embedding)


def unit(x: Tensor) -> Tensor:
    """(N, D) -> the same rows at length 1 in float32; a zero row stays zero, not NaN."""
    x = x.float()
    return x / x.pow(2).sum(1, keepdim=True).clamp(min=1e-12).sqrt()


_WHOLE = {"height": (1, MOST_SIDE), "width": (1, MOST_SIDE), "dim": (1, MOST_COUNT), "classes": (0, MOST_COUNT)}
_KINDS: Mapping[str, type] = {"body": str, "pool": str, "options": dict}


def config_from(fields: Mapping[str, Any]) -> NetworkConfig:
    """A NetworkConfig from plain fields; Refused names the first that is not known, or has a value that it cannot have."""
    try:
        config = NetworkConfig(**fields)
    except TypeError as error:
        raise Refused(
            f"the network's description does not fit this vreid ({error}); train it again or update"
        ) from error
    for name, value in vars(config).items():
        if name in _WHOLE:
            least, most = _WHOLE[name]
            right = type(value) is int and least <= value <= most
        else:
            right = isinstance(value, _KINDS[name])
        if not right:
            raise Refused(f"the network's description has {name} {shown(repr(value))}; train it again")
    return config
