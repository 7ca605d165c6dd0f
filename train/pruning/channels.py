"""Which channels of a site are left while the network is pruned: one map a site, read by budget, resetting and distillation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vreid.models.network import ReidNetwork
from vreid.models.pruning import Compactor, Side, Site, sites
from vreid.models.shrinking import Kept


class ChannelMap:
    """The channels of one site, before anything was dropped and now; sides are "near" (if any) and "far".

    `width[side]` counts those of before, `alive[side]` (K,) are the ones that are left, rising, `scores[side]` (K,) their
    Taylor scores (budget.py), `view` (K, C) how the far ones are made of those of before, None while they are the same.
    The masks (K,) of the compactors, which are among the network's buffers, say which of those that are left only the lasso moves.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        masks = {compactor.side: compactor.mask for compactor in site.compactors()}
        self.width = {side: len(mask) for side, mask in masks.items()}
        self.alive = {side: torch.arange(len(mask), device=mask.device) for side, mask in masks.items()}
        self.scores = {side: torch.zeros_like(mask) for side, mask in masks.items()}
        self.view: Tensor | None = None

    def masked(self, compactor: Compactor) -> int:
        """How many channels are dropped or masked."""
        return self.width[compactor.side] - int(compactor.mask.sum())

    def full(self, compactor: Compactor, values: Tensor) -> Tensor:
        """(..., K) of the channels that are left -> (..., C), 0 for those that were dropped."""
        found = values.new_zeros(*values.shape[:-1], self.width[compactor.side])
        found[..., self.alive[compactor.side]] = values
        return found

    def living(self, compactor: Compactor, values: Tensor) -> Tensor:
        """(C,) of all channels -> (K,) of those that are left."""
        return values[self.alive[compactor.side]]

    def viewed(self, features: Tensor) -> Tensor:
        """(B, C) at the far place, as before anything was dropped -> (B, K) as the site's channels are made of it now."""
        return features if self.view is None else features @ self.view.T

    def narrow(self, site: Site, kept: Kept, view: Tensor) -> None:
        """Go over to `site`, which has the channels `kept` of the one before; its far ones are `view` (K, K before) times those."""
        columns, rows = kept
        chosen: dict[Side, Tensor] = {"far": rows} if columns is None else {"near": columns, "far": rows}
        for side, channels in chosen.items():
            self.alive[side] = self.alive[side][channels]
            self.scores[side] = self.scores[side][channels]
        self.view = view if self.view is None else view @ self.view
        self.site = site


def channel_maps(network: ReidNetwork) -> list[ChannelMap]:
    """One for each site, first to last."""
    return [ChannelMap(site) for site in sites(network)]


def compactors_of(maps: Sequence[ChannelMap]) -> list[tuple[int, ChannelMap, Compactor]]:
    """(number of the site from 0, its map, compactor) of all compactors, near before far."""
    return [(number, channels, c) for number, channels in enumerate(maps) for c in channels.site.compactors()]


def name_of(number: int, compactor: Compactor) -> str:
    """What a compactor of the site `number` is called in a checkpoint: 3.far."""
    return f"{number}.{compactor.side}"


def state_of(maps: Sequence[ChannelMap], scores: bool) -> dict[str, dict[str, Tensor]]:
    """What --resume needs besides the masks; `scores` only where a budget looks at them."""
    found = compactors_of(maps)
    return {
        "alive": {name_of(number, compactor): channels.alive[compactor.side] for number, channels, compactor in found},
        "views": {str(number): channels.view for number, channels in enumerate(maps) if channels.view is not None},
        "scores": {str(nth): channels.scores[c.side] for nth, (_, channels, c) in enumerate(found)} if scores else {},
    }


def restore(maps: Sequence[ChannelMap], state: dict[str, Any], network: ReidNetwork) -> None:
    """The inverse of `state_of`, for a network that is as wide as it was then."""
    for channels, site in zip(maps, sites(network), strict=True):
        channels.site = site
    for nth, (number, channels, compactor) in enumerate(compactors_of(maps)):
        side, device = compactor.side, compactor.weight.device  # a checkpoint's tensors are on the CPU
        channels.alive[side] = state["alive"][name_of(number, compactor)].to(device)
        if state["scores"]:
            channels.scores[side] = state["scores"][str(nth)].to(device)
    for number, view in state["views"].items():
        maps[int(number)].view = view.to(maps[int(number)].site.far.weight.device)
