"""Shrinking: a network in training, rebuilt without the channels that are to be dropped.

Our addition (methods.md 10.5). Unlike a folded network (pruning.py) it is trained further: the compactors' mixing of channels
moves into the convolution of their site, its BN is made anew for the mixed channels, and the new compactors are diagonal matrices
that keep the norm of each channel. In eval mode the network computes what it did, but for what was dropped; in training mode too,
as far as the variances of one batch are those of the data. A site that loses no channel is left as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vreid.models.network import ReidNetwork
from vreid.models.pruning import EPS, Site, insert, resized, sites

Kept = tuple[Tensor | None, Tensor]  # channels of the near compactor (None without) and of the far one, rising
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shrunk:
    """The narrower network; `views[site]` (K, C): its channels after the site's convolution in terms of those before;
    `changes`: what became of each parameter that is another now, as a linear map, which its velocity goes through too;
    `anew`: parameters that no such map leads to."""

    network: ReidNetwork
    views: list[Tensor]
    changes: Mapping[str, Change]
    anew: frozenset[str]


@torch.no_grad()
def variances(network: ReidNetwork, pixels: Tensor) -> list[Tensor]:
    """(C,) per site: the variance of what its far compactor gives for `pixels`, the BNs normalising by the batch.

    The BNs' running statistics take one step.
    """
    found: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        found[module] = output.float().var((0, 2, 3), unbiased=False)

    compactors = [site.far for site in sites(network)]
    hooks = [compactor.register_forward_hook(note) for compactor in compactors]
    training = network.training
    try:
        network.train()
        network(pixels)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return [found[compactor] for compactor in compactors]


@torch.no_grad()
def shrunk(network: ReidNetwork, kept: Sequence[Kept], spread: Sequence[Tensor]) -> Shrunk:
    """`network` with only the channels `kept` of each site's compactors; `spread` as from `variances`."""
    weights = dict(network.state_dict())
    widths: list[tuple[int, ...]] = []
    views: list[Tensor] = []
    changes: dict[str, Change] = {}
    anew: set[str] = set()
    for number, site in enumerate(sites(network)):
        columns, rows = kept[number]
        widths.append(site.widths(0 if columns is None else len(columns), len(rows)))
        if all(len(part) == len(c.mask) for part, c in zip(_parts(kept[number]), site.compactors(), strict=True)):
            views.append(torch.eye(len(rows), device=rows.device))
            continue
        tensors, maps, view = _narrowed(site, kept[number], spread[number])
        weights.update(tensors)
        for name, change in maps.items():
            weights[name] = change(weights[name])
        changes |= maps
        anew |= tensors.keys()
        views.append(view)
    narrow = resized(network, widths)
    insert(narrow, any(site.near is not None for site in sites(network)))
    device = next(network.parameters()).device
    narrow = narrow.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    narrow.load_state_dict(weights)
    return Shrunk(narrow.train(network.training), views, changes, frozenset(anew))


def _narrowed(site: Site, kept: Kept, spread: Tensor) -> tuple[dict[str, Tensor], dict[str, Change], Tensor]:
    """New tensors of a site's layers, linear maps for those that have a velocity, and the view of its channels."""
    (columns, rows), place, conv, norm = kept, site.place, site.conv, site.norm
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight / (var + norm.eps).sqrt()
    far = site.far.weight[rows]
    row_norm = far.norm(dim=1).clamp(min=EPS)
    mix = far / row_norm[:, None]  # (K, C)
    near: Tensor | None = None
    if site.near is not None and columns is not None:
        near = site.near.weight[:, columns]
        near = near / near.norm(dim=0).clamp(min=EPS)

    def mixed(weight: Tensor) -> Tensor:
        weight = torch.einsum("kc,cihw->kihw", mix * scale, weight)
        return weight if near is None else torch.einsum("kihw,ij->kjhw", weight, near)

    # the BN takes any scale of its convolution away again; at the size it had, the convolution goes on learning as fast
    was = conv.weight[rows] if columns is None else conv.weight[rows][:, columns]
    size = was.flatten(1).norm(dim=1) / mixed(conv.weight).flatten(1).norm(dim=1).clamp(min=EPS)
    # with the eps that the BN adds; without it a silent channel would divide by zero
    deviation = (spread[rows] / row_norm.pow(2) + norm.eps / size.pow(2).clamp(min=EPS)).sqrt()
    maps: dict[str, Change] = {
        f"{place.conv}.weight": lambda x: mixed(x) * size[:, None, None, None],
        f"{place.norm}.bias": lambda x: mix @ x,
        f"{place.reader}.weight": lambda x: x[:, rows],
        f"{place.far}.weight": lambda x: torch.diag((mix * x[rows]).sum(1)),
    }
    tensors = {
        f"{place.norm}.weight": deviation,
        f"{place.norm}.running_mean": size * (mix @ (scale * mean)),
        f"{place.norm}.running_var": ((size * deviation).pow(2) - norm.eps).clamp(min=0),
        f"{place.far}.mask": site.far.mask[rows],
    }
    followers = [(name, module, rows) for name, module in zip(place.channelwise, site.channelwise, strict=True)]
    if site.near is not None and columns is not None and near is not None:
        direction, taken = near, columns
        maps[f"{place.near}.weight"] = lambda x: torch.diag((direction * x[:, taken]).sum(0))
        tensors[f"{place.near}.mask"] = site.near.mask[columns]
        followers += [(name, mod, taken) for name, mod in zip(place.before or (), site.before or (), strict=True)]
    for name, module, chosen in followers:
        for key, _ in module.named_parameters():
            maps[f"{name}.{key}"] = lambda x, chosen=chosen: x[chosen]  # type: ignore[misc]
        for key, value in module.named_buffers():
            if value.ndim:
                tensors[f"{name}.{key}"] = value[chosen]
    return tensors, maps, mix


def _parts(kept: Kept) -> list[Tensor]:
    """Near (if any), then far."""
    return [part for part in kept if part is not None]
