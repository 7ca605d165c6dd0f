"""Networks of inverted residuals, light bodies for edge devices: MobileNetV2, and EfficientNet-Lite 0 to 2.

MobileNetV2: Sandler et al., CVPR 2018, table 2. EfficientNet-Lite: EfficientNet-B0 (Tan and Le, ICML 2019, table 1) in the
variants that TensorFlow published in 2020 for integer devices: no squeeze and excitation, ReLU6 in place of swish, and stem,
last layer and the depth of first and last stage not scaled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.network import MEAN, STD
from vreid.models.places import Inner, Place, inner_widths, refuse_options, refuse_widths

# expansion, outputs, blocks, stride, kernel
MOBILENET_V2 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
EFFICIENTNET_B0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
LAST_STRIDED = 5  # the stage whose stride `last_stride` replaces
STEM, LAST = 32, 1280


@dataclass(frozen=True)
class Family:
    """A named body: its table, times `width` and `depth`; `eps` of the BNs; `same`: padded as TensorFlow does."""

    stages: tuple[tuple[int, int, int, int, int], ...]
    width: float = 1.0
    depth: float = 1.0
    eps: float = 1e-5
    same: bool = False


def _lite(width: float, depth: float) -> Family:
    return Family(EFFICIENTNET_B0, width, depth, eps=1e-3, same=True)


FAMILIES: Mapping[str, Family] = {
    "mobilenet_v2": Family(MOBILENET_V2),
    "efficientnet_lite0": _lite(1.0, 1.0),
    "efficientnet_lite1": _lite(1.0, 1.1),
    "efficientnet_lite2": _lite(1.1, 1.2),
}


@dataclass(frozen=True)
class Shape:
    """Everything that sizes a body: `outer[stage]` is what its blocks pass on, `inner[stage][block]` the width of the block's
    expansion, nothing where it has none; `joined`: whether the first block has a shortcut, which adds the stem's channels."""

    family: Family
    stem: int
    outer: tuple[int, ...]
    inner: Inner
    last: int
    joined: bool
    last_stride: int = 1


def eighths(width: float) -> int:
    """The nearest multiple of 8, no less than 8 and no less than nine tenths of `width`, as both families round."""
    found = max(8, int(width + 4) // 8 * 8)
    return found if found >= 0.9 * width else found + 8


def shape_of(family: Family, scale: float = 1.0, last_stride: int = 1) -> Shape:
    """The shape of `family` with every width times `scale`, the last layer at least 1,280 (MobileNetV2, section 4)."""
    stem = eighths(STEM * scale)
    outer = tuple(eighths(outputs * family.width * scale) for _, outputs, _, _, _ in family.stages)
    inner = []
    inputs = stem
    for stage, ((expansion, _, blocks, _, _), outputs) in enumerate(zip(family.stages, outer, strict=True)):
        fixed = stage in (0, len(family.stages) - 1)
        widths = []
        for _ in range(blocks if fixed else ceil(family.depth * blocks)):
            widths.append(() if expansion == 1 else (inputs * expansion,))
            inputs = outputs
        inner.append(tuple(widths))
    last = eighths(LAST * max(1.0, scale))
    return Shape(family, stem, outer, tuple(inner), last, stem == outer[0], last_stride)


class SameConv2d(nn.Conv2d):
    """Padded as TensorFlow's SAME: on an even map a stride of 2 leaves the lesser part of the padding before it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, outputs, ceil(h / stride), ceil(w / stride))."""
        pads = []
        for side in (int(x.shape[3]), int(x.shape[2])):
            step, kernel = self.stride[0], self.kernel_size[0]
            total = max(0, (ceil(side / step) - 1) * step + kernel - side)
            pads += [total // 2, total - total // 2]
        return nn.functional.conv2d(
            nn.functional.pad(x, pads), self.weight, None, self.stride, 0, self.dilation, self.groups
        )


def _conv(family: Family, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if family.same and stride > 1:
        return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Unit(nn.Sequential):
    """Convolution, BN, ReLU6; before the ReLU6 a dense one has `far`, a depthwise one `gate` (models/places.py)."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__(conv, norm)
        self.add_module("far" if conv.groups == 1 else "gate", nn.Identity())
        self.add_module("relu", nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion (none where `inner` is empty), depthwise, linear 1x1 projection, and a shortcut."""

    def __init__(
        self,
        family: Family,
        inputs: int,
        inner: tuple[int, ...],
        outputs: int,
        kernel: int,
        stride: int,
        shortcut: bool,
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        hidden = inner[0] if inner else inputs

        def norm(width: int) -> nn.BatchNorm2d:
            return nn.BatchNorm2d(width, family.eps)

        self.conv = nn.Sequential()
        if inner:
            self.conv.append(Unit(_conv(family, inputs, hidden), norm(hidden)))
        self.conv.append(Unit(_conv(family, hidden, hidden, kernel, stride, hidden), norm(hidden)))
        self.conv.append(_conv(family, hidden, outputs))
        self.conv.append(norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNet(nn.Module):
    """The body without pooling and classifier; state-dict keys are those of torchvision's MobileNetV2."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, family = shape, shape.family

        def unit(inputs: int, outputs: int, kernel: int, stride: int) -> Unit:
            norm = nn.BatchNorm2d(outputs, family.eps)
            return Unit(_conv(family, inputs, outputs, kernel, stride), norm)

        self.features = nn.Sequential(unit(3, shape.stem, 3, 2))
        inputs = shape.stem
        for stage, (blocks, outputs) in enumerate(zip(shape.inner, shape.outer, strict=True)):
            _, _, _, stride, kernel = family.stages[stage]
            step = shape.last_stride if stage == LAST_STRIDED else stride
            for inner in blocks:
                # a stem that was pruned to as many channels as the first block's outputs must not get a shortcut
                shortcut = step == 1 and (inputs == outputs if stage else shape.joined)
                self.features.append(InvertedResidual(family, inputs, inner, outputs, kernel, step, shortcut))
                inputs, step = outputs, 1
        self.channels = shape.last
        self.features.append(unit(inputs, shape.last, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                with (
                    torch.no_grad()
                ):  # torch counts the outputs of all groups, where an input reaches only those of its own
                    module.weight.mul_(module.groups**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, channels, H / 16, W / 16) with last_stride 1, H / 32 with 2."""
        out: Tensor = self.features(x)
        return out

    def places(self) -> list[Place]:
        """Where compactors may stand: after the expansion of every block, and after the last layer, whose channels the head reads.

        The first block has no expansion and works on the stem's channels, so there the place is after the stem, unless a shortcut
        adds the stem's channels.
        """
        found = [] if self.shape.joined else [_place("stem", "conv", "body.features.0", "body.features.1.conv.0")]
        number = 0
        for stage, blocks in enumerate(self.shape.inner, start=1):
            for place, inner in enumerate(blocks):
                number += 1
                name = f"body.features.{number}.conv"
                if inner:
                    found.append(_place(f"stage{stage}.{place}", "expansion", f"{name}.0", f"{name}.1"))
        last = f"body.features.{number + 1}"
        head: Any = {"reader": "head.embed", "channelwise": ("head.neck",), "gate": "head.gate"}
        return [*found, Place("last", ("conv",), f"{last}.0", f"{last}.1", f"{last}.far", **head)]

    def options_for(self, widths: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The options that give stem, expansions and last layer these widths."""
        left = iter(widths)
        stem = {} if self.shape.joined else {"stem": next(left)[0]}
        inner = [[list(next(left)) if block else [] for block in blocks] for blocks in self.shape.inner]
        return stem | {"inner": inner, "last": next(left)[0]}

    def adapted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """TensorFlow's weights of EfficientNet-Lite, made for pixels of (RGB - 127) / 128, with this body's names and for its
        pixels; any others as they are.

        Scale and shift of the pixels go into the stem and its BN. At the border this is not exact: padding is 0 before and after.
        """
        if STEM_KEY not in weights:
            return dict(weights)
        found = {self._renamed(key): value for key, value in weights.items()}
        own = self.state_dict()
        stem, centre = "features.0.0.weight", "features.0.1.running_mean"
        if any(key not in found or found[key].shape != own[key].shape for key in (stem, centre)):
            return found  # of another network, which whoever loads them refuses
        mean, std = 255 * torch.tensor(MEAN), 255 * torch.tensor(STD)
        shift = torch.einsum("oihw,i->o", found[stem], (mean - LITE_MEAN) / LITE_STD)
        found[stem] = found[stem] * (std / LITE_STD)[:, None, None]
        found[centre] = found[centre] - shift
        return found

    def _renamed(self, key: str) -> str:
        """_blocks.3._bn0.weight -> features.4.conv.0.1.weight."""
        match = LITE_KEY.fullmatch(key)
        if match is None:
            return key
        block, layer, word = match.groups()
        if block is None:
            return f"{LITE_OUTER[layer].format(last=len(self.features) - 1)}.{word}" if layer in LITE_OUTER else key
        number = int(block) + 1
        if number >= len(self.features) - 1 or layer not in LITE_INNER:  # of a larger network: left over, and refused
            return key
        depthwise = len(cast(InvertedResidual, self.features[number]).conv) - 3
        return f"features.{number}.conv.{LITE_INNER[layer].format(*range(depthwise, depthwise + 3))}.{word}"


# Names of layers in the packages that carry TensorFlow's weights, and here; numbers count from the depthwise unit.
STEM_KEY = "_conv_stem.weight"
LITE_KEY = re.compile(r"(?:_blocks\.(\d+)\.)?(_\w+?)\.(\w+)")
LITE_OUTER = {
    "_conv_stem": "features.0.0",
    "_bn0": "features.0.1",
    "_conv_head": "features.{last}.0",
    "_bn1": "features.{last}.1",
    "_fc": "classifier",
}
LITE_INNER = {
    "_expand_conv": "0.0",
    "_bn0": "0.1",
    "_depthwise_conv": "{0}.0",
    "_bn1": "{0}.1",
    "_project_conv": "{1}",
    "_bn2": "{2}",
}
LITE_MEAN, LITE_STD = 127.0, 128.0


def _place(name: str, kind: str, unit: str, depthwise: str) -> Place:
    """The place in a unit whose channels go through the unit `depthwise` into the projection after that."""
    parent, _, number = depthwise.rpartition(".")
    reader, channelwise = f"{parent}.{int(number) + 1}", (f"{depthwise}.0", f"{depthwise}.1")
    return Place(name, (kind,), f"{unit}.0", f"{unit}.1", f"{unit}.far", reader, channelwise, f"{depthwise}.gate")


OPTIONS = ("scale", "last_stride", "stem", "inner", "last")


def mobilenet(name: str, options: dict[str, Any]) -> MobileNet:
    """The seam's entry. Options: scale, last_stride, and the widths of a pruned network: `stem` and `last` (one number each), and
    `inner` (stage by stage, block by block: of the expansion, nothing in a block without). Raises Refused for others."""
    refuse_options(name, options, OPTIONS)
    shape = shape_of(FAMILIES[name], options.get("scale", 1.0), options.get("last_stride", 1))
    if "inner" in options:
        each = "in it the width of the expansion"
        shape = replace(shape, inner=inner_widths(name, options["inner"], shape.inner, each))
    shape = replace(shape, stem=options.get("stem", shape.stem), last=options.get("last", shape.last))
    refuse_widths(name, (shape.stem, shape.last), shape.inner)
    if shape.joined and shape.stem != shape.outer[0]:
        raise Refused(f"the stem of this {name} has a shortcut around the first block; leave stem at {shape.outer[0]}")
    return MobileNet(shape)
