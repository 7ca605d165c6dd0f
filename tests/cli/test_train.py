"""`vreid train`: what is wrong is said in one sentence with exit code 2, and a small training goes through."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.checkpoint import load_checkpoint
from vreid.train.recipes.bundled import RECIPES

SMALL = ["--recipe", "teacher_resnet18_small"]


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Path]:
    """colours(vehicles, cameras) -> a CSV data set of plain pictures, two of each vehicle in each camera."""

    def make(vehicles: int, cameras: int = 2) -> Path:
        rows = ["path,vehicle,camera"]
        for vehicle, camera, picture in np.ndindex(vehicles, cameras, 2):
            name = f"{vehicle}_{camera}_{picture}.png"
            colour = np.array([vehicle * 11 % 256, vehicle * 47 % 256, 40 * camera + 5 * picture], np.uint8)
            assert cv2.imwrite(str(tmp_path / name), np.broadcast_to(colour, (24, 24, 3)).copy())
            rows.append(f"{name},{vehicle},c{camera}")
        (tmp_path / "colours.csv").write_text("\n".join(rows) + "\n")
        return tmp_path / "colours.csv"

    return make


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence that `vreid train ...` ends with."""
    assert main(["train", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("vreid: ") and said.err.count("\n") == 1
    return said.err


def test_what_is_missing_is_said(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = colours(20), tmp_path / "run"
    where = ["--data", data, "--out", out]
    assert "name a data set with --data" in refused(capsys, "teacher", *SMALL, "--out", out)
    assert "there is no data set at nowhere" in refused(capsys, "teacher", *SMALL, "--data", "nowhere", "--out", out)
    assert "there is no recipe 'best'" in refused(capsys, "teacher", "--recipe", "best", *where)
    said = refused(capsys, "teacher", "--recipe", "teacher_mobilenet", *where)
    assert "begins from weights; give --weights FILE, --weights imagenet to download, or --start CHECKPOINT" in said
    for words in (["student_mobilenet", "--compress", "cdd2"], ["tuned_mobilenet_160", "--teacher", "none.pt"]):
        assert f"{words[0]} begins from weights" in refused(capsys, "student", "--recipe", *words, *where)
    said = refused(capsys, "teacher", "--recipe", "teacher_mobilenet", "--weights", tmp_path / "none.pt", *where)
    assert "none.pt" in said
    assert "there is no checkpoint none.pt" in refused(
        capsys, "student", "--recipe", "student_resnet18_small", "--teacher", "none.pt", *where
    )
    assert not out.exists()


def test_settings_of_the_recipe_have_flags(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    where = ["--data", colours(6), "--out", tmp_path / "run"]
    assert "lower --p" in refused(capsys, "teacher", *SMALL, *where)
    for flag, value, says in (
        ("--lr", 0, "--lr 0.0 is not a learning rate"),
        ("--lr", "nan", "--lr nan is not a learning rate"),
        ("--optimiser", "adam", "there is no optimiser 'adam'; choose adamw or sgd"),
        ("--p", 1, "--p 1 is out of range; give 2 to 4096"),
        ("--k", 0, "--k 0 is out of range; give 2 to 4096"),
        ("--dim", 0, "--dim 0 is out of range; give 1 to 4096"),
        ("--size", "0", "--size 0 is not a size of an input"),
        ("--size", "32x", "--size 32x is not a size of an input"),
        ("--size", "32x9999", "--size 32x9999 is not a size of an input"),
    ):
        assert says in refused(capsys, "teacher", *SMALL, *where, flag, value)
    words = [
        "--p",
        "3",
        "--k",
        "2",
        "--lr",
        "0.01",
        "--optimiser",
        "sgd",
        "--size",
        "32x48",
        "--dim",
        "24",
        "--epochs",
        "1",
        "--validation",
        "0",
    ]
    assert main(["train", "teacher", *SMALL, *map(str, where), *words]) == 0
    stored = load_checkpoint(tmp_path / "run" / "last.pt")
    assert (stored.config.height, stored.config.width, stored.config.dim) == (32, 48, 24)
    recipe = stored.metrics["recipe"]
    assert [recipe[name] for name in ("p", "k", "lr", "optimiser")] == [3, 2, 0.01, "sgd"]


def test_the_help_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    lines = set()
    for who in ("teacher", "student"):
        with pytest.raises(SystemExit, match="0"):
            main(["train", who, "--help"])
        lines |= set(re.findall(r"\w+", capsys.readouterr().out))
    assert set(RECIPES) <= lines


def test_values_that_mean_nothing_are_said(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    where = ["--data", colours(20), "--out", tmp_path / "run"]
    for flag, value, says in (
        ("--seed", -1, "--seed -1 is out of range; give 0 to 18446744073709551615"),
        ("--seed", 2**64, "--seed 18446744073709551616 is out of range"),
        ("--threads", -2, "--threads must be at least 0 and at most 1024, not -2"),
        ("--workers", -1, "--workers must be at least 0 and at most 1024, not -1"),
        ("--epochs", 0, "at least one epoch, not 0"),
        ("--epochs", 100_001, "--epochs 100001 is out of range; give 1 to 100000"),
        ("--epochs", 10**23, "is out of range; give 1 to 100000"),
        ("--validation", 1.5, "from 0 to under 1, not 1.5"),
        ("--device", "gpu", "there is no device 'gpu'; choose auto, cpu or cuda"),
    ):
        assert says in refused(capsys, "teacher", *SMALL, *where, flag, value)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_work_is_said(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    few = colours(10)
    assert "a batch needs 16 vehicles and 9 are not held out" in refused(
        capsys, "teacher", *SMALL, "--data", few, "--out", out
    )
    single = colours(20, cameras=1)
    assert "is seen by two cameras" in refused(capsys, "teacher", *SMALL, "--data", single, "--out", out)
    assert "cannot write in the folder" in refused(
        capsys, "teacher", *SMALL, "--data", colours(20), "--out", single / "run"
    )
    assert not out.exists()


@pytest.mark.slow
def test_a_training_goes_through_once_and_its_checkpoint_teaches(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["--data", str(colours(18)), "--epochs", "1", "--threads", "1", "--device", "cpu", "--size", "32"]
    out = tmp_path / "teacher"
    assert main(["train", "teacher", *SMALL, *words, "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["checkpoint"] == str(out / "best.pt") and document["recipe"]["epochs"] == 1
    assert "colours" in document["validation"]
    assert "already holds a training; continue it with --resume" in refused(
        capsys, "teacher", *SMALL, *words, "--out", out
    )
    said_of = refused(capsys, "student", *SMALL, "--teacher", out / "best.pt", *words, "--out", tmp_path / "student")
    assert "does not learn from a teacher" in said_of
    other = ["--seed", "1", "--resume"]
    assert "made with another seed" in refused(capsys, "teacher", *SMALL, *words, "--out", out, *other)
    assert main(["train", "teacher", *SMALL, *words, "--out", str(out), "--resume"]) == 0
    assert len((out / "log.jsonl").read_text().splitlines()) == 1


def test_steps_are_logged_and_written_for_tensorboard(
    capsys: pytest.CaptureFixture[str], colours: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    where = [
        "--data",
        str(colours(18)),
        "--epochs",
        "1",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--size",
        "32",
        "--out",
        str(tmp_path / "run"),
    ]
    assert "--log-every must be at least 0" in refused(capsys, "teacher", *SMALL, *where, "--log-every", -1)
    assert main(["train", "teacher", *SMALL, *where, "--log-every", "1", "--tensorboard"]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if " step " in line]
    shape = r"epoch 1/1  step \d+/\d+  (\w+ \d+\.\d+  )+lr [\d.e-]+  \d+\.\d pictures/s  \d+:\d\d:\d\d left"
    assert lines and all(re.fullmatch(shape, line) for line in lines)
    assert "pictures/s" not in said.out
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_tensorboard_is_refused_before_training_without_its_package(
    capsys: pytest.CaptureFixture[str],
    colours: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    where = ["--data", colours(18), "--out", tmp_path / "run"]
    assert "pip install 'vreid[tensorboard]'" in refused(capsys, "teacher", *SMALL, *where, "--tensorboard")
    assert not (tmp_path / "run").exists()
