"""The arms of the distillation table are what their names say."""

import importlib
import sys
from pathlib import Path

import pytest


def test_every_arm_has_a_recipe_that_learns_as_its_name_says(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "bench"))
    arms = importlib.import_module("distillation_arms").ARMS
    for name, arm in arms.items():
        recipe = arm.recipe()
        assert bool(arm.teachers) == bool(recipe.distil or recipe.beside), name
        if name.startswith(("single", "whiten-mtd: ", "mean", "maxmin")):  # pairs, and nothing else from the labels
            assert recipe.labels and not recipe.classification and not recipe.triplet and recipe.distil, name
        assert (recipe.answers.whiten > 0) == name.startswith("whiten-mtd"), name
        assert (arm.fraction < 1) == name.endswith(("5%", "10%", "25%")), name
        if name.startswith(("drd", "rkd")):
            assert (
                not recipe.labels and arm.labels == "no" and recipe.answers.by == {"d": "ranking", "r": "rkd"}[name[0]]
            )
    steps = [arms[f"drd: {share}"].recipe().epochs * arms[f"drd: {share}"].fraction for share in ("10%", "25%")]
    assert steps[0] == pytest.approx(steps[1])
    assert "distillation_arms" in sys.modules
