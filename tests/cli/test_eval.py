"""`vreid eval`: known sets give known figures, and a checkpoint and its export give the same."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.cli.main import main

COLOURS = {"0001": (0, 0, 255), "0002": (0, 255, 0), "0003": (255, 0, 0)}
KEYS = {
    "map",
    "rank1",
    "rank5",
    "rank10",
    "minp",
    "queries",
    "gallery",
    "skipped",
    "trained_on",
    "model",
    "backend",
    "seconds",
}


def picture(path: Path, colour: tuple[int, int, int], noise: float = 0.0, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grain = np.random.default_rng(seed).normal(0, noise, (40, 50, 3))
    cv2.imwrite(str(path), (np.array(colour) + grain).clip(0, 255).astype(np.uint8))


def figures(capsys: pytest.CaptureFixture[str], model: object, data: Path, *more: str) -> dict[str, Any]:
    """The one document of an evaluation."""
    assert main(["eval", str(model), "--data", str(data), "--json", *more]) == 0
    said = capsys.readouterr()
    document: dict[str, Any] = json.loads(said.out)
    assert said.err == "" and set(document) - {"without_camera_bias"} == KEYS and document["model"] == str(model)
    return document


def veri(folder: Path) -> Path:
    """A VeRi folder of a test part alone: a query a vehicle, and two pictures in other cameras."""
    for part, cameras in (("query", (1,)), ("test", (1, 2, 3))):
        names = [f"{vehicle}_c{camera:03d}_{camera}.jpg" for vehicle in COLOURS for camera in cameras]
        for name in names:
            picture(folder / f"image_{part}" / name, COLOURS[name[:4]])
        (folder / f"name_{part}.txt").write_text("\n".join(names) + "\n")
    return folder


def test_a_veri_folder_of_only_a_test_part(
    tmp_path: Path, colour_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, colour_model, veri(tmp_path / "veri"))
    assert [found[key] for key in ("map", "rank1", "rank5", "rank10", "minp")] == [100.0] * 5
    assert (found["queries"], found["gallery"], found["skipped"], found["backend"]) == (
        3,
        9,
        0,
        "onnxruntime",
    )


def test_a_csv_leaves_one_out(tmp_path: Path, colour_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vehicle 9 is seen once and skipped; one picture of vehicle 1 looks like vehicle 2, and is last of four."""
    rows = []
    for vehicle, cameras in (("1", "abc"), ("2", "ab"), ("9", "a")):
        for camera in cameras:
            colour = {"1": (0, 0, 255), "2": (0, 255, 0), "9": (255, 0, 0)}[vehicle]
            picture(tmp_path / f"{vehicle}{camera}.png", (0, 255, 0) if vehicle + camera == "1c" else colour)
            rows.append(f"{vehicle}{camera}.png,{vehicle},{camera}")
    (tmp_path / "own.csv").write_text("path,vehicle,camera\n" + "\n".join(rows) + "\n")
    found = figures(capsys, colour_model, tmp_path / "own.csv")
    assert (found["queries"], found["gallery"], found["skipped"]) == (5, 6, 1)
    # 1a, 1b: ranks 1 and 5 (2a, 2b and 9a score as little as 1c: wrong ones first); 1c: behind both 2s and the blue 9,
    # ranks 4 and 5; 2a, 2b: the green 1c ties with the right one and goes first, rank 2.
    expected = [(1 + 2 / 5) / 2] * 2 + [(1 / 4 + 2 / 5) / 2] + [1 / 2] * 2
    assert found["map"] == pytest.approx(100 * np.mean(expected))
    assert found["rank1"] == pytest.approx(40) and found["rank5"] == 100
    assert found["minp"] == pytest.approx(100 * np.mean([2 / 5, 2 / 5, 2 / 5, 1 / 2, 1 / 2]))


def test_the_baseline_and_the_table(tmp_path: Path, colour_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = veri(tmp_path / "veri")
    assert figures(capfd, "hsv", data)["backend"] == "numpy"
    assert main(["eval", str(colour_model), "--data", str(data)]) == 0
    said = capfd.readouterr()
    for word in ("veri", "mAP", "Rank-10", "mINP", "100.00", "skipped"):
        assert word in said.out
    found = figures(capfd, colour_model, data, "--camera-bias")
    assert found["without_camera_bias"].keys() < found.keys()
    assert 0 < found["without_camera_bias"]["map"] <= 100
    assert main(["eval", str(colour_model), "--data", str(data), "--camera-bias"]) == 0
    assert "without the cameras' bias" in capfd.readouterr().out


def test_a_checkpoint_and_its_export_give_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxsim")
    from vreid.models.checkpoint import Checkpoint, save_checkpoint
    from vreid.models.network import NetworkConfig, ReidNetwork

    torch.manual_seed(0)
    config = NetworkConfig("resnet18", 32, 32, 16, "gem", 4, {"scale": 0.125})
    network = ReidNetwork(config).train()
    for _ in range(3):  # batch norms that have seen pictures
        network(torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8))
    save_checkpoint(Checkpoint(config, network.state_dict(), {}), tmp_path / "best.pt")
    assert main(["export", str(tmp_path / "best.pt"), "--out", str(tmp_path / "small.onnx"), "--json"]) == 0
    capsys.readouterr()
    colours = np.random.default_rng(1).integers(60, 190, (8, 3)).tolist()
    rows = []
    for vehicle, colour in enumerate(colours):
        for camera in range(4):
            name = f"{vehicle}_{camera}.png"
            picture(tmp_path / name, colour, 60, seed=10 * vehicle + camera)
            rows.append(f"{name},{vehicle},{camera}")
    (tmp_path / "set.csv").write_text("path,vehicle,camera\n" + "\n".join(rows) + "\n")
    reference = figures(capsys, tmp_path / "best.pt", tmp_path / "set.csv")
    lowered = figures(capsys, tmp_path / "small.json", tmp_path / "set.csv", "--batch", "5")
    assert (reference["backend"], lowered["backend"]) == ("torch", "onnxruntime")
    assert 10 < reference["map"] < 99.9  # otherwise equality would say little
    for key in ("map", "rank1", "rank5", "rank10", "minp"):
        assert lowered[key] == pytest.approx(reference[key], abs=0.1)
    assert [lowered[key] for key in ("queries", "gallery", "skipped")] == [32, 32, 0]
