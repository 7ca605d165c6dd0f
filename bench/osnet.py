"""OSNet x1.0, written from its paper: what many pick for re-identification at the edge (Zhou et al., ICCV 2019, section 3).

Omni-scale blocks, two in each stage of 256, 384 and 512 channels; 256 x 128 pixels in, 512 numbers out. Table 1 of the paper
says 2.2 M parameters and 978.9 M multiply-adds, which the test holds it to. Random weights: only its latency is asked for.
"""

import torch
from torch import Tensor, nn

from vreid.models.network import Features, NetworkConfig, Pixels, unit

WIDTHS = (64, 256, 384, 512)
SCALES = 4  # streams of a block, of one to four Lite 3x3: they see 3, 5, 7 and 9 pixels
REDUCTION = 16  # of the hidden layer in the aggregation gate


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, batch norm, and ReLU unless it is left out."""
    plain = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(outputs), *([nn.ReLU()] if relu else []))


def lite(channels: int) -> nn.Sequential:
    """Lite 3x3: a 1x1 convolution without ReLU, then a depthwise 3x3 (figure 3b)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class Gate(nn.Module):
    """The unified aggregation gate: a weight for every channel from its mean, by one small network for all streams."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.up = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same, weighed."""
        weight = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return x * weight


class OmniScale(nn.Module):
    """The bottleneck (figure 4): four streams of growing depth, gated and summed, with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.reduce = conv(inputs, inner, 1)
        self.streams = nn.ModuleList(nn.Sequential(*(lite(inner) for _ in range(depth + 1))) for depth in range(SCALES))
        self.gate = Gate(inner)
        self.restore = conv(inner, outputs, 1, relu=False)
        self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        reduced = self.reduce(x)
        first, *others = (self.gate(stream(reduced)) for stream in self.streams)
        return torch.relu(self.restore(sum(others, first)) + self.shortcut(x))


class OsNetHead(nn.Module):
    """Average pooling, a fully connected layer, batch norm, ReLU: the feature (section 3.3)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, dim)
        self.norm = nn.BatchNorm1d(dim)
        self.classifier: nn.Linear | None = None  # as models/cost.py asks for

    def forward(self, x: Tensor) -> Features:
        """(B, C, h, w) -> pooled (B, C), embedding (B, D), no logits."""
        pooled = x.mean((2, 3))
        return Features(pooled, torch.relu(self.norm(self.embed(pooled))), None)


class OsNet(nn.Module):
    """Pixels in, features out, with the parts that ReidNetwork has, so that export and cost take it for one."""

    def __init__(self, height: int = 256, width: int = 128, dim: int = 512, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.config = NetworkConfig("osnet", height, width, dim)
        self.pixels: nn.Module = Pixels()
        stem, *stages = widths
        layers: list[nn.Module] = [conv(3, stem, 7, 2), nn.MaxPool2d(3, 2, 1)]
        for place, (inputs, outputs) in enumerate(zip(widths, stages, strict=False)):
            layers += [OmniScale(inputs, outputs), OmniScale(outputs, outputs), conv(outputs, outputs, 1)]
            if place < len(stages) - 1:
                layers.append(nn.AvgPool2d(2, 2))  # a transition: 1x1 convolution and pooling
        self.body = nn.Sequential(*layers)
        self.head = OsNetHead(widths[-1], dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features."""
        out: Features = self.head(self.body(self.pixels(pixels)))
        return out

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32 of unit length."""
        return unit(self(pixels).embedding)
