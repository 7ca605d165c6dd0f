"""What the blocks of a network pass on, pooled: read off while it runs, for distillation and gradient resetting."""

from typing import Any

import torch
from torch import Tensor, nn

from vreid.models.compactor import Compactor
from vreid.models.network import ReidNetwork
from vreid.models.resnet import Block


class Taps:
    """Spatial means of what goes into and comes out of the `far` place of every block, and into `near`, as (B, C) each.

    In a network without compactors both of `far` are what conv2+BN gives. A near compactor drops inputs, so its means are
    of these, each times the norm of its column: what the convolution after it still gets of the channel. They hold the last
    forward pass in training or eval mode, in float32; without `pooled` they hold nothing, which costs nothing.
    """

    def __init__(self, network: ReidNetwork, pooled: bool = True) -> None:
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.near: dict[int, Tensor] = {}
        self.blocks = [block for block in network.body.modules() if isinstance(block, Block)]
        self._hooks = []
        for place, block in enumerate(self.blocks if pooled else ()):
            self._hooks.append(block.far.register_forward_hook(self._far(place)))
            self._hooks.append(block.near.register_forward_hook(self._near(place)))

    def close(self) -> None:
        """Read no more: two taps on one network would do everything twice."""
        for hook in self._hooks:
            hook.remove()

    def widths(self) -> list[int]:
        """Channels that conv2 of every block gives (conv1 of a basic one)."""
        return [block.unit(-2)[0].out_channels for block in self.blocks]

    def _far(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.before[place] = _means(inputs[0])
            self.after[place] = _means(output) if isinstance(module, Compactor) else self.before[place]

        return hook

    def _near(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            means = _means(inputs[0])
            self.near[place] = means * module.norms() if isinstance(module, Compactor) else means

        return hook


def _means(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C) float32, whatever the autocast."""
    return x.mean((2, 3), dtype=torch.float32)
