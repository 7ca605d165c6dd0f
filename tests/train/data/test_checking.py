"""Every picture is checked before the first epoch; the identity of a data set is its pictures and labels."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_data import noise_set

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.train.data.checking import check, keep, keyed, refuse_broken, without
from vreid.train.data.records import camera_word, digest_of_set, key_of, vehicle_word
from vreid.train.data.table import read_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 JPEGs of 12 vehicles in a CSV data set of the test's own."""
    folder = tmp_path / "data"
    folder.mkdir()
    return noise_set(folder, "list.csv", vehicles=12, side=40, suffix="jpg")


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff\xd9")


def test_a_set_is_its_pictures_and_labels_wherever_they_lie(data: Path, tmp_path: Path) -> None:
    before = digest_of_set(read_dataset(data).train)
    moved = data.rename(tmp_path / "moved")
    lines = (moved / "list.csv").read_text().splitlines()
    for line in lines[1:]:
        name = line.split(",")[0]
        (moved / name).rename(moved / f"renamed-{name}")
    (moved / "list.csv").unlink()
    turned = [lines[0], *(f"renamed-{line}" for line in lines[:0:-1])]
    (tmp_path / "other.csv").write_text("\n".join([turned[0], *(f"moved/{line}" for line in turned[1:])]) + "\n")
    other = read_dataset(tmp_path / "other.csv")
    assert digest_of_set(other.train) == before
    for change in ({"vehicle": "99"}, {"camera": "c7"}):
        assert digest_of_set([replace(other.train[0], **change), *other.train[1:]]) != before
    other.train[0].path.write_bytes(other.train[0].path.read_bytes() + b"\0")
    assert digest_of_set(other.train) != before


def test_labels_are_compared_as_numbers_where_they_are_numbers() -> None:
    assert [vehicle_word(word) for word in ("0002", "2", "0", "taxi", "02b")] == ["2", "2", "0", "taxi", "02b"]
    assert {camera_word(word) for word in ("c001", "cam1", "1", "Camera 1", "camera_01")} == {"1"}
    assert [camera_word(word) for word in ("gate", "c1s2", "")] == ["gate", "c1s2", ""]


def test_broken_pictures_are_named_together_and_can_be_left_out(data: Path) -> None:
    half(data / "3_0.jpg")
    (data / "4_1.jpg").write_bytes(b"")
    dataset = read_dataset(data)
    found = check([dataset])
    assert set(found.faults) == {data / "3_0.jpg", data / "4_1.jpg"} and len(found.keys) == 24
    with pytest.raises(
        Refused, match=r"2 of 24 pictures cannot be learnt from: .*3_0\.jpg is .*4_1\.jpg is .*--skip-broken"
    ):
        refuse_broken(found)
    left = without(keyed(dataset, found), found.faults)
    assert len(left.train) == len(left.gallery) == 22 and all(item.key is not None for item in left.train)


def test_what_was_checked_is_not_read_again_unless_it_changed(data: Path, tmp_path: Path) -> None:
    dataset, kept = read_dataset(data), tmp_path / "pictures.json"
    first = check([dataset])
    keep(first, kept)
    keys = {item.path: key_of(item) for item in dataset.train}
    assert first.keys == keys and not first.faults
    kept.write_text(kept.read_text().replace(str(keys[data / "0_0.jpg"]), "77"))
    assert check([dataset], kept).keys == {**keys, data / "0_0.jpg": 77}  # it is believed
    half(data / "0_0.jpg")
    assert set(check([dataset], kept).faults) == {data / "0_0.jpg"}
    kept.write_text("[")
    assert set(check([dataset], kept).faults) == {data / "0_0.jpg"}


def test_a_training_refuses_or_leaves_out_what_is_broken_and_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "teacher", "--recipe", "teacher_resnet18_small", "--data", str(data), "--validation", "0"]
    rows = (data / "list.csv").read_text()
    more = "".join(f"{vehicle}_{camera}.jpg,{vehicle + 12},c{camera}\n" for vehicle, camera in np.ndindex(12, 2))
    for vehicle, camera in np.ndindex(12, 2):
        noise = np.random.default_rng((vehicle, camera, 1)).integers(0, 256, (40, 40, 3), np.uint8)
        assert cv2.imwrite(str(data / f"more_{vehicle}_{camera}.jpg"), noise)
    (data / "list.csv").write_text(rows + more.replace("\n", "\nmore_").removesuffix("more_").join(("more_", "")))
    half(data / "3_0.jpg")
    out = ["--out", str(tmp_path / "run"), "--epochs", "1", "--device", "cpu", "--threads", "1"]
    assert main([*words, *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "1 of 48 pictures cannot be learnt from" in said and "3_0.jpg" in said
    assert main([*words, *out, "--skip-broken"]) == 0
    assert "1 broken pictures of 48 are left out" in capsys.readouterr().err
    assert "3_0.jpg" in (tmp_path / "run" / "skipped.txt").read_text()
    if (tmp_path / "run" / "report.html").exists():
        assert "3_0.jpg" in (tmp_path / "run" / "report.html").read_text()
    (data / "list.csv").write_text((data / "list.csv").read_text().replace("5_1.jpg,5,c1\n", "", 1))
    assert main([*words, *out, "--skip-broken", "--resume"]) == 0
    assert "1 pictures of the first start are left out" in capsys.readouterr().err


def test_a_training_that_an_earlier_commit_began_is_refused_with_the_fix(root: Path) -> None:
    from vreid.models.checkpoint import load_checkpoint
    from vreid.train.folder import Folder, state_in
    from vreid.train.recipes.bundled import recipe_named

    folder = Folder(root / "tests" / "data" / "written-by-earlier-commits" / "training")
    last = load_checkpoint(folder.last)
    recipe = recipe_named("teacher_resnet18_small")
    with pytest.raises(Refused, match=r"begun by an earlier vreid.*another --out"):
        state_in(folder, recipe, last.config, last.metrics["seed"], {})
