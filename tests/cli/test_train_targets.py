"""`vreid train student` with a target: what cannot be is said, and a small compression goes through and is told about."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.cli.train import Target
from vreid.cli.training import targeted
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.pruning.costs import Costs, SiteCost, widths_of, write_costs
from vreid.train.recipes.bundled import recipe_named

CDD2 = "cdd2_resnet50_small"


def target_of(macs: float | None = None, params: float | None = None, latency: str | None = None) -> Target:
    return Target(macs, params, latency)


def test_a_target_is_the_budget_of_the_recipe(tmp_path: Path) -> None:
    recipe, kept = recipe_named(CDD2), tmp_path / "costs.json"
    found, costs = targeted(recipe, target_of(params=0.4), kept, False)
    assert costs is None and found.capacity is not None and found.capacity.budget is not None
    assert (found.capacity.budget.share, found.capacity.budget.of) == (0.4, "params")
    assert targeted(recipe, target_of(), kept, False) == (recipe, None)
    for target, says in (
        (target_of(macs=0.3, params=0.3), "give one target, not --target-macs and --target-params"),
        (target_of(macs=30), "a share between 0 and 1 of the whole network, such as 0.3, not 30"),
        (Target(target_macs=0.3, engine="openvino"), "give that too, or leave --engine out"),
        (target_of(latency="soon"), "a number of milliseconds, such as 5ms, not 'soon'"),
    ):
        with pytest.raises(Refused, match=says):
            targeted(recipe, target, kept, False)
    for name in ("cdd_resnet50_small", "student_mobilenet"):
        for target in (target_of(macs=0.3), target_of(latency="5ms")):
            with pytest.raises(Refused, match="no budget to set a target for"):
                targeted(recipe_named(name), target, kept, False)
    assert not kept.exists()


def test_widths_are_rounded_to_the_multiple_that_is_wanted(tmp_path: Path) -> None:
    found, _ = targeted(recipe_named(CDD2), Target(target_macs=0.4, multiple=8), tmp_path / "costs.json", False)
    assert found.capacity is not None and found.capacity.budget is not None
    assert (found.capacity.multiple, found.capacity.budget.share) == (8, 0.4)
    for name, multiple, says in (
        (CDD2, 0, "from 1 to 1024, such as 8, not 0"),
        ("student_mobilenet", 8, "does not compress"),
    ):
        with pytest.raises(Refused, match=says):
            targeted(recipe_named(name), Target(multiple=multiple), tmp_path / "costs.json", False)


def test_a_resumed_training_goes_on_with_the_costs_that_were_measured(tmp_path: Path) -> None:
    from vreid.models.pruning import insert

    recipe, kept = recipe_named(CDD2), tmp_path / "costs.json"
    full = tuple(widths_of(insert(ReidNetwork(recipe.network), both_sides=True)))
    measured = Costs("ms", 2.0, tuple(SiteCost(0.0, 0.0, 0.5 / far) for _, far in full), full, "openvino")
    write_costs(measured, kept)
    found, costs = targeted(recipe, target_of(latency="5 ms"), kept, True)
    assert costs == measured and found.capacity is not None and found.capacity.budget is not None
    assert found.capacity.budget.share == pytest.approx(5 / 10) and found.capacity.budget.of == "ms"
    with pytest.raises(Refused, match="was measured on openvino; resume with --engine openvino"):
        targeted(recipe, Target(target_latency="5ms", engine="onnxruntime"), kept, True)
    with pytest.raises(Refused, match=r"takes 10\.00 ms here already"):
        targeted(recipe, target_of(latency="12ms"), kept, True)


@pytest.mark.slow
def test_a_compression_says_what_is_left(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["path,vehicle,camera"]
    for vehicle, camera, picture in np.ndindex(16, 2, 2):
        name = f"{vehicle}_{camera}_{picture}.png"
        colour = np.array([vehicle * 11 % 256, vehicle * 47 % 256, 40 * camera + 5 * picture], np.uint8)
        assert cv2.imwrite(str(tmp_path / name), np.broadcast_to(colour, (24, 24, 3)).copy())
        rows.append(f"{name},{vehicle},c{camera}")
    (tmp_path / "colours.csv").write_text("\n".join(rows) + "\n")
    words = ["--data", str(tmp_path / "colours.csv"), "--epochs", "1", "--threads", "1", "--device", "cpu"]
    words += ["--validation", "0", "--size", "32"]
    teacher = ["--recipe", "teacher_resnet50_small", *words, "--out", str(tmp_path / "teacher")]
    assert main(["train", "teacher", *teacher]) == 0
    out = tmp_path / "student"
    student = ["--recipe", CDD2, "--teacher", str(tmp_path / "teacher/best.pt"), "--target-macs", "0.4", *words]
    capsys.readouterr()
    assert main(["train", "student", *student, "--out", str(out)]) == 2  # a batch an epoch
    assert "met at 40% of the training, after the last of its 1 steps; give more --epochs" in capsys.readouterr().err
    student[student.index("--epochs") + 1] = "2"
    assert main(["train", "student", *student, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["recipe"]["capacity"]["budget"]["share"] == 0.4
    assert "M MACs (" in said.err and "masked" in said.err and "report.html" not in said.err
    record = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert 0.3 < record["share"] <= 0.4
    assert record["target"] == {"unit": "macs", "share": 0.4} and len(record["masked"]) == 4
    assert len(record["widths"]) == 16 and record["widths"].keys() == record["whole"].keys()
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")
