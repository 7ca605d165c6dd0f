"""The arms of the distillation table: several teachers fused, and few pictures without labels. Imported by distillation_table.py.

The student is the half-width ResNet-18 at 64 pixels, from scratch. In the first part it learns as Whiten-MTD does, from the
similarities only (labels only say which pictures are pairs); in the second from a share of the pictures, each embedded once.
Two numbers of the paper's were chosen anew on the validation part, for all arms alike: the temperature, and how many axes a
teacher is whitened to (bench/whitening_table.py). One arm keeps the published ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from vreid.models.network import NetworkConfig
from vreid.train.data.pictures import Augmentation
from vreid.train.losses.relations import FUSIONS
from vreid.train.losses.table import CachedDistillation
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import (
    cdd2_resnet50_small,
    drd_resnet18_small,
    student_resnet18_small,
    teacher_resnet18_small,
    whiten_mtd_resnet18_small,
)
from vreid.train.recipes.targets import TAU, WHITE

BEST = "resnet18"  # on the validation part
EPOCHS, TEACHER_EPOCHS, CDD2_EPOCHS = 16, 60, 24
PASSES = 90  # at most, over few pictures
TEACHERS = ("resnet50", "resnet18", "mobilenet")  # the last is ImageNet's, never trained on vehicles


@dataclass(frozen=True)
class Arm:
    """`teachers` are cached, `fraction` of the pictures is learnt from; of their labels nothing, the pairs, or all is used."""

    recipe: Callable[[], Recipe]
    teachers: tuple[str, ...] = TEACHERS
    fraction: float = 1.0
    labels: Literal["no", "pairs", "yes"] = "pairs"


def resnet18_teacher() -> Recipe:
    """The second teacher: another network, GeM, and no triplet loss."""
    network = NetworkConfig("resnet18", 64, 64, 256, "gem", options={"scale": 0.75, "last_stride": 1})
    return replace(teacher_resnet18_small(), network=network, triplet=0.0, epochs=TEACHER_EPOCHS)


def _single() -> Recipe:
    return replace(
        student_resnet18_small(), epochs=EPOCHS, classification=0.0, triplet=0.0, cached=CachedDistillation(tau=TAU)
    )


def _fused(fusion: str, whiten: int = WHITE, tau: float = TAU) -> Recipe:
    cached = CachedDistillation(by="fusion", fusion=fusion, whiten=whiten, tau=tau)
    return replace(_single(), distil=1.0, cached=cached)


def _compressed() -> Recipe:
    cached = CachedDistillation(by="fusion", fusion="maxmin", whiten=WHITE, tau=TAU)
    recipe = replace(cdd2_resnet50_small(), distil=1.0, cached=cached)
    return replace(
        recipe, epochs=CDD2_EPOCHS, planned=CDD2_EPOCHS, flat=0.4 * CDD2_EPOCHS
    )  # CDD2 by itself: bench/results/cdd.json, 40 epochs


def _few(recipe: Recipe, fraction: float) -> Recipe:
    """As many pictures as the whole set gives in its epochs, until every one has been seen PASSES times; in batches of 32,
    since of 64 there would be few."""
    return replace(recipe, epochs=min(PASSES, round(EPOCHS / fraction)), p=8)


def _rkd() -> Recipe:
    """DRD's recipe at half its rate, which is better on the validation part."""
    return replace(drd_resnet18_small(), lr=2e-3, cached=CachedDistillation(by="rkd"))


def _supervised() -> Recipe:
    """With light as students have it, which is better for labels too on the validation part."""
    return replace(
        teacher_resnet18_small(), augmentation=Augmentation(light=student_resnet18_small().augmentation.light)
    )


def _whole() -> Recipe:
    """At a student's rate and in its batches, which for labels of all pictures is better on the validation part, of few worse."""
    return replace(_few(_supervised(), 1.0), lr=student_resnet18_small().lr)


ARMS: dict[str, Arm] = {
    **{f"single: {name}": Arm(_single, (name,)) for name in TEACHERS},
    "mean, not whitened": Arm(lambda: _fused("mean", 0)),
    "maxmin, not whitened": Arm(lambda: _fused("maxmin", 0)),
    **{f"whiten-mtd: {name}": Arm(lambda name=name: _fused(name)) for name in FUSIONS},  # type: ignore[misc]
    # what whitening does without fusion
    "whiten-mtd: resnet18 only": Arm(lambda: _fused("mean"), (BEST,)),
    # 512 axes of 2048 in the paper; of our 256 half
    "whiten-mtd: maxmin, as published": Arm(lambda: _fused("maxmin", whiten=128, tau=0.05)),
    # the recipe that users have
    "whiten-mtd: maxmin, and labels": Arm(lambda: replace(whiten_mtd_resnet18_small(), epochs=EPOCHS), labels="yes"),
    "whiten-mtd + cdd2": Arm(_compressed, labels="yes"),
    "supervised: all": Arm(_whole, (), labels="yes"),
    # how far its teacher leads DRD, whatever the share
    "drd: all": Arm(lambda: _few(drd_resnet18_small(), 1.0), (BEST,), labels="no"),
}
for _share in (0.05, 0.10, 0.25):
    ARMS[f"drd: {_share:.0%}"] = Arm(lambda s=_share: _few(drd_resnet18_small(), s), (BEST,), _share, "no")  # type: ignore[misc]
    ARMS[f"rkd: {_share:.0%}"] = Arm(lambda s=_share: _few(_rkd(), s), (BEST,), _share, "no")  # type: ignore[misc]
    ARMS[f"supervised: {_share:.0%}"] = Arm(lambda s=_share: _few(_supervised(), s), (), _share, "yes")  # type: ignore[misc]


def _drd(**changes: object) -> Recipe:
    recipe = _few(drd_resnet18_small(), 0.1)
    rows = {name: changes[name] for name in ("p", "k", "distil", "lr", "augmentation") if name in changes}
    changes = {name: value for name, value in changes.items() if name not in rows}
    return replace(recipe, cached=replace(recipe.cached, **changes), **rows)  # type: ignore[arg-type]


# of what DRD's abstract leaves open, and of what we add; one seed, a tenth of the pictures
CHANGES: dict[str, dict[str, object]] = {
    "not aligned": {"align": 0.0},
    "alignment only": {"align": 500.0, "distil": 0.02},
    "nothing mixed": {"mixed": 0},
    "128 mixed": {"mixed": 128},
    "Beta(0.5, 0.5)": {"alpha": 0.5},
    "originals only": {"pairs": "original"},
    "mixed only": {"pairs": "mixed"},
    "temperature 0.1": {"tau": 0.1},
    "temperature 0.4": {"tau": 0.4},
    "Huber on distances": {"form": "huber", "distil": 10.0, "align": 1.0},
    "squares of cosines": {"form": "mse", "distil": 10.0, "align": 1.0},
    "likelihood of the order": {"form": "ranking"},
    "batches by chance": {"p": 32, "k": 1},
    "a part erased": {"augmentation": replace(drd_resnet18_small().augmentation, erase=Augmentation().erase)},
    "stronger light": {"augmentation": Augmentation(erase=0.0)},
    "rate 0.002": {"lr": 2e-3},
    "batches of 64": {"p": 16},
}
ABLATIONS = {
    f"ablation: drd 10%, {name}": Arm(lambda changes=changes: _drd(**changes), (BEST,), 0.1, "no")  # type: ignore[misc]
    for name, changes in CHANGES.items()
}
ALL = {**ARMS, **ABLATIONS}
