"""A budget for a student that is being compressed: masks by rank until its cost (costs.py) meets the target, as in ResRep.

Ding et al., ResRep, ICCV 2021, section 3.3 (methods.md 2): every so often all channels are sorted by the norm of their
compactor row, and the weakest are masked, a few more each time, until the network without them meets the budget; the choice
is made anew each time, so that a channel may come back. We differ: the share that is left falls linearly over a part of the
training, whatever its length, where ResRep adds a fixed number of channels each time; a channel's importance is divided by its
cost to the power `cost_power`, so that of two equally weak ones the more expensive is masked, and its lasso is multiplied by the
same factor; columns of near compactors compete with rows of far ones; costs are of the widths after folding, rounded up to
`multiple`; and by "taylor" the importance is not the norm but the change of the loss without the channel, to the first order,
squared and averaged over the steps (Molchanov et al., CVPR 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Compactor, Side, Site, rounded_up
from vreid.train.pruning.channels import ChannelMap, compactors_of
from vreid.train.pruning.costs import Costs, Unit, costs_of, widths_of

SCORE_DECAY = 0.99  # of the running mean of a Taylor score
SLACK = 0.005  # of the whole cost: how far under its goal a budget may end, unless only longer steps lead to it
LEAST_COST = 1e-9  # of the whole: a channel may be measured to cost nothing
_NAMES: dict[Unit, str] = {"macs": "MACs", "params": "parameters", "ms": "milliseconds"}


@dataclass(frozen=True)
class BudgetRules:
    """`share` of the whole network's cost to keep, `of` its MACs, parameters, or measured milliseconds (ms). Masks are
    chosen every `every` steps; what they leave falls from all at `start` to the share at `until`, both shares of the
    training. Those that meet the share are the last: the rest of it is recovery at the final widths. Channels that are not
    masked feel `survivors` times the lasso: by "norm" it has to weaken them to separate them, by "taylor" it need not."""

    share: float
    of: Unit = "macs"
    start: float = 0.05
    until: float = 0.4
    every: int = 25
    cost_power: float = 0.5
    by: Literal["norm", "taylor", "random"] = "norm"
    survivors: float = 1.0


class Budget:
    """Chooses the masks of a network's compactors so that what is left meets the budget. `costs` are needed for ms. `maps` are
    those of its sites (channels.py), which know where the compactors are when the network has shrunk. Raises Refused for a
    budget that cannot be met, and for costs of another network."""

    def __init__(
        self,
        network: ReidNetwork,
        maps: Sequence[ChannelMap],
        rules: BudgetRules,
        multiple: int = 1,
        costs: Costs | None = None,
    ) -> None:
        self.rules, self.maps, self.multiple = rules, maps, multiple
        sites = [channels.site for channels in maps]
        if rules.of == "ms" and (costs is None or costs.unit != "ms"):
            raise Refused("a budget of milliseconds needs the measured costs of the engine; give --target-latency")
        self.costs = costs if costs is not None and rules.of == "ms" else costs_of(network, sites, rules.of)
        full = self.costs.full
        self.whole = self.costs.whole()
        if len(full) != len(sites) or list(full) != widths_of(sites):
            raise Refused("the costs were measured of another network; measure them again")
        least = self.costs.of([self._rounded(number, 1, 1) for number in range(len(sites))])
        if not least <= rules.share * self.whole <= self.whole:
            raise Refused(
                f"a budget of {rules.share:.1%} of the {_NAMES[rules.of]} cannot be met; with the narrowest layers "
                f"{least / self.whole:.1%} are left; ask for more, or for widths of a smaller multiple than {multiple}"
            )
        each = [
            self._channel_cost(number, compactor.side, *full[number]) for number, _, compactor in compactors_of(maps)
        ]
        mean = sum(each) / len(each)
        self._weights = [(cost / mean) ** rules.cost_power for cost in each]
        self.left = self.kept()  # the share that the masks leave

    def kept(self) -> float:
        """The share that the masks of now leave."""
        kept = [
            (1 if site.near is None else int(site.near.mask.sum()), int(site.far.mask.sum())) for site in self._sites()
        ]
        return self.costs.of([self._rounded(number, *widths) for number, widths in enumerate(kept)]) / self.whole

    def lasso(self) -> dict[Compactor, float]:
        """The factor of the lasso for each compactor: the cost of its channel over the mean of all, to the power `cost_power`."""
        return dict(zip(self._compactors(), self._weights, strict=True))

    @torch.no_grad()
    def observe(self) -> None:
        """After a backward pass, before the gradients are masked: take each channel's change of the loss into its Taylor score."""
        if self.rules.by != "taylor":
            return
        learnt = [(c, m.scores[c.side]) for _, m, c in compactors_of(self.maps) if c.weight.grad is not None]
        if not learnt:
            return
        products = torch._foreach_mul([c.weight for c, _ in learnt], [cast(Tensor, c.weight.grad) for c, _ in learnt])
        changes = [product.sum(c.dim) for product, (c, _) in zip(products, learnt, strict=True)]
        if torch.isfinite(torch.cat(changes)).all():  # an overflow in half precision, whose step the scaler skips
            scores = [score for _, score in learnt]
            torch._foreach_mul_(scores, SCORE_DECAY)
            torch._foreach_add_(scores, torch._foreach_mul(changes, changes), alpha=1 - SCORE_DECAY)

    @torch.no_grad()
    def choose(self, done: float = 1.0) -> float:
        """Set the masks anew, for a training of which the share `done` is over; returns the share that is left."""
        ramp = (done - self.rules.start) / max(self.rules.until - self.rules.start, 1e-9)
        goal = self.whole * (1 - (1 - self.rules.share) * min(1.0, max(0.0, ramp)))
        left, gone = self._masked(goal, SLACK * self.whole)
        if left > goal:  # every step that is left leads further under the goal
            left, gone = self._masked(goal, self.whole)
        for compactor, channels in gone.items():
            alive = len(compactor.mask) - len(channels)
            # rounding up keeps these, so they go on learning
            spared = rounded_up(alive, len(compactor.mask), self.multiple) - alive
            compactor.mask.fill_(1)
            compactor.mask[channels[: len(channels) - spared]] = 0
        self.left = left / self.whole
        return self.left

    def _masked(self, goal: float, slack: float) -> tuple[float, dict[Compactor, list[int]]]:
        """The cost that is left, and which channels of each compactor go, the least important first, until the cost is at the
        goal. A step that would lead further under it than `slack` (rounded widths fall by many channels at once) is not taken,
        nor another in that compactor."""
        kept = [list(widths) for widths in widths_of(self._sites())]
        gone: dict[Compactor, list[int]] = {compactor: [] for compactor in self._compactors()}
        left = self.costs.of([self._rounded(number, *widths) for number, widths in enumerate(kept)])
        closed: set[Compactor] = set()
        for number, compactor, channel in self._ranked():
            if left <= goal:
                break
            far = compactor.side == "far"
            if kept[number][far] == 1 or compactor in closed:  # a layer never goes below one channel
                continue
            before = self.costs.sites[number].of(*self._rounded(number, *kept[number]))
            kept[number][far] -= 1
            step = before - self.costs.sites[number].of(*self._rounded(number, *kept[number]))
            if left - step < goal - slack:
                kept[number][far] += 1
                closed.add(compactor)
                continue
            left -= step
            gone[compactor].append(channel)
        return left, gone

    def _rounded(self, number: int, near: int, far: int) -> tuple[int, int]:
        """The widths that the site `number` is folded to with that many channels alive."""
        site = self.maps[number].site
        near = 1 if site.near is None else rounded_up(near, len(site.near.mask), self.multiple)
        return near, rounded_up(far, len(site.far.mask), self.multiple)

    def _ranked(self) -> list[tuple[int, Compactor, int]]:
        """(number of the site, compactor, channel) of every channel, the least important for its cost first."""
        entries: list[tuple[float, int, int, int]] = []
        found, widths = compactors_of(self.maps), widths_of(self._sites())
        for nth, (number, channels, compactor) in enumerate(found):
            cost = self._channel_cost(number, compactor.side, *widths[number]) ** self.rules.cost_power
            importance = self._importance(nth, channels, compactor) / cost
            entries += [(value, number, nth, channel) for channel, value in enumerate(importance.tolist())]
        return [(number, found[nth][2], channel) for _, number, nth, channel in sorted(entries)]

    def _importance(self, nth: int, channels: ChannelMap, compactor: Compactor) -> Tensor:
        if self.rules.by == "norm":
            return compactor.norms()
        if self.rules.by == "random":  # a control: the same draw each time, of the masked first, so that it converges
            drawn = torch.rand(len(compactor.mask), generator=torch.Generator().manual_seed(nth))
            return drawn.to(compactor.mask.device) + compactor.mask
        return channels.scores[compactor.side]

    def _channel_cost(self, number: int, side: Side, near: int, far: int) -> float:
        """What a channel on that side of the site `number` costs at these widths."""
        cost = self.costs.sites[number]
        own = near * cost.b + cost.c if side == "far" else cost.a + far * cost.b
        return max(own, LEAST_COST * self.whole)

    def _compactors(self) -> list[Compactor]:
        return [compactor for _, _, compactor in compactors_of(self.maps)]

    def _sites(self) -> list[Site]:
        return [channels.site for channels in self.maps]
