"""Each planted damage is found and repaired; a sound gallery has no finding, and repairing it changes nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from made_gallery import DIM, features, opened, sighted, sighting, sql

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.sqlite import check


def filled(path: Path, count: int) -> Path:
    with opened(path) as gallery, gallery.transaction():
        for number, feature in enumerate(features(count)):
            vehicle = gallery.add_vehicle(f"car {number}")
            sighted(gallery, vehicle, sighting(number, feature=feature, seen=5.0, plate="B 1"))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return filled(tmp_path / "g.db", 4)


def test_a_sound_gallery_is_not_changed(path: Path) -> None:
    before = path.read_bytes()
    assert check.check_gallery(path) == []
    assert repaired(path) == []
    assert path.read_bytes() == before
    with pytest.raises(Refused, match="there is no gallery"):
        check.check_gallery(path.with_name("nowhere.db"))
    path.write_text("no database" * 200)
    with pytest.raises(Refused, match="not a gallery"):
        check.check_gallery(path)


# what is planted: the statement, the kind of finding, and a word of its sentence and of what repairs it
DAMAGES = {
    "short feature": ("UPDATE prototypes SET feature = x'00' WHERE id = 2", "prototype", "wrong length", "made from its"),
    "long feature": (f"UPDATE prototypes SET feature = zeroblob({4 * DIM}) WHERE id = 2", "prototype", "norm 0", "from its"),
    "not a number": (
        f"UPDATE prototypes SET feature = x'{'0000c07f' * DIM}' WHERE id = 2", "prototype", "norm nan", "from its"
    ),
    "no weight": ("UPDATE prototypes SET weight = -1 WHERE id = 2", "prototype", "a weight of -1", "made from its"),
    "no count": ("UPDATE prototypes SET count = 0 WHERE id = 2", "prototype", "a count of 0", "made from its"),
    "lost vehicle": ("DELETE FROM vehicles WHERE id = 2", "orphan", "vehicle 2 is lost", "back under their ids"),
    "bad name": ("UPDATE vehicles SET name = x'0a00' WHERE id = 2", "cells of vehicles", "in name", "after their id"),
    "sighting's feature": ("UPDATE sightings SET feature = x'00' WHERE id = 2", "sighting", "sighting 2", "without their"),
    "picture": ("UPDATE sightings SET thumbnail = x'0102' WHERE id = 2", "picture", "not a JPEG", "without their picture"),
    "time": ("UPDATE sightings SET seen = 'soon' WHERE id = 2", "cells of sightings", "in seen", "wrong type"),
    "time ahead": ("UPDATE sightings SET seen = 1e300 WHERE id = 2", "time", "'1e+300'", "this moment"),
    "begin ahead": ("UPDATE sightings SET first_time = 9e999 WHERE id = 2", "clock", "from 'inf'", "one, or 0"),
    "end in nanoseconds": ("UPDATE sightings SET last_time = 1.7e18 WHERE id = 2", "clock", "to '1.7e+18'", "one, or 0"),
    "least integer": (f"UPDATE sightings SET last_time = {-(2**63)} WHERE id = 2", "clock", "-9.2", "one, or 0"),
    "zones": ("UPDATE sightings SET zones = 'entry' WHERE id = 2", "zones", "no list of names", "without their zones"),
    "zones of numbers": ("UPDATE sightings SET zones = '[1]' WHERE id = 2", "zones", "sighting 2", "without their zones"),
    "score": ("UPDATE sightings SET score = 9e999 WHERE id = 2", "score", "a score of inf", "without their score"),
    "score below": ("UPDATE sightings SET score = -77 WHERE id = 2", "score", "a score of -77", "without their score"),
    "quality": ("UPDATE sightings SET quality = 9e999 WHERE id = 2", "quality", "quality of inf", "a quality of 0"),
    "quality above": ("UPDATE sightings SET quality = 1e300 WHERE id = 2", "quality", "quality of 1e+300", "a quality of 0"),
    "change ahead": ("UPDATE audit SET at = 9e999 WHERE id = 2", "at", "change 2 was made at 'inf'", "this moment"),
    "change before": ("UPDATE audit SET at = -1 WHERE id = 2", "at", "made at '-1.0'", "this moment"),
    "sequence": ("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'vehicles'", "sequence", "given again", "no id"),
    "changes": ("INSERT INTO changes (prototype) VALUES (99)", "changes", "prototype 99", "cut to"),
    "audit": ("UPDATE audit SET detail = '{' WHERE id = 2", "audit", "change 2", "say only"),
    "identity": ("DELETE FROM meta WHERE key = 'identity'", "identity", "identity", "new identity"),
    "retention": ("INSERT INTO meta VALUES ('retention', 'long')", "retention", "'long'", "for ever"),
    "threshold": ("INSERT INTO meta VALUES ('site threshold', '{')", "site threshold", "threshold is damaged", "forgotten"),
    "threshold of another length": (
        """INSERT INTO meta VALUES ('site threshold', '{"version": 1, "frozen": false, "pairs": [], "cameras":
        [{"camera": "a", "tracks": 10, "mean": "AACAPw=="}]}')""",
        "site threshold", "a mean of 1 numbers, and features have 8", "forgotten",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_planted_damage_is_found_and_repaired(path: Path, damage: str) -> None:
    statement, kind, sentence, what_was_done = DAMAGES[damage]
    sql(path, statement, foreign_keys=False)
    (finding,) = check.check_gallery(path)
    assert finding.kind == kind
    assert sentence in finding.text
    done = repaired(path)
    assert any(what_was_done in one for one in done), done
    assert check.check_gallery(path) == []
    with read_gallery(path) as gallery:
        assert gallery.stats().prototypes == gallery.stats().sightings == 4
        hits = gallery.search(features(4), 1)
        assert [row[0].vehicle for row in hits] == [1, 2, 3, 4]
        assert min(row[0].score for row in hits) > 0.999
        repair = gallery.changes()[-1]
        assert repair.verb == "repair"
        assert repair.detail["done"] == done


def test_a_vehicle_that_cannot_learn_again_is_named(path: Path) -> None:
    sql(path, "UPDATE prototypes SET feature = x'00' WHERE id = 3", foreign_keys=False)
    sql(path, "UPDATE sightings SET feature = NULL WHERE id = 3", foreign_keys=False)
    done = repaired(path)
    assert "vehicle 3 has no prototype left and cannot be found; enrol it again" in done
    assert check.check_gallery(path) == []


def test_many_findings_of_a_kind_are_cut_but_all_repaired(tmp_path: Path) -> None:
    path = filled(tmp_path / "g.db", 60)
    sql(path, "UPDATE prototypes SET feature = x'00'", foreign_keys=False)
    sql(path, "DELETE FROM vehicles", foreign_keys=False)
    found = check.check_gallery(path)
    assert len(found) == 2 * (check.MOST + 1)
    assert found[-1].text == "40 more of this kind (prototype)"
    repaired(path)
    assert check.check_gallery(path) == []
    with read_gallery(path) as gallery:
        assert [row[0].vehicle for row in gallery.search(features(60), 1)] == list(range(1, 61))


def test_what_does_not_say_what_it_holds_cannot_be_repaired(path: Path) -> None:
    sql(path, "DELETE FROM meta WHERE key = 'fingerprint'", foreign_keys=False)
    assert [finding.text for finding in check.check_gallery(path)] == ["the gallery does not say its fingerprint"]
    with pytest.raises(Refused, match="restore a copy"):
        repaired(path)


def leaf_of(path: Path, table: str) -> int:
    """Where a page with rows of `table` begins in the file, found by the rows' own bytes."""
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        column = {"sightings": "feature", "prototypes": "feature", "vehicles": "name"}[table]
        (cell,) = connection.execute(f"SELECT {column} FROM {table} WHERE id = ?", (count // 2,)).fetchone()
    data = path.read_bytes()
    at = data.index(cell.encode() if isinstance(cell, str) else cell)
    return at // size * size


@pytest.mark.parametrize("table", ["sightings", "prototypes", "vehicles"])
def test_a_damaged_page_costs_only_what_was_on_it(tmp_path: Path, table: str) -> None:
    path = filled(tmp_path / "g.db", 400)
    at = leaf_of(path, table)
    data = bytearray(path.read_bytes())
    data[at : at + 4096] = b"\x5a" * 4096
    path.write_bytes(data)
    found = check.check_gallery(path)
    assert found
    assert {finding.kind for finding in found} == {"page"}
    done = repaired(path)
    assert "g.db.damaged" in done[0]
    assert (tmp_path / "g.db.damaged").read_bytes() == data
    assert check.check_gallery(path) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["g.db", "g.db.damaged"]
    with read_gallery(path) as gallery:
        stats = gallery.stats()
        assert min(stats.vehicles, stats.prototypes, stats.sightings) > 250
        assert stats.vehicles == 400  # of those that were lost, prototypes and sightings say that they were
        found_again = [row[0].vehicle == 1 + number for number, row in enumerate(gallery.search(features(400), 1))]
        assert sum(found_again) > 250
        (last,) = sql(gallery, "SELECT seq FROM sqlite_sequence WHERE name = 'vehicles'")[0]
        assert last == 400


def test_a_file_that_is_cut_short_gives_what_is_left(tmp_path: Path) -> None:
    path = filled(tmp_path / "g.db", 400)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4 + 100])
    assert [finding.kind for finding in check.check_gallery(path)] == ["page"]
    repaired(path)
    assert check.check_gallery(path) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["g.db", "g.db.damaged"]
    with read_gallery(path) as gallery:
        assert gallery.stats().vehicles > 250
        hits = gallery.search(features(400), 1)
        assert sum(bool(row) and row[0].vehicle == 1 + number for number, row in enumerate(hits)) > 250


def test_an_earlier_damaged_file_is_never_written_over(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4096 // 2 * 4096])
    path.with_name("g.db.damaged").write_text("mine")
    with pytest.raises(Refused, match="move it away first"):
        repaired(path)
    assert path.with_name("g.db.damaged").read_text() == "mine"


def test_a_repair_waits_for_no_writer(path: Path) -> None:
    with opened(path), pytest.raises(Refused, match="being written"):
        repaired(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["g.db"]
