"""What flags make of a recipe: compression, several teachers, no labels."""

from dataclasses import replace

import pytest

from vreid.models.errors import Refused
from vreid.train.losses.table import CachedDistillation
from vreid.train.recipes.bundled import compression_for, recipe_named
from vreid.train.recipes.targets import compressing, milliseconds, with_target, with_teachers, without_labels


def test_compression_brings_what_it_needs() -> None:
    plain, like = recipe_named("teacher_resnet18_small"), recipe_named("cdd2_resnet50_small")
    found = compressing(plain, like)
    assert (found.capacity, found.online, found.optimiser, found.lr) == (like.capacity, like.online, "sgd", like.lr)
    assert found.network == plain.network and found.average == 0.0 and not found.inherit
    assert with_target(found, 0.4, "macs").capacity != found.capacity
    assert like == compression_for("cdd2", "resnet18")
    light = compressing(recipe_named("student_mobilenet"), compression_for("cdd2", "efficientnet_lite1"))
    assert light.network == recipe_named("student_mobilenet").network and light.clip == 5.0
    assert light.capacity == recipe_named("cdd2_mobilenet").capacity != like.capacity
    with pytest.raises(Refused, match="does not compress"):
        compressing(plain, recipe_named("student_mobilenet"))


@pytest.mark.parametrize(("epochs", "warmup", "flat", "start"), [(2, 0.5, 1, 0), (6, 1.5, 3, 2), (24, 2, 12, 8)])
def test_a_short_recipe_that_is_compressed_has_a_training_after_its_warm_up(
    epochs: int, warmup: float, flat: float, start: int
) -> None:
    short = replace(recipe_named("teacher_resnet18_small"), epochs=epochs, planned=epochs)
    found = compressing(short, recipe_named("cdd_resnet50_small"))
    assert found.capacity is not None and (found.warmup, found.flat, found.capacity.start) == (warmup, flat, start)


def test_several_teachers_are_whitened_and_fused() -> None:
    plain = recipe_named("cdd2_resnet50_small")
    assert with_teachers(plain, 1) == plain
    two = with_teachers(plain, 2)
    assert (two.cached.by, two.cached.fusion, two.distil) == ("fusion", "maxmin", 1.0)
    assert (two.cached.whiten, two.cached.tau) == (16, 0.2)
    published = replace(plain, cached=CachedDistillation(by="fusion", whiten=512, tau=0.05))
    assert with_teachers(published, 2).cached == published.cached
    assert with_teachers(published, 2, whiten=8, tau=0.1).cached == CachedDistillation(by="fusion", whiten=8, tau=0.1)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(Refused, match="a temperature above 0"):
            with_teachers(plain, 1, tau=wrong)
    assert with_teachers(plain, 2, whiten=0).cached.whiten == 0
    assert with_teachers(plain, 1, by="rkd").cached.by == "rkd"
    fused = recipe_named("whiten_mtd_resnet18_small")
    assert with_teachers(fused, 1, by="rkd").cached.whiten == 0 < fused.cached.whiten
    assert with_teachers(fused, 1, by="rkd", whiten=4).cached.whiten == 4
    with pytest.raises(Refused, match="give one of the two"):
        with_teachers(plain, 1, fusion="mean", by="rkd")
    with pytest.raises(Refused, match="the loss rkd has no temperature"):
        with_teachers(plain, 1, by="rkd", tau=0.1)
    with pytest.raises(Refused, match="the loss ranking has no temperature"):
        with_teachers(plain, 1, by="ranking", tau=0.1)  # in its default form, Huber
    assert with_teachers(recipe_named("drd_resnet18_small"), 1, tau=0.1).cached.tau == 0.1
    with pytest.raises(Refused, match="does not distil"):
        with_teachers(plain, 1, whiten=8)
    with pytest.raises(Refused, match="does not distil"):
        with_teachers(plain, 1, tau=0.1)
    with pytest.raises(Refused, match="give --teacher"):
        with_teachers(plain, 0, by="rkd")
    with pytest.raises(Refused, match="logits, which are labels"):
        without_labels(two)
    without = replace(recipe_named("student_resnet18_small"), distil=0.0)
    assert not without_labels(without).labels and without_labels(without).distil == 1.0
    with pytest.raises(Refused, match="needs labels"):
        without_labels(with_teachers(without, 2))


def test_a_student_that_is_compressed_keeps_no_mean_of_its_weights_and_teachers_are_scaled_by_camera() -> None:
    recipe = compressing(replace(recipe_named("teacher_resnet18_small"), swa=0.5), recipe_named("cdd2_resnet50_small"))
    assert recipe.capacity is not None and recipe.average == recipe.swa == 0.0
    plain = recipe_named("student_resnet18_small")
    assert with_teachers(plain, 2, by_camera=True).cached.by_camera and not with_teachers(plain, 2).cached.by_camera
    with pytest.raises(Refused, match="give --teacher"):
        with_teachers(plain, 0, by_camera=True)
    with pytest.raises(Refused, match="does not distil"):
        with_teachers(replace(plain, distil=0.0), 1, by_camera=True)


@pytest.mark.parametrize(("text", "value"), [("5ms", 5.0), ("5 MS", 5.0), ("0.5", 0.5)])
def test_milliseconds(text: str, value: float) -> None:
    assert milliseconds(text) == value
