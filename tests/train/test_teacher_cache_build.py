"""A teacher embeds a picture once; building goes on after a stop, in one process, and from nothing that is damaged."""

import json
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.train.data.records import Item
from vreid.train.data.table import read_dataset
from vreid.train.teacher_cache import build_cache, read_features


class BlackBox:
    """Gives the mean colours of a picture, counts its queries, and may fail at a query."""

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


@pytest.fixture
def begun(items: tuple[Item, ...], tmp_path: Path) -> Path:
    """A file that is to be, of which 30 pictures were embedded."""
    with pytest.raises(ConnectionError):
        build_cache(BlackBox(fails_after=30), "box", items, tmp_path / "features.npz", 10)
    return tmp_path / "features.npz"


def test_every_picture_is_embedded_once(items: tuple[Item, ...], tmp_path: Path) -> None:
    box, out, heard = BlackBox(), tmp_path / "new" / "features.npz", []
    found = build_cache(box, "box", items, out, 10, lambda done, total: heard.append((done, total)))
    assert found.queries == box.queries == len(items)
    assert heard[0] == (10, len(items)) and heard[-1] == (len(items), len(items))
    again = build_cache(box, "box", items, out)
    assert again.queries == 0 and box.queries == len(items)
    np.testing.assert_array_equal(read_features(out).features, found.features)
    assert [path.name for path in out.parent.iterdir()] == ["features.npz"]
    assert build_cache(box, "box", items[:0:-1], out).queries == 0  # fewer of them, in another order
    new = Item(tmp_path / "new.png", "1", "c0")
    new.path.write_bytes(items[0].path.read_bytes() + b"more")
    for teacher, others in (("another", items), ("box", [*items, new])):
        with pytest.raises(Refused, match="another teacher or of other pictures"):
            build_cache(BlackBox(), teacher, others, out)


def test_building_goes_on_after_a_stop(items: tuple[Item, ...], begun: Path, tmp_path: Path) -> None:
    assert not begun.exists()
    with (tmp_path / "features.npz.partial").open("ab") as rows:  # cut off in the middle of a batch
        rows.write(b"half")
    with (tmp_path / "features.npz.partial.jsonl").open("a") as log:
        log.write('{"done": 40, "wid')
    with pytest.raises(Refused, match="begun with another teacher"):
        build_cache(BlackBox(), "another", items, begun, 10)
    with pytest.raises(Refused, match="begun with other pictures"):
        build_cache(BlackBox(), "box", items[1:], begun, 10)
    box = BlackBox()
    found = build_cache(box, "box", items, begun, 10)
    assert found.queries == box.queries == len(items) - 30
    np.testing.assert_array_equal(
        found.features, build_cache(BlackBox(), "box", items, tmp_path / "whole.npz").features
    )


def test_building_goes_on_after_a_full_disk_which_is_said(items: tuple[Item, ...], tmp_path: Path) -> None:
    before, out, box = resource.getrlimit(resource.RLIMIT_FSIZE), tmp_path / "features.npz", BlackBox()
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))  # of 30 pictures 360 bytes fit, of 40 480 do not
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            build_cache(box, "box", items, out, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == f"{out}.partial" and not out.exists()
    done = len((tmp_path / "features.npz.partial.jsonl").read_text().splitlines()) - 1
    found = build_cache(BlackBox(), "box", items, out, 10)
    assert found.queries == len(items) - 10 * done and found.features.shape == (len(items), 3)


def test_a_picture_that_is_mended_or_taken_off_the_list_costs_no_query_again(
    items: tuple[Item, ...], tmp_path: Path
) -> None:
    out, broken = tmp_path / "features.npz", tmp_path / "shapes" / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(items[0].path.read_bytes()[:60])
    with_it = [*items[:25], Item(broken, "9", "c0"), *items[25:]]
    with pytest.raises(Refused, match=r"broken\.png is cut short"):
        build_cache(BlackBox(), "box", with_it, out, 10)
    box = BlackBox()
    assert build_cache(box, "box", items, out, 10).queries == box.queries == len(items) - 20


def test_only_one_process_asks(items: tuple[Item, ...], tmp_path: Path) -> None:
    """The second opens the files for itself, as a process of its own would."""
    out, inner = tmp_path / "features.npz", BlackBox()

    def embed(images: Sequence[Image]) -> np.ndarray[Any, np.dtype[np.float32]]:
        with pytest.raises(Refused, match="another process is building the cache in"):
            build_cache(BlackBox(), "box", items, out, 10)
        return inner(images)

    assert build_cache(embed, "box", items, out, 10).queries == inner.queries == len(items)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"\xff\xfe", "damaged"),
        (b"{}", "damaged"),
        (json.dumps({"done": 10, "width": 3, "pictures": "x"}).encode(), "damaged"),
        (json.dumps({"done": 40, "width": 3, "pictures": "x"}).encode(), "shorter than"),
        (json.dumps({"done": 30, "width": 0, "pictures": "x"}).encode(), "damaged"),
    ],
)
def test_a_damaged_leftover_is_refused(items: tuple[Item, ...], begun: Path, line: bytes, says: str) -> None:
    with begun.with_name("features.npz.partial.jsonl").open("ab") as log:
        log.write(line + b"\n")
    with pytest.raises(Refused, match=says):
        build_cache(BlackBox(), "box", items, begun, 10)


def test_a_leftover_of_no_numbers_is_refused_before_the_file_is_written(items: tuple[Item, ...], begun: Path) -> None:
    rows = begun.with_name("features.npz.partial")
    rows.write_bytes(np.full(90, np.nan, np.float32).tobytes())
    with pytest.raises(Refused, match=r"partial is damaged"):
        build_cache(BlackBox(), "box", items, begun, 10)
    assert not begun.exists()


@pytest.mark.parametrize("said", [np.nan, np.inf, 0.0])
def test_a_teacher_that_says_nothing_is_refused(items: tuple[Item, ...], tmp_path: Path, said: float) -> None:
    with pytest.raises(Refused, match="contains NaN or is all zeros"):
        build_cache(lambda images: np.full((len(images), 2), said, np.float32), "nan", items, tmp_path / "nan.npz")
    with pytest.raises(Refused, match="contains NaN or is all zeros"):
        build_cache(lambda images: np.zeros((len(images), 0), np.float32), "none", items, tmp_path / "none.npz")
