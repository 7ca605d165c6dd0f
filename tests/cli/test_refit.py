"""`vreid refit`: what it writes, what it says, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shape_network import drawn, trained

from vreid.cli.main import main
from vreid.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vreid.train.data.records import keys_of
from vreid.train.data.split import cut
from vreid.train.data.table import read_train_part


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of vehicles that are in no list; new.csv and other.csv of 60 vehicles each, and two.csv of two of these."""
    folder = tmp_path_factory.mktemp("refit")
    save_checkpoint(trained(), folder / "best.pt")
    for name, vehicles in (("new", range(40, 100)), ("other", range(100, 160)), ("two", range(40, 42))):
        rows = ["path,vehicle,camera"]
        for vehicle in vehicles:
            for camera, picture in np.ndindex(2, 3):
                file = f"{vehicle}_{camera}_{picture}.png"
                assert cv2.imwrite(str(folder / file), drawn(vehicle, camera, picture))
                rows.append(f"{file},{vehicle},c{camera}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def refit(place: Path, out: Path, *words: object, data: str = "new.csv", model: str = "best.pt") -> int:
    given = ["refit", place / model, "--data", place / data, "--out", out, "--validation", 0.2, *words]
    return main(list(map(str, given)))


def measured(model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> float:
    capsys.readouterr()
    assert main(["eval", str(model), "--data", str(data), "--json"]) == 0
    return float(json.loads(capsys.readouterr().out)["map"])


def test_more_is_found_at_the_same_cost(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "refit.pth"
    assert refit(place, out) == 0
    said = capsys.readouterr().out
    assert "vehicles held out" in said and "mAP before" in said and f"checkpoint: {out} (ridge " in said
    before, after = load_checkpoint(place / "best.pt"), load_checkpoint(out)
    assert after.config == before.config and after.weights.keys() == before.weights.keys()
    changed = {name for name, value in after.weights.items() if not torch.equal(value, before.weights[name])}
    assert changed and all(name.startswith(("head.embed", "head.norm", "head.classifier")) for name in changed)
    assert measured(out, place / "other.csv", capsys) > measured(place / "best.pt", place / "other.csv", capsys) + 1
    learning, held = cut(read_train_part(place / "new.csv"), 0.2)
    assert after.trained is not None
    assert np.array_equal(after.trained.numpy(), keys_of(learning.train))
    assert after.metrics["refit"]["data"] == ["new"] and after.metrics["match"]["gallery"] == 12
    assert main(["eval", str(out), "--data", str(place / "new.csv")]) == 0
    assert "learnt from 288 of these 360 pictures" in capsys.readouterr().err
    assert len(held.query) == 72


def test_it_is_lowered_as_any_other(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxsim")
    assert refit(place, tmp_path / "refit.pt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["after"]["new"]["map"] > found["before"]["new"]["map"]
    for path in (place / "best.pt", tmp_path / "refit.pt"):
        assert main(["export", str(path), "--out", str(tmp_path / path.stem) + ".onnx"]) == 0
    old, new = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("best", "refit"))
    assert new["cost"] == old["cost"] and new["fingerprint"] != old["fingerprint"] and new["match"] is not None


def test_what_was_learnt_before_is_remembered(place: Path, tmp_path: Path) -> None:
    stored = replace(load_checkpoint(place / "best.pt"), trained=torch.tensor([3, 5]))
    save_checkpoint(stored, tmp_path / "knows.pt")
    assert refit(place, tmp_path / "refit.pt", model=str(tmp_path / "knows.pt")) == 0
    trained = load_checkpoint(tmp_path / "refit.pt").trained
    assert trained is not None and trained[:2].tolist() == [3, 5] and len(trained) == 290


def test_nothing_is_written_where_no_more_is_found(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refit(place, tmp_path / "refit.pt", "--validation", 0.5, data="two.csv") == 2
    assert "no two vehicles" in capsys.readouterr().err
    rows = ["path,vehicle,camera"]
    for vehicle, colour in enumerate(((250, 20, 20), (20, 250, 20), (20, 20, 250), (230, 230, 230))):
        for camera in range(2):
            name = f"{vehicle}{camera}.png"
            assert cv2.imwrite(str(tmp_path / name), np.full((32, 32, 3), colour, np.uint8) - np.uint8(camera))
            rows.append(f"{name},{vehicle},c{camera}")
    (tmp_path / "plain.csv").write_text("\n".join(rows) + "\n")  # all are found already
    assert refit(place, tmp_path / "refit.pt", "--validation", 0.5, data=str(tmp_path / "plain.csv")) == 1
    said = capsys.readouterr().err
    assert "no fit finds the vehicles held out better" in said and not (tmp_path / "refit.pt").exists()
    assert "few vehicles held out (2 of plain)" in " ".join(said.split())


def test_what_makes_no_sense_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.pt"
    learnt = Checkpoint(
        trained().config,
        trained().weights,
        {},
        trained=torch.from_numpy(keys_of(read_train_part(place / "new.csv").train)),
    )
    save_checkpoint(learnt, tmp_path / "learnt.pt")
    save_checkpoint(replace(learnt, training={}), tmp_path / "resumed.pt")
    (tmp_path / "a.pt").mkdir()
    listed = (place / "new.csv").read_text().replace("\n4", f"\n{place}/4").replace("\n5", f"\n{place}/5").splitlines()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name, rows in (
        ("copies", [f"{place}/40_0_0.png,7,c0", f"{place}/40_1_0.png,7,c1", *listed[40:60]]),
        ("again", listed[1:61]),
        ("broken", [*listed[61:90], "broken.png,45,c0"]),
    ):
        (tmp_path / f"{name}.csv").write_text("\n".join([listed[0], *rows]) + "\n")
    onnx = tmp_path / "model.json"
    cases = [
        ([new, "--validation", 0], "best.pt", "--validation is over 0 and under 1, not 0"),
        ([new], str(tmp_path / "learnt.pt"), "72 of the 72 pictures that are held out were learnt from"),
        ([new], str(onnx), "in a checkpoint (.pt or .pth) of vreid train"),
        ([tmp_path / "new.onnx"], "best.pt", "choose such an --out"),
        ([place / "best.pt"], "best.pt", "would replace"),
        ([new, "--data", place / "new.csv"], "best.pt", "give the set once"),
        ([new, "--data", place / "none.csv"], "best.pt", "none.csv"),
        ([new, "--data", tmp_path / "copies.csv"], "best.pt", "is vehicle 7"),
        ([new, "--data", tmp_path / "again.csv"], "best.pt", "is in two data sets"),
        ([new, "--data", tmp_path / "broken.csv"], "best.pt", "leave them out with --skip-broken"),
        ([tmp_path / "resumed.pt"], "best.pt", "is what a training goes on from"),
        ([tmp_path / "a.pt"], "best.pt", "is a folder; name a file"),
        ([tmp_path / "resumed.pt" / "b.pt"], "best.pt", "is a file or a folder that may not be written to"),
    ]  # fmt: skip
    for words, model, said in cases:
        assert refit(place, *words, model=model) == 2
        error = capsys.readouterr().err
        assert said in error and error.splitlines()[-1].startswith("vreid: "), error
    assert not new.exists()
