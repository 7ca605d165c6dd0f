"""Capacity dynamic distillation: the student as heavy as its teacher is made smaller while it learns (CDD, CVPR 2023).

Methods.md 1.3-1.5. Differs: the teacher is in eval mode (the published code leaves its BN in training mode, an oversight);
gradient resetting is vectorised (train/resetting.py); the lasso's direction is added to the gradient from the first epoch on,
which is the same as having the lasso in the loss.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.compactor import Compactor, sites
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.resnet import Block
from vreid.train.budget import Budget, BudgetRules
from vreid.train.losses.blocks import blocks_loss
from vreid.train.losses.logits import logits_loss
from vreid.train.resetting import Memory, ResettingRules, apply_masks, reset


@dataclass(frozen=True)
class Capacity:
    """How a student is compressed. `strength` is the lasso's weight (lambda); resetting begins after `start` epochs, never
    when `rules` is None; with a `budget` the masks are chosen by rank instead, and masked channels are dropped in the end
    whatever is left of them; `logits` and `blocks` weigh the two distillations. Compactors have their own momentum and weight
    decay (SGD); channels under `threshold` are dropped in the end, widths rounded up to `multiple`."""

    both_sides: bool = False
    strength: float = 0.004
    start: int = 20
    rules: ResettingRules | None = field(default_factory=ResettingRules)
    budget: BudgetRules | None = None
    logits: float = 1.0
    blocks: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    threshold: float = 1e-5
    multiple: int = 1


class Taps:
    """Spatial means of what goes into and comes out of the `far` place of every block, and into `near`, as (B, C) each.

    In a network without compactors both of `far` are what conv2+BN gives. A near compactor drops inputs, so its means are
    of these, each times the norm of its column: what the convolution after it still gets of the channel. They hold the last
    forward pass in training or eval mode.
    """

    def __init__(self, network: ReidNetwork) -> None:
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.near: dict[int, Tensor] = {}
        blocks = [block for block in network.body.modules() if isinstance(block, Block)]
        for place, block in enumerate(blocks):
            block.far.register_forward_hook(self._far(place))
            block.near.register_forward_hook(self._near(place))

    def _far(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.before[place], self.after[place] = inputs[0].mean((2, 3)), output.mean((2, 3))

        return hook

    def _near(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            means = inputs[0].mean((2, 3))
            self.near[place] = means * module.norms() if isinstance(module, Compactor) else means

        return hook


class Compression:
    """The part of a training that compresses: taps on student and teacher, and a memory a compactor."""

    def __init__(self, capacity: Capacity, student: ReidNetwork, teacher: ReidNetwork) -> None:
        self.capacity, self.teacher, self.sites = capacity, teacher, sites(student)
        self.ours, self.theirs = Taps(student), Taps(teacher)
        self.memories: dict[str, Memory] = {}
        self.budget = (
            None if capacity.budget is None else Budget(student, self.sites, capacity.budget, capacity.multiple)
        )
        self.steps = 0
        wide = [len(site.far.mask) for site in self.sites]
        blocks = [block for block in teacher.body.modules() if isinstance(block, Block)]
        if [block.unit(-2)[0].out_channels for block in blocks] != wide:
            raise Refused(
                "the teacher's blocks are not as wide as the student's; compress with a teacher of the same network"
            )

    def losses(self, logits: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """The distillation terms of a batch that the student has just seen; logits (B, ids) are the student's."""
        with torch.no_grad():
            told = self.teacher(pixels).logits
        if told is None or told.shape != logits.shape:
            raise Refused(
                "the teacher was trained on other vehicles; give it and the student the same --data, cut and seed"
            )
        before = [self.ours.before[place] for place in range(len(self.sites))]
        target = [self.theirs.before[place] for place in range(len(self.sites))]
        return {
            "logits": self.capacity.logits * logits_loss(logits.float(), told.float()),
            "blocks": self.capacity.blocks * blocks_loss(before, target),
        }

    def after_backward(self, epoch: int) -> None:
        """Between the backward pass and the optimiser's step, in an epoch that counts from 0."""
        rules = None if self.budget is not None else self.capacity.rules
        if self.budget is not None and epoch >= self.budget.rules.start and self.steps % self.budget.rules.every == 0:
            self.budget.choose()
        self.steps += 1
        for place, site in enumerate(self.sites):
            for compactor in site.compactors():
                far = compactor.side == "far"
                if rules is not None and epoch >= self.capacity.start:
                    ours, theirs = (self.ours.after, self.theirs.after) if far else (self.ours.near, self.theirs.near)
                    memory = self._memory(f"{place}.{compactor.side}", compactor, rules)
                    reset(compactor, memory, ours[place].detach(), theirs[place], rules)
                apply_masks(compactor, self.capacity.strength)

    def masked(self) -> list[int]:
        """How many channels of each compactor are left to the lasso, in the order of the blocks, near before far."""
        return [int((c.mask == 0).sum()) for site in self.sites for c in site.compactors()]

    def state(self) -> dict[str, Any]:
        """What --resume needs: the memories and the count of steps (masks are among the network's buffers)."""
        memories = {name: {"vectors": memory.filled(), "count": memory.count} for name, memory in self.memories.items()}
        return {"memories": memories, "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        rules = cast(ResettingRules, self.capacity.rules)  # without them there are no memories
        self.steps = state["steps"]
        device = self.sites[0].far.weight.device  # a checkpoint's tensors are on the CPU
        for name, kept in state["memories"].items():
            memory = Memory(rules.memory, kept["vectors"].shape[1], device)
            memory.vectors[: len(kept["vectors"])] = kept["vectors"]
            memory.count = kept["count"]
            self.memories[name] = memory

    def _memory(self, name: str, compactor: Compactor, rules: ResettingRules) -> Memory:
        if name not in self.memories:
            self.memories[name] = Memory(rules.memory, len(compactor.mask), compactor.weight.device)
        return self.memories[name]
