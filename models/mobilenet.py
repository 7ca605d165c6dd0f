"""MobileNetV2 (Sandler et al., CVPR 2018): a light body, with ImageNet weights a good teacher on small machines."""

from typing import Any

from torch import Tensor, nn

from vreid.models.errors import Refused, shown

# expansion, outputs, blocks, stride: table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection, and a shortcut where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.append(_unit(inputs, hidden, 1, 1))
        self.conv.append(_unit(hidden, hidden, 3, stride, hidden))
        self.conv.append(nn.Conv2d(hidden, outputs, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV2(nn.Module):
    """The body without pooling and classifier; state-dict keys are torchvision's."""

    def __init__(self, last_stride: int = 1) -> None:
        super().__init__()
        if last_stride not in (1, 2):
            raise Refused(f"last_stride is 1 or 2, not {shown(repr(last_stride))}")
        self.features = nn.Sequential(_unit(3, 32, 3, 2))
        inputs = 32
        for expansion, outputs, blocks, stride in STAGES:
            step = last_stride if outputs == 160 else stride
            for block in range(blocks):
                self.features.append(InvertedResidual(inputs, outputs, step if block == 0 else 1, expansion))
                inputs = outputs
        self.channels = 1280
        self.features.append(_unit(inputs, self.channels, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, 1280, H / 16, W / 16) with last_stride 1, H / 32 with 2."""
        out: Tensor = self.features(x)
        return out


def mobilenet_v2(name: str, options: dict[str, Any]) -> MobileNetV2:
    """The seam's entry. Options: last_stride."""
    if unknown := set(options) - {"last_stride"}:
        raise Refused(f"{name} has no option {shown(repr(sorted(unknown)[0]))}; it has last_stride")
    return MobileNetV2(options.get("last_stride", 1))
