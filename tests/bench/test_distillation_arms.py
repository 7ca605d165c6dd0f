"""The arms of the distillation table are what their names say."""

import importlib
from pathlib import Path

import torch

from vreid.train.data.records import Dataset, Item


def test_every_arm_has_a_recipe_that_learns_as_its_name_says(bench: Path) -> None:
    module = importlib.import_module("distillation_arms")
    arms, whole, most = module.ALL, module.EPOCHS, module.PASSES
    for name, arm in arms.items():
        recipe = arm.recipe()
        assert bool(arm.teachers) == bool(recipe.distil), name
        fused = name.startswith(("single", "whiten-mtd: ", "mean", "maxmin")) and not name.endswith("and labels")
        assert (arm.labels == "pairs") == fused, name
        if fused:  # pairs, and nothing else from the labels
            assert recipe.labels and not recipe.classification and not recipe.triplet and recipe.distil, name
        assert (recipe.cached.whiten > 0) == name.startswith("whiten-mtd"), name
        assert (arm.fraction < 1) == (name.endswith(("5%", "10%", "25%")) or name.startswith("ablation: drd 10%")), name
        if name.startswith("ablation"):
            base = arms["drd: 10%"].recipe()
            assert recipe != base and recipe.epochs == base.epochs, name
            assert recipe.p * recipe.k == (64 if name.endswith("batches of 64") else base.p * base.k), name
            assert not recipe.labels and arm.labels == "no" and recipe.cached.by == "ranking", name
        if name.startswith(("drd", "rkd")):
            assert (
                not recipe.labels and arm.labels == "no" and recipe.cached.by == {"d": "ranking", "r": "rkd"}[name[0]]
            )
        if name.startswith(("drd", "rkd", "supervised")):  # few pictures are seen more often, and cost no more steps
            assert recipe.epochs * arm.fraction <= whole and (recipe.epochs == most or arm.fraction >= 0.2), name
        if name.startswith(("drd", "rkd")):  # what is compared has as many steps
            share = "all" if arm.fraction == 1 else f"{arm.fraction:.0%}"
            assert recipe.epochs == arms[f"supervised: {share}"].recipe().epochs, name


def test_the_whitening_table_scores_features_across_cameras(bench: Path) -> None:
    found = importlib.import_module("whitening_table").found
    items = tuple(Item(Path(f"{v}{c}.jpg"), v, c) for v in ("a", "b", "c") for c in ("1", "2"))
    part = Dataset("made", (), items, items)
    alike = torch.eye(3).repeat_interleave(2, 0)
    assert found(7.0 * alike, part) == 100.0
    assert found(alike.roll(1, 0), part) < 50.0  # every picture looks like another vehicle's
