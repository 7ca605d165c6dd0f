"""The arms of the compression table: what each of them learns with. Imported by cdd_table.py.

Every arm has the teacher, the data, the seeds and the epochs of the others, and all learn from it at every step: the paper's two
from its logits and blocks, the others from its logits only. Those of the teacher's network begin with its weights;
those that cannot (other networks, slim widths from scratch) begin with nothing, and are there with twice the epochs too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

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


@dataclass(frozen=True)
class Arm:
    """`recipe()` gives what it learns with; `start` names what it begins from: its teacher, nothing, the teacher cut by
    Torch-Pruning, or the widths that another arm of the same seed has found. `cached` names teacher caches that it learns from,
    too."""

    recipe: Callable[[], Recipe]
    start: str = "teacher"
    share: float = 1.0
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
    """ResRep: masks by the norm only, whatever the price, and no weight decay; the distillation of CDD2.

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


@cache
def scaled_to(body: str, share: float) -> NetworkConfig:
    """The network `body` of the width that comes nearest to that share of the heavy student's MACs, from below."""
    heavy = teacher_resnet50_small().network
    whole = total_of(cost_of(ReidNetwork(heavy))).macs
    best = replace(heavy, body=body, options={**heavy.options, "scale": 1 / 64})
    for step in range(2, 128):
        now = replace(best, options={**best.options, "scale": step / 64})
        if total_of(cost_of(ReidNetwork(now))).macs > share * whole:
            break
        best = now
    return best


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
    "torch-pruning": Arm(uncompressed_resnet50_small, "torch-pruning", SAME),
    "distilled-r18": Arm(lambda: _scratch(scaled_to("resnet18", SAME)), "nothing"),
    "distilled-r34": Arm(lambda: _scratch(scaled_to("resnet34", SAME)), "nothing"),
    "slim-from-scratch": Arm(_scratch, "nothing", widths_of="cdd2"),
    "random": Arm(lambda: _random(SAME)),
    "distilled-r18, 80 epochs": Arm(lambda: _scratch(scaled_to("resnet18", SAME), teacher_resnet50_small), "nothing"),
}
