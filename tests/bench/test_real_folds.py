"""Cross-validation by vehicle: no vehicle is on two sides, the epoch is chosen outside the fold, what is done is not run again."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import real_folds
from real_folds import folds_of, measured, parts_of, write_list

from vreid.models.errors import Refused
from vreid.train.data.records import Item
from vreid.train.data.table import read_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """12 vehicles of one colour each, darker in the second camera."""
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(12, 2):
        colour = np.array([20 + vehicle * 18, 240 - vehicle * 17, 60 + 90 * (vehicle % 3)]) * (1 - 0.2 * camera)
        name = f"{vehicle}_{camera}.png"
        assert cv2.imwrite(str(tmp_path / name), np.broadcast_to(colour, (24, 24, 3)).astype(np.uint8).copy())
        rows.append(f"{name},{vehicle},c{camera}")
    (tmp_path / "real.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "real.csv"


def test_every_vehicle_is_measured_once_and_chosen_on_in_another_fold() -> None:
    vehicles = [str(number) for number in range(43)]
    folds = folds_of(vehicles, 10)
    assert [len(fold) for fold in folds] == [10] * 4 and len({name for fold in folds for name in fold}) == 40
    assert folds == folds_of(vehicles[::-1], 10) and folds != folds_of(vehicles, 10, seed=1)
    tested, chosen = zip(*(parts_of(folds, place) for place in range(4)), strict=True)
    assert set().union(*tested) == set().union(*chosen) and all(
        not one & other for one, other in zip(tested, chosen, strict=True)
    )
    with pytest.raises(Refused, match="make no three folds of 20"):
        folds_of(vehicles, 20)


def test_pictures_look_for_their_vehicle_among_those_of_the_other_cameras(tmp_path: Path) -> None:
    colours = {"a0": (200, 0, 0), "a1": (120, 160, 0), "b0": (180, 0, 80), "b1": (0, 200, 20), "c0": (0, 0, 200)}
    colours["c1"] = colours["c0"]
    for name, colour in colours.items():
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.broadcast_to(colour, (8, 8, 3)).astype(np.uint8).copy())
    items = [Item(tmp_path / f"{name}.png", name[0], name[1]) for name in colours]
    ranks = []
    for name, colour in colours.items():  # by hand: the rank of its vehicle among the three of the other camera
        scores = {
            other: np.dot(colour, vector) / np.linalg.norm(vector)
            for other, vector in colours.items()
            if other[1] != name[1]
        }
        ranks.append(1 + sum(score > scores[name[0] + other[1]] for other, score in scores.items()))
    assert {1, 2} <= set(ranks)
    got = measured(items, lambda images: np.array([image.mean((0, 1)) for image in images], np.float32))
    assert got["queries"] == 6 and got["rank1"] == pytest.approx(100 * np.mean([rank == 1 for rank in ranks]))
    assert got["map"] == pytest.approx(100 * np.mean([1 / rank for rank in ranks]))


def test_a_command_is_run_for_each_fold_and_not_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folds"
    command = [
        "teacher",
        "--recipe",
        "teacher_resnet18_small",
        "--epochs",
        "1",
        "--size",
        "32",
        "--p",
        "2",
        "--k",
        "2",
    ]
    words = [str(data), "--out", str(out), "--size", "3", "--only", "1", "--refit", "--"]
    monkeypatch.setattr(sys, "argv", ["real_folds.py", *words, *command, "--threads", "1", "--data", "{learn}=1"])
    real_folds.main()
    with (out / "fold-1" / "learn.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test, chosen = parts_of(folds_of([str(number) for number in range(12)], 3), 1)
    assert {row["vehicle"] for row in rows if row["split"] == "val"} == chosen
    assert not {row["vehicle"] for row in rows} & test and len(rows) == 18
    record = json.loads((out / "fold-1" / "run" / "log.jsonl").read_text())
    assert record["validation"].keys() == {"learn"}
    (first,) = json.loads((out / "folds.json").read_text())
    assert (first["fold"], first["queries"]) == (1, 6)
    assert {"rank1", "map", "fitted_rank1", "fitted_map"} <= first.keys()
    (out / "fold-1" / "run" / "best.pt").unlink()  # of no use to a fold that is done
    real_folds.main()
    assert "over 1 folds" in capsys.readouterr().out


def test_a_model_is_measured_as_it_is(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["real_folds.py", str(data), "--out", str(tmp_path / "o"), "--size", "4", "--model", "hsv"]
    )
    real_folds.main()
    rows = json.loads((tmp_path / "o" / "folds.json").read_text())
    assert [row["fold"] for row in rows] == [0, 1, 2] and all(row["queries"] == 8 for row in rows)
    monkeypatch.setattr(sys, "argv", ["real_folds.py", str(data), "--out", str(tmp_path / "o")])
    with pytest.raises(SystemExit, match="2"):
        real_folds.main()


def test_a_list_names_pictures_wherever_it_lies(data: Path, tmp_path: Path) -> None:
    items = read_dataset(data).train
    write_list(tmp_path / "else" / "where" / "learn.csv", items, {"3"})
    again = read_dataset(tmp_path / "else" / "where" / "learn.csv")
    assert {item.path for item in again.train} | {item.path for item in again.validation} == {
        item.path for item in items
    }
    assert {item.vehicle for item in again.validation} == {"3"}
