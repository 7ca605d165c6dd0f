"""An export imported elsewhere answers as the gallery did; anything else is refused with nothing written."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_gallery import NewPlace, features, noise, opened, sighting

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, transfer
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.store import Store


@pytest.fixture
def gallery(store: Store) -> Gallery:
    made = Gallery(store, "flat", Rule())
    for number, feature in enumerate(features(12)):
        vehicle = made.add_vehicle(f"Größe {number}" if number % 2 else None, noise(0), "car")
        made.add_prototype(vehicle, "gate", feature)
        seen = sighting(feature=feature, seen=1.0 + number, plate="B 1", zones=("entry", "Süd")[: number % 3])
        made.add_sighting(vehicle, seen, -np.inf if number == 3 else 0.5, "run-1")
        made.add_sighting(vehicle, replace(seen, plate=None, picture=seen.picture[:0]), 0.5)
    made.remove(5)
    with made.transaction() as rows:  # one that an older vreid wrote, without its feature
        rows.add_sighting(1, replace(next(rows.sighting_rows(1)), feature=None))
    return made


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_a_round_trip_keeps_everything_but_ids(
    gallery: Gallery, new_place: NewPlace, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    assert transfer.exported(gallery, file) == transfer.Moved(11, 11, 23)
    with opened(new_place("other")) as other:
        assert transfer.imported(other, file) == transfer.Moved(11, 11, 23)
        queries = features(20, 7)
        for first, second in zip(gallery.search(queries, 5), other.search(queries, 5), strict=True):
            assert [(hit.name, hit.score) for hit in first] == [(hit.name, hit.score) for hit in second]
        again = tmp_path / f"again-{name}"
        transfer.exported(other, again)
        assert again.read_bytes() == file.read_bytes()  # the same content is the same file
        assert {one.zones for one in other.latest_sightings()} == {(), ("entry",), ("entry", "Süd")}
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.suffix == ".new") == []


def test_names_that_are_taken_get_a_number_and_nothing_comes_twice(
    gallery: Gallery, new_place: NewPlace, tmp_path: Path
) -> None:
    file = tmp_path / "some.jsonl"
    transfer.exported(gallery, file, Filter(names=("größe 1", "vehicle-0003")))
    with opened(new_place("other")) as other:
        other.add_vehicle("Größe 1")
        assert transfer.imported(other, file).renamed == (("Größe 1", "Größe 1-2"),)
        with pytest.raises(Refused, match="imported already, by change 2"):
            transfer.imported(other, file)
        assert transfer.imported(other, file, again=True).vehicles == 2
        assert [v.name for v in other.vehicles()] == [
            "Größe 1", "Größe 1-2", "vehicle-0003", "Größe 1-3", "vehicle-0003-2"
        ]  # fmt: skip
        assert other.changes()[1].summary["added"] == 2


def test_an_export_of_an_earlier_commit_is_read_without_zones(
    gallery: Gallery, new_place: NewPlace, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl"
    transfer.exported(gallery, file)
    lines = changed(file.read_bytes().splitlines(keepends=True), 0, schema=2)
    for place, line in enumerate(lines):
        cells = json.loads(line)
        if cells.pop("zones", None) is not None:
            lines[place] = (json.dumps(cells) + "\n").encode()
    file.write_bytes(b"".join(summed(lines)))
    with opened(new_place("other")) as other:
        assert transfer.imported(other, file).sightings == 23
        assert {one.zones for one in other.latest_sightings()} == {()}


def test_another_models_export_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    transfer.exported(gallery, file)
    for changes in ({"fingerprint": "bbbbbbbb"}, {"dim": 9}):
        with opened(tmp_path / f"{len(changes)}{changes}.db", **changes) as other:
            with pytest.raises(Refused, match="import it into a gallery of its own model"):
                transfer.imported(other, file)
            assert other.vehicles() == []
    with pytest.raises(Refused, match="is there already"):
        transfer.exported(gallery, file)
    with pytest.raises(Refused, match="cannot write"):
        transfer.exported(gallery, tmp_path / "nowhere" / "x.jsonl")


def changed(lines: list[bytes], place: int, **cells: object) -> list[bytes]:
    lines[place] = (json.dumps({**json.loads(lines[place]), **cells}) + "\n").encode()
    return lines


def summed(lines: list[bytes]) -> list[bytes]:
    """With a last line that fits, as somebody would write who means harm."""
    import hashlib

    digest = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    return [*lines[:-1], json.dumps({"line": "end", "lines": len(lines) - 1, "sha256": digest}).encode() + b"\n"]


DAMAGES = {
    "cut in a line": lambda lines: [*lines[:9], lines[9][:30]],
    "cut after a line": lambda lines: lines[:9],
    "a line lost": lambda lines: [*lines[:9], *lines[10:]],
    "a line twice": lambda lines: [*lines[:9], lines[8], *lines[9:]],
    "something behind": lambda lines: [*lines, b"{}\n"],
    "a byte changed": lambda lines: changed(lines, 3, quality=0.75),
    "a newer schema": lambda lines: summed(changed(lines, 0, schema=4)),
    "an unknown field": lambda lines: summed(changed(lines, 4, colour="red")),
    "a short feature": lambda lines: summed(changed(lines, 2, feature="AAAA")),
    "a long feature": lambda lines: summed(changed(lines, 2, feature="AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8=")),
    "NaN": lambda lines: summed(changed(lines, 2, weight=float("nan"))),
    "before 1970": lambda lines: summed(changed(lines, 1, created=-1)),
    "far ahead": lambda lines: summed(changed(lines, 1, created=1e300)),
    "nanoseconds": lambda lines: summed(changed(lines, 3, seen=1e18)),
    "a large track": lambda lines: summed(changed(lines, 3, track=1 << 70)),
    "a score of NaN": lambda lines: summed(changed(lines, 3, score=float("nan"))),
    "no name": lambda lines: summed(changed(lines, 1, name="a\nb")),
    "nobody's prototype": lambda lines: summed([lines[0], *lines[2:]]),
    "two headers": lambda lines: summed([lines[0], *lines]),
    "no JSON": lambda lines: [b"hello\n", *lines],
    "empty": lambda lines: [],
    "deep": lambda lines: [lines[0], b"[" * 100000 + b"\n"],
    "no end of a line": lambda lines: [lines[0], b'{"line": "vehicle", "name": "' + b"x" * (1 << 23)],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_export_is_refused_with_nothing_written(
    gallery: Gallery, new_place: NewPlace, tmp_path: Path, damage: str, packed: bool
) -> None:
    file = tmp_path / "all.jsonl"
    transfer.exported(gallery, file)
    content = b"".join(DAMAGES[damage](file.read_bytes().splitlines(keepends=True)))
    file.write_bytes(gzip.compress(content) if packed else content)
    with opened(new_place("other")) as other:
        with pytest.raises(Refused):
            transfer.imported(other, file)
        assert other.vehicles() == []
        assert other.changes() == []


def test_a_gzip_that_is_cut_is_refused(gallery: Gallery, new_place: NewPlace, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl.gz"
    transfer.exported(gallery, file)
    whole = file.read_bytes()
    for length in (len(whole) - 4, len(whole) // 2, 12, 2):
        file.write_bytes(whole[:length])
        with opened(new_place("other")) as other, pytest.raises(Refused):
            transfer.imported(other, file)
    with pytest.raises(Refused, match="there is no export"):
        transfer.about_export(tmp_path / "nowhere")
