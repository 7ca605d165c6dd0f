"""Compactors: 1x1 convolutions born as identity, through which a block is made narrower while it learns, and their folding.

Ding et al., ResRep, ICCV 2021 (the compactor); Xie et al., Capacity Dynamic Distillation, CVPR 2023 (one a block, after
conv2+BN and before the ReLU); DEAP, Pattern Recognition 152, 2024 (one on each side of conv2). A row of a far compactor makes
an output of the convolution before it, a column of a near one takes an output of the convolution before that: where its norm
has gone, so can the channel.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.resnet import Block, ResNet

EPS = 1e-12
Side = Literal["near", "far"]


class Compactor(nn.Module):
    """x -> Q x over channels. `mask` (C,) is 0 where the task's gradient is reset; it never changes what comes out."""

    mask: Tensor

    def __init__(self, width: int, side: Side) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.eye(width))  # (out, in)
        self.register_buffer("mask", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h, w)."""
        return nn.functional.conv2d(x, self.weight[:, :, None, None])

    @property
    def dim(self) -> int:
        """The dimension of `weight` that is summed over for a channel's norm: rows for far, columns for near."""
        return 1 if self.side == "far" else 0

    def norms(self) -> Tensor:
        """(C,) the norm of each channel's row (far) or column (near)."""
        return self.weight.pow(2).sum(self.dim).clamp(min=EPS).sqrt()

    def per_channel(self, values: Tensor) -> Tensor:
        """(C,) -> the shape that multiplies `weight` channel by channel."""
        return values[:, None] if self.side == "far" else values[None]


@dataclass(frozen=True)
class Site:
    """A block with its compactors; `near` is None where there is only one."""

    block: Block
    far: Compactor
    near: Compactor | None

    def compactors(self) -> Iterator[Compactor]:
        """Near (if any), then far."""
        if self.near is not None:
            yield self.near
        yield self.far


def insert(network: ReidNetwork, both_sides: bool = False) -> list[Site]:
    """Put an identity compactor after the last inner convolution of every block, and with `both_sides` one before it.

    What the network computes does not change. A basic block has one inner convolution, whose outputs the far compactor
    already covers, so it never gets a near one. Raises Refused for a body that is no ResNet, or that has compactors.
    """
    if not isinstance(network.body, ResNet):
        raise Refused(f"compactors need a ResNet, not {network.config.body}")
    for block in _blocks(network):
        if isinstance(block.far, Compactor):
            raise Refused("the network already has compactors; fold it first")
        conv, _ = block.unit(-2)
        block.far = Compactor(conv.out_channels, "far").to(conv.weight.device)
        if both_sides and block.depth > 2:
            block.near = Compactor(conv.in_channels, "near").to(conv.weight.device)
    return sites(network)


def sites(network: ReidNetwork) -> list[Site]:
    """Every block that has a compactor, first to last."""
    found = []
    for block in _blocks(network):
        if isinstance(block.far, Compactor):
            found.append(Site(block, block.far, block.near if isinstance(block.near, Compactor) else None))
    return found


def gone_of(compactor: Compactor, threshold: float, masked: bool = False) -> Tensor:
    """(C,) bool: channels of a norm under `threshold`, with `masked` also those whose mask is 0, whatever is left of them."""
    gone = compactor.norms().detach() < threshold
    return gone | (compactor.mask == 0) if masked else gone


def kept_of(compactor: Compactor, multiple: int, gone: Tensor) -> Tensor:
    """(K,) channels to keep, rising: all but those of `gone` (C,) bool, at least one, rounded up to `multiple` by the
    strongest of the others."""
    norms = compactor.norms().detach()
    count = rounded_up(int((~gone).sum()), len(norms), multiple)
    order = norms.argsort(descending=True, stable=True)
    order = order[gone[order].int().argsort(stable=True)]  # those that stay first, then the strongest of the others
    return order[:count].sort().values


def rounded_up(alive: int, width: int, multiple: int) -> int:
    """How many of `width` channels are kept when `alive` of them must stay: at least one, and a multiple where there is room."""
    return min(width, -(-max(1, alive) // multiple) * multiple)


def fold(network: ReidNetwork, threshold: float = 1e-5, multiple: int = 1, masked: bool = False) -> ReidNetwork:
    """An ordinary, narrower network that computes what `network` does in eval mode, up to the channels under `threshold`.

    Per block (methods 1.6 and 3.1): the BN and both compactors are merged into the middle convolution, whose BN is left
    with the bias alone; the convolution before loses the outputs of dropped columns, the one after the inputs of dropped
    rows. `network` itself is not changed. Widths are rounded up to `multiple`; `masked` as in `gone_of`.
    """
    body = cast(ResNet, network.body)
    if not sites(network):
        raise Refused("the network has no compactors to fold")
    places = {id(site.block): site for site in sites(network)}

    def keep(compactor: Compactor) -> Tensor:
        return kept_of(compactor, multiple, gone_of(compactor, threshold, masked))

    inner, weights = [], dict(network.state_dict())
    for stage, layer in enumerate(body.stages(), start=1):
        widths = []
        for place, block in enumerate(cast(nn.Sequential, layer)):
            prefix = f"body.layer{stage}.{place}."
            for key in ("near.weight", "near.mask", "far.weight", "far.mask"):
                weights.pop(prefix + key, None)
            folded, taken = _folded(places[id(block)], keep)
            weights.update({prefix + key: value for key, value in folded.items()})
            widths.append(taken)
        inner.append(widths)
    config = replace(network.config, options={**network.config.options, "inner": inner})
    narrow = ReidNetwork(config).to(next(network.parameters()).device)
    narrow.load_state_dict(weights)
    return narrow.train(network.training)


@torch.no_grad()
def _folded(site: Site, kept: Callable[[Compactor], Tensor]) -> tuple[dict[str, Tensor], list[int]]:
    """New tensors of one block by their names in it, and its inner widths."""
    block = site.block
    middle = block.depth - 1
    conv, norm = block.unit(middle)
    after, _ = block.unit(middle + 1)
    rows = kept(site.far)
    scale = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    bias = (norm.bias - cast(Tensor, norm.running_mean) * scale).double()
    far = site.far.weight.double()[rows]  # (K, C)
    weight, bias = torch.einsum("kc,cihw->kihw", far, weight), far @ bias
    found: dict[str, Tensor] = {}
    widths = [len(rows)]
    if site.near is not None:
        columns = kept(site.near)
        weight = torch.einsum("kihw,ij->kjhw", weight, site.near.weight.double()[:, columns])
        before, before_norm = block.unit(middle - 1)
        found[f"conv{middle - 1}.weight"] = before.weight[columns]
        found |= _taken(f"bn{middle - 1}", before_norm, columns)
        widths = [len(columns), *widths]
    elif block.depth > 2:
        widths = [conv.in_channels, *widths]
    found[f"conv{middle}.weight"] = weight.float()
    found |= _taken(f"bn{middle}", _bias_alone(bias.float(), norm.eps), torch.arange(len(rows), device=bias.device))
    found[f"conv{middle + 1}.weight"] = after.weight[:, rows]
    return {key: value.detach().clone() for key, value in found.items()}, widths


def _bias_alone(bias: Tensor, eps: float) -> nn.BatchNorm2d:
    """A BN that in eval mode only adds `bias`."""
    norm = nn.BatchNorm2d(len(bias), eps=eps).to(bias.device)
    norm.bias.copy_(bias)
    cast(Tensor, norm.running_var).fill_(1 - eps)
    return norm


def _taken(name: str, norm: nn.BatchNorm2d, kept: Tensor) -> dict[str, Tensor]:
    """The state of a BN for the channels `kept`, by its name in the block."""
    state = {key: value if value.ndim == 0 else value[kept] for key, value in norm.state_dict().items()}
    return {f"{name}.{key}": value for key, value in deepcopy(state).items()}


def _blocks(network: ReidNetwork) -> list[Block]:
    return [block for block in network.body.modules() if isinstance(block, Block)]
