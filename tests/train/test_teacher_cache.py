"""A teacher cache holds what was embedded, finds a picture wherever the data lies, and is refused where it does not fit."""

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.train.data.records import Item
from vreid.train.data.table import read_dataset
from vreid.train.teacher_cache import build_cache, picture_name, read_features, rows_of


@pytest.fixture
def items(shapes: Callable[..., Path]) -> tuple[Item, ...]:
    return read_dataset(shapes()).train


def colours(images: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.stack([image.reshape(-1, 3).mean(0) for image in images]).astype(np.float32)


@pytest.fixture
def out(items: tuple[Item, ...], tmp_path: Path) -> Path:
    build_cache(colours, "box", items[1:], tmp_path / "features.npz")
    return tmp_path / "features.npz"


def test_rows_are_found_by_the_pictures_names(items: tuple[Item, ...], out: Path) -> None:
    found = read_features(out)
    assert found.teacher == "box" and picture_name(items[0]).count("/") == 1
    assert found.crc32[4] == zlib.crc32(items[5].path.read_bytes())
    mixed = [items[5], items[2], items[2]]
    np.testing.assert_array_equal(rows_of(found, mixed, "it").numpy(), found.features[[4, 1, 1]])


def test_a_relative_path_names_the_same_pictures(
    items: tuple[Item, ...], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(items[1].path.parent)
    other = Item(Path(items[1].path.name), "0", "c0")
    assert len(rows_of(read_features(out), [other], "it")) == 1


def test_pictures_of_one_name_are_distinguished_by_their_folders(items: tuple[Item, ...], tmp_path: Path) -> None:
    twins = [Item(tmp_path / camera / "00" / "0.png", "1", camera) for camera in ("c0", "c1")]
    for twin in twins:
        twin.path.parent.mkdir(parents=True)
        twin.path.write_bytes(items[0].path.read_bytes())
    found = build_cache(colours, "box", twins, tmp_path / "twins.npz")
    assert found.pictures.tolist() == ["c0/00/0.png", "c1/00/0.png"] and len(rows_of(found, twins[::-1], "it")) == 2
    with pytest.raises(Refused, match="twice"):
        build_cache(colours, "box", [items[0], items[0]], tmp_path / "twice.npz")


def test_what_does_not_fit_is_refused_by_name(items: tuple[Item, ...], out: Path, tmp_path: Path) -> None:
    cache = read_features(out)
    with pytest.raises(Refused, match=f"no embedding of {picture_name(items[0])}"):
        rows_of(cache, items, "features.npz")
    other = tmp_path / items[1].path.parent.name / items[1].path.name
    other.parent.mkdir()
    content = bytearray(items[1].path.read_bytes())
    content[-20] ^= 1  # as long as the picture that was embedded
    other.write_bytes(content)
    with pytest.raises(Refused, match=f"another data set: {picture_name(items[1])}"):
        rows_of(cache, [Item(other, "1", "c1")], "features.npz")
    other.unlink()
    with pytest.raises(Refused, match="cannot read the picture"):
        rows_of(cache, [Item(other, "1", "c1")], "features.npz")


GOOD: dict[str, Any] = {
    "teacher": "box", "pictures": np.array(["d/a", "d/b"]), "crc32": np.array([1, 2]), "features": np.eye(2, dtype=np.float32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pictures": np.array(["d/a"])}, "not a complete teacher cache"),
        ({"pictures": np.array(5)}, "not a complete teacher cache"),
        ({"features": np.zeros((2, 0), np.float32)}, "not a complete teacher cache"),
        ({"features": np.ones(2, np.float32)}, "not a complete teacher cache"),
        ({"features": np.ones((2, 2), np.complex64)}, "not a complete teacher cache"),
        ({"features": np.array([["1", "2"], ["3", "4"]])}, "not a complete teacher cache"),
        ({"features": np.array([[1, 0], [0, 0]], np.float32)}, "d/b contains NaN or is all zeros"),
        ({"features": np.array([[np.nan, 0], [0, 1]], np.float32)}, "d/a contains NaN or is all zeros"),
        ({"pictures": np.array(["d/a", "d/a"])}, "names a picture twice"),
        ({"pictures": np.array(["d/a", "b"])}, "or in two ways"),
        ({"crc32": np.array(["x", "y"])}, "is not a teacher cache"),
        ({"teacher": np.array([object()])}, "is not a teacher cache"),
        ({"pictures": np.array([object()])}, "is not a teacher cache"),
    ],
)
def test_a_file_that_no_teacher_wrote_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "good.npz", **GOOD)
    assert read_features(tmp_path / "good.npz").features.shape == (2, 2)
    np.savez(tmp_path / "bad.npz", **{**GOOD, **changes})
    with pytest.raises(Refused, match=says):
        read_features(tmp_path / "bad.npz")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "less.npz", teacher="x", pictures=np.array(["a"]))
    np.save(tmp_path / "array.npy", np.eye(2))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("text.npz", "empty.npz", "less.npz", "array.npz"):
        with pytest.raises(Refused, match=f"{name} is not a teacher cache"):
            read_features(tmp_path / name)
    with pytest.raises(Refused, match="cannot read"):
        read_features(tmp_path / "none.npz")


def test_damage_anywhere_is_refused_or_harmless(out: Path, tmp_path: Path) -> None:
    whole, rng, bad = out.read_bytes(), random.Random(0), tmp_path / "bad.npz"
    refusals = 0
    for _ in range(400):
        content = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.choice([1, 4, 40]) if content else 0):
            content[rng.randrange(len(content))] = rng.randrange(256)
        bad.write_bytes(content)
        try:
            read_features(bad)
        except Refused:
            refusals += 1
    assert refusals > 300
