"""ResNets (He et al., CVPR 2016) with a width for stem, stages and every convolution in a block: a pruned one is ordinary."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.places import Inner, Place, inner_widths, refuse_options, refuse_widths

DEPTHS = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
}
EXPANSION = {"basic": 1, "bottleneck": 4}


@dataclass(frozen=True)
class ResNetShape:
    """Everything that sizes a ResNet: `inner[stage][block]` are the outputs of the block's convolutions but its last.

    A basic block has one inner width (conv1), a bottleneck two (conv1, conv2); `outer[stage]` is what it passes on.
    """

    block: str
    stem: int
    outer: tuple[int, ...]
    inner: Inner
    last_stride: int = 1


def shape_of(name: str, scale: float = 1.0, last_stride: int = 1) -> ResNetShape:
    """The shape of a named ResNet with every width times `scale`; last_stride 1 keeps a finer last map (1 or 2)."""
    block, depths = DEPTHS[name]
    widths = [max(1, round(64 * scale * 2**stage)) for stage in range(4)]
    inner = tuple(
        ((width,) * (1 if block == "basic" else 2),) * depth for width, depth in zip(widths, depths, strict=True)
    )
    return ResNetShape(block, widths[0], tuple(width * EXPANSION[block] for width in widths), inner, last_stride)


class Block(nn.Module):
    """A residual block: the convolutions of `widths` (the last one without ReLU) and a shortcut.

    `projected` puts a convolution in the shortcut even where widths and stride need none.

    `near` and `far` stand before the last inner convolution and after its BN, ahead of the ReLU, where compactors may be
    (models/places.py). In an ordinary network they are nothing, and have no weights.
    """

    def __init__(
        self, kind: str, inputs: int, inner: tuple[int, ...], outputs: int, stride: int, projected: bool = False
    ) -> None:
        super().__init__()
        kernels = (3, 3) if kind == "basic" else (1, 3, 1)
        strides = (stride, 1) if kind == "basic" else (1, stride, 1)
        widths = (inputs, *inner, outputs)
        self.depth = len(kernels)
        for place, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            conv = nn.Conv2d(widths[place], widths[place + 1], kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{place + 1}", conv)
            self.add_module(f"bn{place + 1}", nn.BatchNorm2d(widths[place + 1]))
        self.near: nn.Module = nn.Identity()
        self.far: nn.Module = nn.Identity()
        self.downsample: nn.Sequential | None = None
        if projected or stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def unit(self, place: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The convolution `place`, counted from 1 (negative from the end), and its BN."""
        place = place if place > 0 else self.depth + 1 + place
        conv, norm = self.get_submodule(f"conv{place}"), self.get_submodule(f"bn{place}")
        return cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)

    def place(self, name: str) -> Place:
        """Where its compactors may stand, when it is called `name` in the body. A basic block has one inner convolution, whose
        outputs `far` covers, so it has no near place."""
        layers = [(f"body.{name}.conv{place}", f"body.{name}.bn{place}") for place in range(1, self.depth + 1)]
        (conv, norm), (reader, _) = layers[-2:]
        kinds = tuple(f"conv{place}" for place in range(1, self.depth))
        near = {"near": f"body.{name}.near", "before": layers[-3]} if self.depth > 2 else {}
        return Place(name, kinds, conv, norm, f"body.{name}.far", reader, **near)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        out = x
        for place in range(1, self.depth):
            conv, norm = self.unit(place)
            last = place == self.depth - 1
            out = torch.relu(self.far(norm(conv(self.near(out)))) if last else norm(conv(out)))
        conv, norm = self.unit(self.depth)
        return torch.relu(norm(conv(out)) + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """The body without pooling and classifier; state-dict keys are torchvision's."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.channels = shape.outer[-1]
        self.conv1 = nn.Conv2d(3, shape.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.stem)
        inputs = shape.stem
        for stage, (blocks, outputs) in enumerate(zip(shape.inner, shape.outer, strict=True)):
            stride = 1 if stage == 0 else shape.last_stride if stage == len(shape.outer) - 1 else 2
            # By place, not by widths: two stages pruned to one width keep the shortcut that was learnt between them.
            projected = stage > 0 or shape.block == "bottleneck"
            layer = nn.Sequential()
            for inner in blocks:
                layer.append(Block(shape.block, inputs, inner, outputs, stride, projected))
                inputs, stride, projected = outputs, 1, False
            self.add_module(f"layer{stage + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> list[nn.Module]:
        """The four stages, first to last."""
        return [self.get_submodule(f"layer{stage + 1}") for stage in range(len(self.shape.outer))]

    def places(self) -> list[Place]:
        """Where compactors may stand: one place a block."""
        return [module.place(name) for name, module in self.named_modules() if isinstance(module, Block)]

    def options_for(self, widths: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The option that gives its blocks these inner widths."""
        left = iter(widths)
        return {"inner": [[list(next(left)) for _ in blocks] for blocks in self.shape.inner]}

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, channels, H / 16, W / 16) with last_stride 1, H / 32 with 2."""
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages():
            x = stage(x)
        return x


OPTIONS = ("scale", "last_stride", "stem", "outer", "inner")


def resnet(name: str, options: dict[str, Any]) -> ResNet:
    """The seam's entry. Options: scale, last_stride, and the widths of a pruned network: `stem` (one number), `outer`
    (one a stage) and `inner` (stage by stage, block by block). Raises Refused for others."""
    refuse_options(name, options, OPTIONS)
    shape = shape_of(name, options.get("scale", 1.0), options.get("last_stride", 1))
    if "stem" in options:
        shape = replace(shape, stem=options["stem"])
    if "outer" in options:
        shape = replace(shape, outer=tuple(options["outer"]))
        if len(shape.outer) != len(shape.inner):
            raise Refused(f"the outer widths do not fit {name}: one for each of its {len(shape.inner)} stages")
    if "inner" in options:
        shape = replace(shape, inner=inner_widths(name, options["inner"], shape.inner, "one width per convolution"))
    refuse_widths(name, (shape.stem, *shape.outer), shape.inner)
    return ResNet(shape)
