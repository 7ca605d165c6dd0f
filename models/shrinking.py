"""A network that is still learning, rebuilt without the channels that its compactors have let go.

Unlike `fold` (models/compactor.py) what comes out goes on learning: every middle convolution takes in what its compactors
mix, its BN is made anew for the mixed channels, and the compactors are born again as diagonals that keep the norm of each
channel. In eval mode the network computes what it did, up to what was dropped; in training mode too, as far as one
batch's variances tell. A block that loses nothing is left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from vreid.models.compactor import EPS, Site, insert, sites
from vreid.models.network import ReidNetwork
from vreid.models.resnet import ResNet

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
    least = norm.eps**0.5 / size.clamp(min=EPS)  # a channel that says nothing must not divide by nothing
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
