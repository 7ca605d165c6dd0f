"""Recipes of students that are compressed while they learn. Each needs --teacher, trained on the same data and seed."""

from dataclasses import replace

from vreid.train.beside import Distillation
from vreid.train.budget import BudgetRules
from vreid.train.capacity import Capacity
from vreid.train.recipe import Recipe
from vreid.train.recipes.teachers import teacher_resnet50_small, teacher_resnet101
from vreid.train.resetting import ResettingRules


def cdd_resnet101() -> Recipe:
    """Capacity Dynamic Distillation as published (CVPR 2023), with the best guess of its VeRi-776 settings (methods.md 1.5).

    vreid train student --recipe cdd_resnet101 --data VERI --teacher runs/teacher/best.pt --weights imagenet --out runs/cdd
    Made for one GPU; hours and accuracy: none measured. Differs from the published code: no weight decay on norms and biases, the
    rate falls to a thousandth and by the step, random erasing takes up to 0.3 of the area.
    """
    return replace(teacher_resnet101(), average=0.0, beside=Distillation(), capacity=Capacity())


def cdd2_resnet101() -> Recipe:
    """Both sides of the 3x3, a budget of 21.5 % of the MACs by what a channel means to the loss, no weight decay on
    compactors; begins as its teacher, shrinks while it learns, and ends in widths that engines like.

    vreid train student --recipe cdd2_resnet101 --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    methods.md 10.1, 10.4 and 10.13. It learns from the teacher's logits alone, as its small twin does. Made for one GPU; hours
    and accuracy: none measured.
    """
    beside = Distillation(blocks=0.0)
    return replace(cdd_resnet101(), beside=beside, capacity=_two_sided(0.215), inherit=True, imagenet=False)


def cdd_resnet50_small() -> Recipe:
    """cdd_resnet101 for a machine without a GPU: half-width ResNet-50 at 64 pixels beside teacher_resnet50_small.

    vreid train student --recipe cdd_resnet50_small --data VERI --teacher runs/teacher/best.pt --out runs/cdd
    Differs: it begins as its teacher, since nobody has ImageNet weights of half the width; the memory holds 4,096 teacher
    vectors, about half an epoch, as the published 24,000 are of VeRi-776; lambda is larger, for a twentieth of the steps; p is
    0.85, since of 0.5 four tenths of the MACs are saved and of 0.85 57 %, with more mAP (validation, one seed: docs/results.md).
    """
    capacity = Capacity(strength=0.03, start=8, rules=ResettingRules(p=0.85, memory=4_096))
    return replace(uncompressed_resnet50_small(), beside=Distillation(), capacity=capacity)


def cdd2_resnet50_small() -> Recipe:
    """cdd2_resnet101 for a machine without a GPU, with a budget of 30 % of the MACs: half-width ResNet-50 at 64 pixels.

    vreid train student --recipe cdd2_resnet50_small --data VERI --teacher runs/teacher/best.pt --out runs/cdd2
    0.24 core-hours on 210 vehicles of roadside; with 34 % of the MACs no mAP lost (three seeds: docs/results.md).
    """
    return replace(uncompressed_resnet50_small(), capacity=_two_sided(0.3))


def uncompressed_resnet50_small() -> Recipe:
    """The heavy student of the comparison: what cdd2_resnet50_small learns from, nothing pushed, nothing dropped.

    The teacher's schedule at half its length, from its logits alone: with similarities beside them cdd2 lost 0.9 mAP on the
    validation part (one seed: docs/results.md).
    """
    beside = Distillation(blocks=0.0)
    return replace(
        teacher_resnet50_small(), epochs=40, planned=40, warmup=2, flat=16, average=0.0, beside=beside, inherit=True
    )


def _two_sided(share: float) -> Capacity:
    """Both sides of the 3x3, a budget by what a channel means to the loss, and a lasso on masked channels alone.

    Widths in multiples of 16, the floats in a register of AVX-512: with any widths a third of the MACs took as long to
    learn as all of them. ResRep's momentum of 0.99 on compactors was worse on the validation part than 0.9.
    """
    budget = BudgetRules(share, by="taylor", survivors=0.0)
    return Capacity(True, 0.04, rules=None, budget=budget, weight_decay=0.0, multiple=16, shrink=0.05)
