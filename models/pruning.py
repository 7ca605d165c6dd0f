"""Compactors: 1x1 convolutions born as identity, through which a block is made narrower while it learns, and their folding.

Ding et al., ResRep, ICCV 2021 (the compactor); Xie et al., Capacity Dynamic Distillation, CVPR 2023 (one a block, after
conv2+BN and before the ReLU); DEAP, Pattern Recognition 152, 2024 (one on each side of conv2). A row of a far compactor makes
an output of the convolution before it, a column of a near one takes an output of the convolution before that: where its norm
has gone, so can the channel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    already covers, so it never gets a near one. Raises Refused for a body that is not a ResNet, or that has compactors.
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
    with the bias only; the convolution before loses the outputs of dropped columns, the one after the inputs of dropped
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
    found |= _taken(f"bn{middle}", _bias_only(bias.float(), norm.eps), torch.arange(len(rows), device=bias.device))
    found[f"conv{middle + 1}.weight"] = after.weight[:, rows]
    return {key: value.detach().clone() for key, value in found.items()}, widths


def _bias_only(bias: Tensor, eps: float) -> nn.BatchNorm2d:
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


# Shrinking: a network that is still learning, rebuilt without the channels that its compactors have let go.
#
# Unlike `fold` what comes out goes on learning: every middle convolution takes in what its compactors
# mix, its BN is made anew for the mixed channels, and the compactors are born again as diagonals that keep the norm of each
# channel. In eval mode the network computes what it did, up to what was dropped; in training mode too, as far as
# the variances of one batch say. A block that loses nothing is left as it is.


Kept = tuple[Tensor | None, Tensor]  # channels of the near compactor (None without) and of the far one, rising
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shrunk:
    """The narrower network; `views[block]` (K, C): its channels after the middle convolution in terms of those before;
    `changes`: what became of each parameter that is another now, as a linear map, which its velocity goes through too;
    `anew`: parameters that no such map leads to."""

    network: ReidNetwork
    views: list[Tensor]
    changes: Mapping[str, Change]
    anew: frozenset[str]


@torch.no_grad()
def variances(network: ReidNetwork, pixels: Tensor) -> list[Tensor]:
    """(C,) per block: the variance of what its far compactor gives for `pixels`, the BNs normalising by the batch.

    The BNs' running statistics take one step.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        found.append(output.float().var((0, 2, 3), unbiased=False))

    hooks = [site.far.register_forward_hook(note) for site in sites(network)]
    training = network.training
    try:
        network.train()
        network(pixels)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def shrunk(network: ReidNetwork, kept: Sequence[Kept], spread: Sequence[Tensor]) -> Shrunk:
    """`network` with only the channels `kept` of each block's compactors; `spread` as from `variances`."""
    weights = dict(network.state_dict())
    body = cast(ResNet, network.body)
    names = {id(module): name for name, module in network.named_modules()}
    inner: list[list[list[int]]] = [[[] for _ in cast(nn.Sequential, stage)] for stage in body.stages()]
    flat = [widths for stage in inner for widths in stage]
    views: list[Tensor] = []
    changes: dict[str, Change] = {}
    anew: set[str] = set()
    for place, site in enumerate(sites(network)):
        prefix, (columns, rows) = names[id(site.block)] + ".", kept[place]
        before = (
            [] if site.block.depth == 2 else [site.block.unit(1)[0].out_channels if columns is None else len(columns)]
        )
        flat[place] += [*before, len(rows)]
        if all(len(part) == len(c.mask) for part, c in zip(_parts(kept[place]), site.compactors(), strict=True)):
            views.append(torch.eye(len(rows), device=rows.device))
            continue
        tensors, maps, view = _narrowed(site, kept[place], spread[place])
        weights.update({prefix + name: value for name, value in tensors.items()})
        for name, change in maps.items():
            weights[prefix + name] = change(weights[prefix + name])
            changes[prefix + name] = change
        anew |= {prefix + name for name in tensors}
        views.append(view)
    narrow = ReidNetwork(replace(network.config, options={**network.config.options, "inner": inner}))
    insert(narrow, sites(network)[0].near is not None)
    device = next(network.parameters()).device
    narrow = narrow.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    narrow.load_state_dict(weights)
    return Shrunk(narrow.train(network.training), views, changes, frozenset(anew))


def _narrowed(site: Site, kept: Kept, spread: Tensor) -> tuple[dict[str, Tensor], dict[str, Change], Tensor]:
    """New tensors of a block, linear maps for those that have a velocity, and the view of its middle channels."""
    block, (columns, rows) = site.block, kept
    middle = block.depth - 1
    conv, norm = block.unit(middle)
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight / (var + norm.eps).sqrt()
    far = site.far.weight[rows]
    strength = far.norm(dim=1).clamp(min=EPS)
    mix = far / strength[:, None]  # (K, C)
    near: Tensor | None = None
    if site.near is not None and columns is not None:
        near = site.near.weight[:, columns]
        force = near.norm(dim=0).clamp(min=EPS)
        near = near / force

    def mixed(weight: Tensor) -> Tensor:
        weight = torch.einsum("kc,cihw->kihw", mix * scale, weight)
        return weight if near is None else torch.einsum("kihw,ij->kjhw", weight, near)

    # the BN takes any scale of its convolution away again; at the size it had, the convolution goes on learning as fast
    was = conv.weight[rows] if columns is None else conv.weight[rows][:, columns]
    size = _norms(was) / _norms(mixed(conv.weight)).clamp(min=EPS)
    least = norm.eps**0.5 / size.clamp(min=EPS)  # a silent channel must not divide by zero
    deviation = (spread[rows].clamp(min=EPS).sqrt() / strength).maximum(least)
    maps: dict[str, Change] = {
        f"conv{middle}.weight": lambda x: mixed(x) * size[:, None, None, None],
        f"bn{middle}.bias": lambda x: mix @ x,
        f"conv{middle + 1}.weight": lambda x: x[:, rows],
        "far.weight": lambda x: torch.diag((mix * x[rows]).sum(1)),
    }
    tensors = {
        f"bn{middle}.weight": deviation,
        f"bn{middle}.running_mean": size * (mix @ (scale * mean)),
        f"bn{middle}.running_var": ((size * deviation).pow(2) - norm.eps).clamp(min=0),
        "far.mask": site.far.mask[rows],
    }
    if site.near is not None and columns is not None and near is not None:
        direction, taken = near, columns
        maps["near.weight"] = lambda x: torch.diag((direction * x[:, taken]).sum(0))
        tensors["near.mask"] = site.near.mask[columns]
        for name in (f"conv{middle - 1}.weight", f"bn{middle - 1}.weight", f"bn{middle - 1}.bias"):
            maps[name] = lambda x: x[taken]
        for name, value in block.unit(middle - 1)[1].named_buffers():
            if value.ndim:
                tensors[f"bn{middle - 1}.{name}"] = value[columns]
    return tensors, maps, mix


def _parts(kept: Kept) -> list[Tensor]:
    """Near (if any), then far."""
    return [part for part in kept if part is not None]


def _norms(weight: Tensor) -> Tensor:
    """(K, ...) -> (K,)."""
    return weight.flatten(1).pow(2).sum(1).sqrt()
