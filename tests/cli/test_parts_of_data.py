"""Of a folder with a training list and a test list, every verb takes its own part and names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest
from vreid.train.data.table import read_test_part, read_train_part

TRAIN, TEST = 24, 26  # pictures
Ran = Callable[..., tuple[dict[str, Any], str]]


def listed(folder: Path, table: str, first: int, vehicles: int) -> None:
    """Vehicles of one colour each under two cameras, and the CSV file that lists them."""
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(vehicles, 2):
        colour = np.random.default_rng(first + vehicle).integers(20, 236, 3) + 5 * camera
        picture = np.clip(colour + np.random.default_rng(vehicle).normal(0, 3, (32, 32, 3)), 0, 255).astype(np.uint8)
        name = f"{first + vehicle}_{camera}.png"
        assert cv2.imwrite(str(folder / name), picture)
        rows.append(f"{name},v{first + vehicle},c{camera}")
    (folder / table).write_text("\n".join(rows) + "\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    listed(folder, "train.csv", 0, TRAIN // 2)
    listed(folder, "test.csv", 100, TEST // 2)
    return folder


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Ran:
    """The JSON document of a verb and what it said on stderr."""

    def run(*words: object) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([*map(str, words)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("vreid: ")
        return said

    return run


def test_verify_judges_on_the_test_part(
    tiny_model: Path, colour_model: Path, data: Path, ran: Ran, refused: Callable[..., str]
) -> None:
    found, said = ran("verify", tiny_model, "--against", colour_model, "--data", data)
    assert found["pictures"] == TEST and f"measured on {data / 'test.csv'}" in said
    accuracy = read_manifest(tiny_model).accuracy
    assert accuracy is not None and (accuracy.dataset, accuracy.queries) == ("pictures", TEST)
    (data / "test.csv").rename(data / "gallery.csv")
    assert "not a clear test part" in refused("verify", tiny_model, "--against", colour_model, "--data", data)
    (data / "gallery.csv").rename(data / "held out.csv")
    words = "verify", tiny_model, "--against", colour_model, "--data"
    assert "2 CSV files, and none is called test.csv" in refused(*words, data)
    found, _ = ran(*words, data / "train.csv")
    assert found["pictures"] == TRAIN


def test_a_list_with_splits_among_other_csv_files_has_its_own_test_part(data: Path) -> None:
    lines = (data / "train.csv").read_text().splitlines()
    splits = ["split", "train", "train", *["test"] * (TRAIN - 2)]
    both = [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]
    (data / "train.csv").write_text("\n".join(both) + "\n")
    (data / "test.csv").rename(data / "other.csv")
    found = read_test_part(data)
    assert len(found.gallery) == TRAIN - 2 and found.remark == f"measured on {data / 'train.csv'}"
    assert len(read_train_part(data).train) == 2


def test_names_of_lists_are_taken_in_any_case(data: Path) -> None:
    (data / "train.csv").rename(data / "Train.CSV")
    (data / "test.csv").rename(data / "TEST.csv")
    found, learnt = read_test_part(data), read_train_part(data)
    assert (len(found.gallery), len(learnt.train)) == (TEST, TRAIN)
    assert "TEST.csv" in found.remark and "Train.CSV" in learnt.remark


@pytest.mark.parametrize("names", [("test.csv",), ("query.csv", "gallery.csv"), ("Test.csv",)])
def test_a_folder_of_only_a_test_part_is_not_learnt_from(data: Path, names: tuple[str, ...]) -> None:
    content = (data / "test.csv").read_bytes()
    for name in ("train.csv", "test.csv"):
        (data / name).unlink()
    for name in names:
        (data / name).write_bytes(content)
    with pytest.raises(Refused, match="only a test part"):
        read_train_part(data)
    assert len(read_test_part(data).gallery) == TEST


def test_teach_asks_about_the_training_part(tiny_model: Path, data: Path, tmp_path: Path, ran: Ran) -> None:
    pytest.importorskip("torch")
    found, said = ran("teach", tiny_model, "--data", data, "--out", tmp_path / "a.npz")
    assert found["pictures"] == TRAIN and str(data / "train.csv") in said and "test.csv" not in said


@pytest.fixture
def checkpoint(data: Path, tmp_path: Path) -> Path:
    """A network that has learnt from three pictures of the test list."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxsim")
    from dataclasses import replace

    from shape_network import trained

    from vreid.models.checkpoint import save_checkpoint
    from vreid.train.data.records import keys_of

    keys = keys_of(read_test_part(data).gallery[:3])
    save_checkpoint(replace(trained(), trained=torch.from_numpy(keys)), tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.mark.slow
def test_quantize_calibrates_on_the_training_part_and_others_measure_on_the_test_part(
    data: Path, checkpoint: Path, tmp_path: Path, ran: Ran, refused: Callable[..., str]
) -> None:
    from vreid.deploy.quantize import calibration_pictures
    from vreid.deploy.settings import Quantization

    learnt = f"learnt from 3 of these {TEST} pictures"
    manifest, said = ran("export", checkpoint, "--out", tmp_path / "float.onnx", "--data", data)
    assert manifest["accuracy"]["queries"] == TEST and str(data / "test.csv") in said and learnt in said
    words = "bench", checkpoint, "--data", data, "--rounds", 1, "--batches", 1
    found, said = ran(*words)
    assert found["models"][0]["accuracy"]["queries"] == TEST and str(data / "test.csv") in said and learnt in said
    words = "quantize", tmp_path / "float.json", "--data", data, "--out", tmp_path / "int8.onnx", "--every-layer"
    found, said = ran(*words, "--images", 8)
    assert f"training pictures are those of {data / 'train.csv'}" in said and "test.csv" not in said
    size = read_manifest(tmp_path / "float.json").input
    rules = Quantization(images=8)
    _, digest = calibration_pictures(read_train_part(data / "train.csv"), rules, size)
    assert found["manifest"]["calibration"]["sha256"] == digest
    found, said = ran("verify", tmp_path / "float.json", "--against", checkpoint, "--data", data)
    assert found["trained_on"] == 3 and learnt in said
    assert found["passed"] and not found["written"] and "verify on others" in said  # learnt pictures measure nothing
    (data / "train.csv").unlink()
    assert "only a test part (test.csv)" in refused(*words)
