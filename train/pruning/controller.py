"""Capacity dynamic distillation (CDD, CVPR 2023): a student that begins as large as its teacher is made smaller while it learns.

Methods.md 1.3-1.5. Gradient resetting (resetting.py) or a budget (budget.py) chooses the channels. We differ: the lasso's
direction is added to the gradient, which is the same as having the lasso in the loss; the steps of a compactor that reads large
values are shortened (`limit_steps`); and where `shrink` allows, the network is rebuilt narrower between two epochs, so that the
next is cheaper (models/shrinking.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork, unit
from vreid.models.pruning import EPS, Compactor, Site, kept_of, places_of, sites
from vreid.models.shrinking import Kept, Shrunk
from vreid.train.online import OnlineTeacher
from vreid.train.pruning.budget import Budget, BudgetRules
from vreid.train.pruning.channels import ChannelMap, channel_maps, compactors_of, name_of, restore, state_of
from vreid.train.pruning.costs import Costs
from vreid.train.pruning.resetting import Memory, ResettingRules, reset


@torch.no_grad()
def limit_steps(compressed: Sequence[Site], most: float) -> None:
    """After the backward pass of the task's loss: divide a compactor's gradient by how many times `most` the mean squared length of
    its input is, where it is more. As the normalised LMS rule (Nagumo and Noda, IEEE Trans. Automatic Control, 1967); neither
    ResRep nor CDD has it.

    A step of SGD changes what a compactor gives in proportion to that squared length, which is the sum of gain^2 + bias^2 of the
    BN before it (at most, where a ReLU is between them). In ImageNet's MobileNetV2 it is far larger before the last compactor than
    before the others (docs/compression.md): at their rate its output grows, shrinking the network makes these values the input of
    the next, and most of them end beyond the ends of ReLU6.
    """
    read = [pair for site in compressed for pair in site.read_norms() if pair[0].weight.grad is not None]
    if read:
        lengths = torch.stack(torch._foreach_norm([tensor for _, norm in read for tensor in (norm.weight, norm.bias)]))
        power = lengths.pow(2).reshape(-1, 2).sum(1)
        factors = (most / power.clamp(min=EPS)).clamp(max=1.0)
        torch._foreach_mul_([cast(Tensor, compactor.weight.grad) for compactor, _ in read], list(factors))


@torch.no_grad()
def apply_masks(compactors: Sequence[Compactor], strengths: Sequence[float], survivors: float = 1.0) -> None:
    """After the backward pass of the task's loss: gradient <- mask * gradient + strength * Q / |Q channel|; channels that
    are not masked feel `survivors` times their compactor's strength (1 in the paper). All compactors at once, since a GPU
    takes longer to launch them one by one than to do the work."""
    learnt = [(c, strength) for c, strength in zip(compactors, strengths, strict=True) if c.weight.grad is not None]
    if not learnt:
        return
    weights: list[Tensor] = [c.weight for c, _ in learnt]
    norms = [square.sum(c.dim) for square, (c, _) in zip(torch._foreach_pow(weights, 2), learnt, strict=True)]
    torch._foreach_clamp_min_(norms, EPS)
    torch._foreach_sqrt_(norms)
    pulls = torch._foreach_mul([c.mask for c, _ in learnt], survivors - 1)
    torch._foreach_add_(pulls, 1.0)
    torch._foreach_mul_(pulls, [strength for _, strength in learnt])
    torch._foreach_div_(pulls, norms)
    for (compactor, _), pull in zip(learnt, pulls, strict=True):
        gradient = cast(Tensor, compactor.weight.grad)
        gradient.mul_(compactor.per_channel(compactor.mask)).addcmul_(compactor.weight, compactor.per_channel(pull))


@dataclass(frozen=True)
class Capacity:
    """How a student is compressed. `strength` is the lasso's weight (lambda); resetting begins after `start` epochs, never
    when `rules` is None; with a `budget` the masks are chosen by rank instead, and masked channels are dropped in the end
    whatever is left of them. Compactors have their own momentum and weight decay (SGD), and shorter steps where the mean squared
    length of their input is over `most_power`; channels under `threshold` are dropped in the end, widths rounded up to
    `multiple`. Masked channels under `shrink` are dropped between two epochs already (0: never)."""

    both_sides: bool = False
    strength: float = 0.004
    start: int = 20
    rules: ResettingRules | None = field(default_factory=ResettingRules)
    budget: BudgetRules | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    most_power: float = 256.0
    threshold: float = 1e-5
    multiple: int = 1
    shrink: float = 0.0


class Compression:
    """The part of a training that compresses. Memories keep the full width of their compactor when the network shrinks; `maps`
    say which of those channels the student still has. Raises Refused for a teacher of other widths, and as `Budget` does."""

    def __init__(
        self, capacity: Capacity, student: ReidNetwork, teacher: OnlineTeacher, costs: Costs | None = None
    ) -> None:
        if teacher.student_hooks.widths() != teacher.hooks.widths():
            raise Refused(
                "the teacher's blocks are not as wide as the student's; compress with a teacher of the same network"
            )
        self.capacity, self.teacher, self.maps = capacity, teacher, channel_maps(student)
        teacher.maps = self.maps
        self.memories: dict[str, Memory] = {}
        self.budget: Budget | None = None
        if capacity.budget is not None:
            self.budget = Budget(student, self.maps, capacity.budget, capacity.multiple, costs)
        self.steps = 0
        self.macs, self.full = total_of(cost_of(student)).macs, _widths(student)

    def after_backward(self, epoch: float, done: float) -> None:
        """Change masks and gradients between the backward pass and the optimiser's step; `epoch` is the number of epochs that are
        over, `done` their share of the training."""
        if self.budget is not None:
            self.budget.observe()
            rules = self.budget.rules
            due = self.budget.left > rules.share if done >= rules.until else self.steps % rules.every == 0
            if done >= rules.start and due:
                self.budget.choose(done)
        elif self.capacity.rules is not None and epoch >= self.capacity.start:
            for number, channels, compactor in compactors_of(self.maps):
                self._reset(number, channels, compactor, self.capacity.rules)
        self.steps += 1
        limit_steps([channels.site for channels in self.maps], self.capacity.most_power)
        weights = self.budget.lasso() if self.budget is not None else {}
        survivors = self.budget.rules.survivors if self.budget is not None else 1.0
        compactors = [compactor for _, _, compactor in compactors_of(self.maps)]
        strengths = [self.capacity.strength * weights.get(compactor, 1.0) for compactor in compactors]
        apply_masks(compactors, strengths, survivors)

    def droppable(self) -> list[Kept] | None:
        """The channels to keep of each site; None when there is nothing to drop, or `shrink` is 0."""
        found: list[Kept] = []
        fewer = False
        for channels in self.maps:
            site = channels.site
            both = [self._staying(compactor) for compactor in site.compactors()]
            fewer |= any(len(kept) < len(c.mask) for kept, c in zip(both, site.compactors(), strict=True))
            found.append((both[0] if site.near is not None else None, both[-1]))
        return found if fewer and self.capacity.shrink else None

    def follow(self, narrow: Shrunk, kept: list[Kept]) -> None:
        """Go on with the network in `narrow`, which has the channels `kept` of the student before."""
        for channels, site, chosen, view in zip(self.maps, sites(narrow.network), kept, narrow.views, strict=True):
            channels.narrow(site, chosen, view)
        self.teacher.follow(narrow.network)

    def masked(self) -> list[list[int]]:
        """How many channels of each compactor are dropped or masked, site by site, near before far."""
        return [[channels.masked(compactor) for compactor in channels.site.compactors()] for channels in self.maps]

    def state(self) -> dict[str, Any]:
        """What --resume needs: the memories, the count of steps and the maps (masks are among the network's buffers)."""
        memories = {name: {"vectors": memory.filled(), "count": memory.count} for name, memory in self.memories.items()}
        return {"memories": memories, "steps": self.steps, **state_of(self.maps, self.budget is not None)}

    def restore(self, state: dict[str, Any], student: ReidNetwork) -> None:
        """The inverse of `state`, for a student that is as wide as it was then."""
        restore(self.maps, state, student)
        self.teacher.follow(student)
        self.steps = state["steps"]
        if self.budget is not None:
            self.budget.left = self.budget.kept()
        rules = self.capacity.rules or ResettingRules()
        for number, channels, compactor in compactors_of(self.maps):
            if (name := name_of(number, compactor)) in state["memories"]:
                kept, memory = state["memories"][name], self._memory(number, channels, compactor, rules)
                memory.vectors[: len(kept["vectors"])] = kept["vectors"]
                memory.count = kept["count"]

    def _reset(self, number: int, channels: ChannelMap, compactor: Compactor, rules: ResettingRules) -> None:
        student, teacher = self.teacher.pooled(number, compactor.side)
        memory = self._memory(number, channels, compactor, rules)
        if self.steps % rules.every:
            memory.push(unit(teacher))
            return
        mask, seen = channels.full(compactor, compactor.mask), channels.full(compactor, student.detach())
        compactor.mask.copy_(channels.living(compactor, reset(mask, memory, seen, teacher, rules)))

    def _staying(self, compactor: Compactor) -> Tensor:
        """Channels that are kept between two epochs: those of norm `shrink` or more, and where channels are masked all others."""
        small = compactor.norms() < self.capacity.shrink
        if self.budget is not None or self.capacity.rules is not None:
            small &= compactor.mask == 0
        return kept_of(compactor, self.capacity.multiple, small)

    def _memory(self, number: int, channels: ChannelMap, compactor: Compactor, rules: ResettingRules) -> Memory:
        name = name_of(number, compactor)
        if name not in self.memories:
            self.memories[name] = Memory(rules.memory, channels.width[compactor.side], compactor.weight.device)
        return self.memories[name]


def progress_of(compression: Compression, folded: ReidNetwork) -> dict[str, Any]:
    """How far a student is compressed, for the record of an epoch; `folded` is what it would be deployed as now.

    masked: per stage, of each compactor; widths and whole: per place, of each layer that can be narrower, now and at the start.
    """
    cost = total_of(cost_of(folded))
    masked: dict[str, list[int]] = {}
    for name, counts in zip(_widths(folded), compression.masked(), strict=True):
        masked.setdefault(name.split(".")[0], []).extend(counts)
    found = {
        "params": cost.params,
        "macs": cost.macs,
        "share": round(cost.macs / compression.macs, 4),
        "masked": list(masked.values()),
        "widths": _widths(folded),
        "whole": compression.full,
    }
    if compression.capacity.budget is not None:
        found["target"] = {"unit": compression.capacity.budget.of, "share": compression.capacity.budget.share}
    return found


def _widths(network: ReidNetwork) -> dict[str, dict[str, int]]:
    """{place: {layer: channels}} of all layers that compactors can make narrower, and those before them."""
    found: dict[str, dict[str, int]] = {}
    for place in places_of(network):
        layers = (*((place.before[0],) if place.before else ()), place.conv)
        widths = (cast(nn.Conv2d, network.get_submodule(name)).out_channels for name in layers)
        found[place.name] = dict(zip(place.kinds, widths, strict=True))
    return found
