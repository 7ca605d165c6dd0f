"""The arms of the compression table for MobileNetV2: as those of the ResNet, from ImageNet weights, at 96 pixels.

Imported by cdd_table.py. All learn for 12 epochs from the logits of one teacher, which is the heavy student's network; the paper's
from its blocks, too. Two learn from embeddings besides, that teacher's own and those of three teachers fused: it, an
EfficientNet-Lite0, and a network that was trained for something else. They want files that others do without:

    python bench/cdd_table.py teacher --family efficientnet --data DATA --weights efficientnet-lite0.pth --out runs/lite0
    vreid cache-teacher runs/cdd-mobile/teacher/best.pt --data DATA --out runs/cdd-mobile/caches/mobilenet.npz
    vreid cache-teacher runs/lite0/teacher/best.pt --data DATA --out runs/cdd-mobile/caches/efficientnet.npz
    vreid cache-teacher vehicle-attributes-recognition-barrier-0039.xml --output ReLU5 --order BGR --mean 0 0 0 --std 1 1 1 \\
          --scale 1 --data DATA --out runs/cdd-mobile/caches/attributes.npz
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from cdd_arms import Arm, cut_by_torch_pruning, scaled_to

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import cdd2_mobilenet, cdd_mobilenet, teacher_mobilenet, uncompressed_mobilenet
from vreid.train.recipes.targets import with_teachers

SAME, LESS = 0.35, 0.2  # of the heavy student's MACs
MULTIPLE = 8  # of channels
SIDE, DIM, EPOCHS = 96, 128, 12
CACHES = ("mobilenet", "efficientnet", "attributes")


def teacher() -> Recipe:
    """What all arms learn from, and most begin as."""
    return replace(_small(teacher_mobilenet()), epochs=24, planned=24, warmup=1, sizes=())


def efficientnet_teacher() -> Recipe:
    """Another teacher, of another body, for the arm that learns from several."""
    base = teacher()
    return replace(base, network=replace(base.network, body="efficientnet_lite0"))


def with_cached(recipe: Recipe, teachers: int) -> Recipe:
    """`recipe` that also learns from that many teachers' cached embeddings; of several they are whitened and fused."""
    return with_teachers(recipe, teachers, by="similarity" if teachers == 1 else None, by_camera=True)


def paper() -> Recipe:
    """CDD with retrieval-guided gradient resetting."""
    return _short(cdd_mobilenet())


def budgeted(share: float, **budget: Any) -> Recipe:
    """CDD2 with a budget."""
    base = _short(cdd2_mobilenet())
    assert base.capacity is not None and base.capacity.budget is not None
    rules = replace(base.capacity.budget, share=share, **budget)
    return replace(base, capacity=replace(base.capacity, budget=rules))


def uncompressed() -> Recipe:
    """The heavy student."""
    return _short(uncompressed_mobilenet())


def from_scratch(network: NetworkConfig | None = None) -> Recipe:
    """Distilled at these widths from the start."""
    base = uncompressed()
    return replace(base, network=network or base.network, inherit=False)


def as_the_teacher(recipe: Recipe) -> Recipe:
    """`recipe` with the optimiser, rates and averaged weights by which the teacher learnt from those of ImageNet: for networks that
    are far from one that works. A compression wants SGD, and clipping, which holds up what begins far away."""
    names = ("optimiser", "lr", "head_lr", "weight_decay", "clip", "warmup", "flat", "average")
    return replace(recipe, **{name: getattr(teacher(), name) for name in names})


@torch.no_grad()
def pruned_uniformly(network: ReidNetwork, share: float, multiple: int = MULTIPLE) -> ReidNetwork:
    """`network` with the same part of every layer's channels, those with the largest scales in their batch norms (Liu et al.,
    Network Slimming, ICCV 2017), of the greatest part that stays under that share of the MACs. Raises Refused where none does."""
    whole = total_of(cost_of(network)).macs

    def cut(part: float) -> ReidNetwork:
        narrow = deepcopy(network)
        for site in insert(narrow):
            order = site.norm.weight.abs().argsort(descending=True)
            site.far.mask[order[max(multiple, int(part * len(order)) // multiple * multiple) :]] = 0
        return fold(narrow, multiple=multiple, masked=True)

    for step in range(63, 0, -1):
        narrow = cut(step / 64)
        if total_of(cost_of(narrow)).macs <= share * whole:
            return narrow
    raise Refused(f"no uniform width leaves {share:.0%} of the MACs; ask for more")


def _small(base: Recipe) -> Recipe:
    return replace(base, network=replace(base.network, height=SIDE, width=SIDE, dim=DIM), limit=0)


def _short(base: Recipe) -> Recipe:
    return replace(_small(base), epochs=EPOCHS)


ARMS: dict[str, Arm] = {
    "uncompressed": Arm(uncompressed),
    "cdd2": Arm(lambda: budgeted(SAME)),
    "cdd2-20": Arm(lambda: budgeted(LESS)),
    "cdd+rggr": Arm(paper),
    # a tenth of what survivors feel in cdd_arms.py, with which this one diverged (docs/results/compression.md)
    "resrep": Arm(lambda: budgeted(SAME, by="norm", cost_power=0.0, survivors=0.0025)),
    "torch-pruning": Arm(uncompressed, cut_by_torch_pruning(SAME, MULTIPLE, 1 / 8)),
    "uniform": Arm(uncompressed, lambda teacher: pruned_uniformly(teacher, SAME)),
    "cdd2-cached": Arm(lambda: with_cached(budgeted(SAME), 1), cached=("mobilenet",)),
    "cdd2-fused": Arm(lambda: with_cached(budgeted(SAME), 3), cached=CACHES),
    "random": Arm(lambda: budgeted(SAME, by="random", cost_power=0.0)),
    "distilled-scaled": Arm(lambda: from_scratch(scaled_to(uncompressed().network, SAME)), None),
    "slim-from-scratch": Arm(from_scratch, None, widths_of="cdd2"),
}
ABLATIONS: dict[str, Arm] = {
    "torch-pruning, the teacher's optimiser": replace(
        ARMS["torch-pruning"], recipe=lambda: as_the_teacher(uncompressed())
    )
}
