"""A feature file holds what was asked, once a picture, goes on after a stop, and is refused where it does not fit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.train.datasets.records import Item
from vreid.train.datasets.table import read_dataset
from vreid.train.told import ask, name_of, read_features, rows_of


class BlackBox:
    """Says the mean colours of a picture, counts what it is asked, and may fail at a query."""

    def __init__(self, fails_after: int = 1 << 30) -> None:
        self.queries, self.fails_after = 0, fails_after

    def __call__(self, images: Sequence[Image]) -> np.ndarray[Any, np.dtype[np.float32]]:
        if self.queries >= self.fails_after:
            raise ConnectionError("the line is dead")
        self.queries += len(images)
        return np.stack([image.reshape(-1, 3).mean(0) for image in images]).astype(np.float32)


@pytest.fixture
def items(shapes: Callable[..., Path]) -> tuple[Item, ...]:
    return read_dataset(shapes()).train


def test_a_file_holds_what_was_asked_once_a_picture(items: tuple[Item, ...], tmp_path: Path) -> None:
    box, out, heard = BlackBox(), tmp_path / "new" / "features.npz", []
    found = ask(box, "box", items, out, 10, lambda done, total: heard.append((done, total)))
    assert found.asked == box.queries == len(items)
    assert heard[0] == (10, len(items)) and heard[-1] == (len(items), len(items))
    again = ask(box, "box", items, out)
    assert again.asked == 0 and box.queries == len(items)
    np.testing.assert_array_equal(read_features(out).features, found.features)
    assert [path.name for path in out.parent.iterdir()] == ["features.npz"]
    mixed = [items[5], items[2], items[2]]
    np.testing.assert_array_equal(rows_of(found, mixed, "it").numpy(), found.features[[5, 2, 2]])
    assert name_of(items[0]).count("/") == 1


def test_asking_goes_on_after_a_stop(items: tuple[Item, ...], tmp_path: Path) -> None:
    out, dead = tmp_path / "features.npz", BlackBox(fails_after=30)
    with pytest.raises(ConnectionError):
        ask(dead, "box", items, out, 10)
    assert not out.exists()
    with (tmp_path / "features.npz.partial").open("ab") as rows:  # cut off in the middle of a batch
        rows.write(b"half")
    with (tmp_path / "features.npz.partial.jsonl").open("a") as log:
        log.write('{"done": 40, "wid')
    with pytest.raises(Refused, match="begun with another teacher"):
        ask(BlackBox(), "another", items, out, 10)
    box = BlackBox()
    found = ask(box, "box", items, out, 10)
    assert found.asked == box.queries == len(items) - 30
    np.testing.assert_array_equal(found.features, ask(BlackBox(), "box", items, tmp_path / "whole.npz").features)


def test_what_does_not_fit_is_refused_by_name(items: tuple[Item, ...], tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    ask(BlackBox(), "box", items[1:], out)
    told = read_features(out)
    with pytest.raises(Refused, match=f"no answer for {name_of(items[0])}"):
        rows_of(told, items, "features.npz")
    with pytest.raises(Refused, match="another teacher or to other pictures"):
        ask(BlackBox(), "box", items, out)
    other = tmp_path / items[1].path.parent.name / items[1].path.name
    other.parent.mkdir()
    other.write_bytes(b"x")
    with pytest.raises(Refused, match=f"another data set: {name_of(items[1])}"):
        rows_of(told, [Item(other, "1", "c1")], "features.npz")
    with pytest.raises(Refused, match="twice"):
        ask(BlackBox(), "box", [items[0], items[0]], tmp_path / "twice.npz")
    twins = [Item(tmp_path / camera / "00" / "0.png", "1", camera) for camera in ("c0", "c1")]
    for twin in twins:  # of one name in folders of one name
        twin.path.parent.mkdir(parents=True)
        twin.path.write_bytes(items[0].path.read_bytes())
    found = ask(BlackBox(), "box", twins, tmp_path / "twins.npz")
    assert found.pictures.tolist() == ["c0/00/0.png", "c1/00/0.png"] and len(rows_of(found, twins[::-1], "it")) == 2
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "less.npz", teacher="x", pictures=np.array(["a"]))
    np.savez(tmp_path / "pickle.npz", teacher=np.array([object()]), pictures=0, bytes=0, features=0)
    for name in ("text.npz", "less.npz", "pickle.npz"):
        with pytest.raises(Refused, match=f"{name} is no feature file"):
            read_features(tmp_path / name)
    with pytest.raises(Refused, match="cannot read"):
        read_features(tmp_path / "none.npz")
    with pytest.raises(Refused, match="says no numbers"):
        ask(lambda images: np.full((len(images), 2), np.nan, np.float32), "nan", items, tmp_path / "nan.npz")
