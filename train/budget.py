"""A budget of MACs for a student that is being compressed: masks by rank until the target is met, as in ResRep.

Ding et al., ResRep, ICCV 2021, section 3.3 (methods.md 2): every so often all channels are sorted by the norm of their
compactor row, and the weakest are masked, a few more each time, until the network without them meets the budget; the choice
is made anew each time, so that a channel may come back. Differs: a channel's norm is divided by the MACs that it costs to
the power `cost_power`, so that of two equally weak ones the dearer goes; columns of near compactors compete with rows of far
ones; and what is counted are the widths after folding, rounded up to `multiple`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vreid.models.compactor import Site, rounded_up
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork


@dataclass(frozen=True)
class BudgetRules:
    """`macs`: share of the whole network's MACs to keep. Masks are chosen every `every` steps from epoch `start` on, each
    time at most `step` channels more than before."""

    macs: float
    start: int = 5
    every: int = 200
    step: int = 4
    cost_power: float = 0.5


@dataclass(frozen=True)
class SiteCost:
    """MACs of a block's convolutions as a function of its inner widths: near * a + near * far * b + far * c.

    Where there is no near compactor, `near` is 1 and its part is in the coefficients.
    """

    a: float
    b: float
    c: float

    def macs(self, near: int, far: int) -> float:
        """With that many channels kept."""
        return near * self.a + near * far * self.b + far * self.c


class Budget:
    """Chooses the masks of a network's compactors so that what is left meets the budget."""

    def __init__(self, network: ReidNetwork, sites: Sequence[Site], rules: BudgetRules, multiple: int = 1) -> None:
        self.rules, self.sites, self.multiple = rules, sites, multiple
        self.whole = float(total_of(cost_of(network)).macs)  # a compactor is none of them: it will be folded away
        self.costs = _site_costs(network, sites)
        self.rest = 0.0
        self.rest = self.whole - self._left([_widths(site) for site in sites])
        least = self._left([(1, 1)] * len(sites))
        if not least <= rules.macs * self.whole <= self.whole:
            raise Refused(
                f"a budget of {rules.macs:.1%} of the MACs cannot be met; with one channel in every block "
                f"{least / self.whole:.1%} are left"
            )

    def kept(self) -> float:
        """The share of MACs that the masks of now leave."""
        kept = [
            (1 if site.near is None else int(site.near.mask.sum()), int(site.far.mask.sum())) for site in self.sites
        ]
        return self._left(kept) / self.whole

    @torch.no_grad()
    def choose(self) -> float:
        """Set the masks anew; returns the share of MACs that is left."""
        compactors = [compactor for site in self.sites for compactor in site.compactors()]
        most = sum(int((compactor.mask == 0).sum()) for compactor in compactors) + self.rules.step
        kept = [list(_widths(site)) for site in self.sites]  # counted here: a look at a mask on a GPU waits for it
        gone: dict[tuple[int, bool], list[int]] = {}
        left, taken = self.whole, 0
        for place, far, channel in self._ranked():
            if left <= self.rules.macs * self.whole or taken >= most:
                break
            if kept[place][far] > 1:  # a layer never goes below one channel
                before = self._macs(place, *kept[place])
                kept[place][far] -= 1
                left += self._macs(place, *kept[place]) - before
                gone.setdefault((place, far), []).append(channel)
                taken += 1
        for place, site in enumerate(self.sites):
            for compactor in site.compactors():
                compactor.mask.fill_(1)
                compactor.mask[gone.get((place, compactor.side == "far"), [])] = 0
        return left / self.whole

    def _macs(self, place: int, near: int, far: int) -> float:
        """MACs of a block with that many channels alive, at the widths it is folded to."""
        site = self.sites[place]
        near = 1 if site.near is None else rounded_up(near, len(site.near.mask), self.multiple)
        return self.costs[place].macs(near, rounded_up(far, len(site.far.mask), self.multiple))

    def _left(self, kept: Sequence[tuple[int, int]]) -> float:
        """MACs of the network with so many (near, far) channels alive in each block."""
        return self.rest + sum(self._macs(place, *widths) for place, widths in enumerate(kept))

    def _ranked(self) -> list[tuple[int, bool, int]]:
        """(block, whether far, channel) of every channel, the one that is missed least first."""
        entries: list[tuple[float, int, bool, int]] = []
        for place, (cost, site) in enumerate(zip(self.costs, self.sites, strict=True)):
            near, far = _widths(site)
            for compactor in site.compactors():
                price = near * cost.b + cost.c if compactor.side == "far" else cost.a + far * cost.b
                weighed = compactor.norms() / price**self.rules.cost_power
                entries += [(value, place, compactor.side == "far", n) for n, value in enumerate(weighed.tolist())]
        return [entry[1:] for entry in sorted(entries)]


def _widths(site: Site) -> tuple[int, int]:
    """Channels of the near compactor (1 without) and of the far one."""
    return 1 if site.near is None else len(site.near.mask), len(site.far.mask)


def _site_costs(network: ReidNetwork, sites: Sequence[Site]) -> list[SiteCost]:
    """The coefficients, from the measured MACs of every convolution at its full width."""
    measured = {layer.name: layer.macs for layer in cost_of(network)}
    names = {id(module): name for name, module in network.named_modules()}
    costs = []
    for site in sites:
        block = site.block
        macs = [measured[f"{names[id(block)]}.conv{place + 1}"] for place in range(block.depth)]
        near, far = _widths(site)
        if block.depth == 2:  # basic: both convolutions touch the far channels alone
            costs.append(SiteCost(0.0, 0.0, (macs[0] + macs[1]) / far))
        elif site.near is None:
            costs.append(SiteCost(float(macs[0]), 0.0, (macs[1] + macs[2]) / far))
        else:
            costs.append(SiteCost(macs[0] / near, macs[1] / (near * far), macs[2] / far))
    return costs
