"""The arms of the compression table: what each of them learns with. Imported by cdd_table.py.

Every arm has the teacher, the data, the seeds and the epochs of the others, and all learn from it at every step: the paper's two
from its logits and blocks, the others from its logits only. Those of the teacher's network begin with its weights;
those that cannot (other networks, slim widths from scratch) begin with random weights; one is there with twice the epochs too.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from vreid.models.cost import cost_of, total_of
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import (
    cdd2_resnet50_small,
    cdd_resnet50_small,
    teacher_resnet50_small,
    uncompressed_resnet50_small,
)

SAME, LESS = 1 - 0.6567, 1 - 0.785  # the shares of MACs that the papers' savings leave (methods.md 1.8 and 3)
Start = Callable[[ReidNetwork], ReidNetwork]  # a copy of the teacher -> what an arm begins as


def teacher_itself(teacher: ReidNetwork) -> ReidNetwork:
    """Begin with the teacher's weights."""
    return teacher


def cut_by_torch_pruning(share: float, multiple: int, least: float) -> Start:
    """Begin as the teacher, cut to that share of its MACs in multiples of channels; at least `least` of a layer stays."""

    def start(teacher: ReidNetwork) -> ReidNetwork:
        from torch_pruning_arm import Rules, pruned_by_torch_pruning

        return pruned_by_torch_pruning(teacher, share, multiple, Rules(most=1 - least))

    return start


@dataclass(frozen=True)
class Arm:
    """`recipe()` gives what it learns with, `start` what it begins as (None: random weights); its widths are those that the arm
    `widths_of` of the same seed has found, where it names one. `cached` names teacher caches that it learns from, too."""

    recipe: Callable[[], Recipe]
    start: Start | None = teacher_itself
    widths_of: str = ""
    cached: tuple[str, ...] = ()


def paper(**changes: Any) -> Recipe:
    """CDD with one compactor a block."""
    base = cdd_resnet50_small()
    assert base.capacity is not None
    return replace(base, capacity=replace(base.capacity, **changes))


def two_sided(share: float, budget: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """CDD2 with a budget."""
    base = cdd2_resnet50_small()
    assert base.capacity is not None and base.capacity.budget is not None
    rules = replace(base.capacity.budget, share=share, **(budget or {}))
    return replace(base, capacity=replace(base.capacity, budget=rules, **changes))


def _resrep(share: float) -> Recipe:
    """ResRep: masks by the norm only, whatever a channel costs, and no weight decay; the distillation of CDD2.

    Channels that stay are pulled as much a step as by ResRep's lambda of 1e-4 and momentum of 0.99. With the whole lasso of
    these few steps every norm goes to zero, since the BN behind the next convolution gives back whatever a norm loses: the
    loss was NaN in epoch 9. Its momentum made the validation worse for cdd2 too, so both have 0.9.
    """
    return two_sided(share, budget={"by": "norm", "cost_power": 0.0, "survivors": 0.025})


def _random(share: float) -> Recipe:
    return two_sided(share, budget={"by": "random", "cost_power": 0.0})


def _scratch(
    network: NetworkConfig | None = None, schedule: Callable[[], Recipe] = uncompressed_resnet50_small
) -> Recipe:
    base, online = schedule(), uncompressed_resnet50_small().online
    return replace(base, network=network or base.network, average=0.0, online=online, inherit=False)


def macs_of(network: NetworkConfig) -> int:
    """The MACs of a network that is not made."""
    with torch.device("meta"):
        return total_of(cost_of(ReidNetwork(network))).macs


def scaled_to(heavy: NetworkConfig, share: float, body: str = "") -> NetworkConfig:
    """`heavy`, or the same with another body, in the width (in 64ths) that comes nearest to that share of its MACs from below."""

    def scaled(step: int) -> NetworkConfig:
        return replace(heavy, body=body or heavy.body, options={**heavy.options, "scale": step / 64})

    steps = range(1, 128)
    return scaled(bisect_right(steps, share * macs_of(heavy), key=lambda step: macs_of(scaled(step))))


def _scaled(body: str) -> NetworkConfig:
    return scaled_to(teacher_resnet50_small().network, SAME, body)


def ceiling() -> float:
    """The share of MACs that one compactor a block cannot go under: one channel left in every block."""
    network = ReidNetwork(teacher_resnet50_small().network).eval()
    whole = total_of(cost_of(network)).macs
    for site in insert(network):
        site.far.mask.zero_()
    return total_of(cost_of(fold(network, masked=True))).macs / whole


ARMS: dict[str, Arm] = {
    "uncompressed": Arm(uncompressed_resnet50_small),
    "cdd": Arm(lambda: paper(rules=None)),
    "cdd+rggr": Arm(lambda: paper()),
    "cdd2": Arm(lambda: two_sided(SAME)),
    "cdd2-20": Arm(lambda: two_sided(LESS, multiple=8)),  # in sixteens the network does not get so small
    "resrep": Arm(lambda: _resrep(SAME)),
    "torch-pruning": Arm(uncompressed_resnet50_small, cut_by_torch_pruning(SAME, 16, 1 / 4)),
    "distilled-r18": Arm(lambda: _scratch(_scaled("resnet18")), None),
    "distilled-r34": Arm(lambda: _scratch(_scaled("resnet34")), None),
    "slim-from-scratch": Arm(_scratch, None, widths_of="cdd2"),
    "random": Arm(lambda: _random(SAME)),
    "distilled-r18, 80 epochs": Arm(lambda: _scratch(_scaled("resnet18"), teacher_resnet50_small), None),
}
