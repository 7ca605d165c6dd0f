"""A budget of MACs for a student that is being compressed: masks by rank until the target is met, as in ResRep.

Ding et al., ResRep, ICCV 2021, section 3.3 (methods.md 2): every so often all channels are sorted by the norm of their
compactor row, and the weakest are masked, a few more each time, until the network without them meets the budget; the choice
is made anew each time, so that a channel may come back. Differs: a channel's norm is divided by the MACs that it costs
(relative to the mean channel) to the power `cost_power`, so that of two equally weak ones the dearer goes; and columns of
near compactors compete with rows of far ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vreid.models.compactor import Compactor, Site
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

    def __init__(self, network: ReidNetwork, sites: Sequence[Site], rules: BudgetRules) -> None:
        self.rules, self.sites = rules, sites
        self.whole = float(total_of(cost_of(network)).macs)  # a compactor is none of them: it will be folded away
        self.costs = _site_costs(network, sites)
        inner = sum(cost.macs(*_widths(site)) for cost, site in zip(self.costs, sites, strict=True))
        self.rest = self.whole - inner
        least = self.rest + sum(cost.macs(1, 1) for cost in self.costs)
        if not least <= rules.macs * self.whole <= self.whole:
            raise Refused(
                f"a budget of {rules.macs:.1%} of the MACs cannot be met; with one channel in every block "
                f"{least / self.whole:.1%} are left"
            )

    def kept(self) -> float:
        """The share of MACs that the masks of now leave."""
        left = self.rest
        for cost, site in zip(self.costs, self.sites, strict=True):
            near = 1 if site.near is None else int(site.near.mask.sum())
            left += cost.macs(near, int(site.far.mask.sum()))
        return left / self.whole

    @torch.no_grad()
    def choose(self) -> float:
        """Set the masks anew; returns the share of MACs that is left."""
        compactors = [compactor for site in self.sites for compactor in site.compactors()]
        masked = sum(int((compactor.mask == 0).sum()) for compactor in compactors)
        ranked = self._ranked()
        for compactor in compactors:
            compactor.mask.fill_(1)
        share, taken = 1.0, 0
        for compactor, channel in ranked:
            if share <= self.rules.macs or taken >= masked + self.rules.step:
                break
            if compactor.mask.sum() > 1:  # a layer never goes below one channel
                compactor.mask[channel] = 0
                taken += 1
                share = self.kept()
        return share

    def _ranked(self) -> list[tuple[Compactor, int]]:
        """Every channel, the one that is missed least first."""
        entries: list[tuple[float, int, int]] = []
        compactors: list[Compactor] = []
        prices = []
        for cost, site in zip(self.costs, self.sites, strict=True):
            near, far = _widths(site)
            if site.near is not None:
                compactors.append(site.near)
                prices.append(cost.a + far * cost.b)
            compactors.append(site.far)
            prices.append(near * cost.b + cost.c)
        mean = sum(prices) / len(prices)
        for place, (compactor, price) in enumerate(zip(compactors, prices, strict=True)):
            weighed = compactor.norms() / (price / mean) ** self.rules.cost_power
            entries += [(value, place, channel) for channel, value in enumerate(weighed.tolist())]
        return [(compactors[place], channel) for _, place, channel in sorted(entries)]


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
