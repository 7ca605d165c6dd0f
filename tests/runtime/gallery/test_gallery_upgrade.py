"""A gallery of schema 1, made by the statements of the vreid that wrote it, becomes one of schema 4 or stays as it was."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from made_gallery import opened, sighted, sighting

from vreid.models.errors import Refused
from vreid.runtime.gallery import edit_gallery, open_gallery, read_gallery
from vreid.runtime.gallery.edits import merge, undo
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.records import Filter, Part
from vreid.runtime.gallery.sqlite import check
from vreid.runtime.records import FinishedTrack

DIM = 8
SCHEMA_1 = """
PRAGMA application_id = 1987209572;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vehicles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL, thumbnail BLOB);
CREATE TABLE prototypes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    view TEXT NOT NULL, feature BLOB NOT NULL, weight REAL NOT NULL, count INTEGER NOT NULL);
CREATE INDEX prototypes_of ON prototypes (vehicle);
CREATE TABLE sightings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    camera TEXT NOT NULL, track INTEGER NOT NULL, first_time REAL NOT NULL, last_time REAL NOT NULL,
    first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL, score REAL NOT NULL, thumbnail BLOB, run TEXT NOT NULL);
CREATE INDEX sightings_of ON sightings (vehicle, camera);
"""
WRITTEN = 1_700_000_000.0


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(SCHEMA_1)
        for row in {"schema": "1", "fingerprint": "aaaaaaaa", "dim": str(DIM), "model": "small"}.items():
            connection.execute("INSERT INTO meta VALUES (?, ?)", row)
        for number, feature in enumerate(np.eye(DIM, dtype="<f4")[:3]):
            connection.execute("INSERT INTO vehicles (name, created) VALUES (?, 5.0)", (f"car {number}",))
            connection.execute(
                "INSERT INTO prototypes (vehicle, view, feature, weight, count) VALUES (?, 'gate', ?, 0.5, 1)",
                (number + 1, feature.tobytes()),
            )
            connection.execute(
                "INSERT INTO sightings (vehicle, camera, track, first_time, last_time, first_frame, last_frame, score,"
                " thumbnail, run) VALUES (?, 'gate', 1, 0.5, 1.5, 5, 15, 0.9, NULL, 'run-1')",
                (number + 1,),
            )
        connection.execute("PRAGMA journal_mode = WAL")
    os.utime(path, (WRITTEN, WRITTEN))
    return path


def test_opening_for_writing_upgrades(old: Path) -> None:
    with open_gallery(old, fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
        assert [vehicle.name for vehicle in gallery.vehicles()] == ["car 0", "car 1", "car 2"]
        assert gallery.search(np.eye(DIM, dtype=np.float32)[1:2], 1)[0][0].name == "car 1"
        assert gallery.stats().oldest == gallery.stats().newest == WRITTEN  # the last that they can have been seen
        feature = np.eye(DIM, dtype=np.float32)[0]
        picture = np.zeros((9, 9, 3), np.uint8)
        gallery.add_sighting(1, FinishedTrack("gate", 1, 0, 9, 0.0, 1.0, 2, feature, 1, 0.5, picture, 7.0, "B 1"), 0.5)
        merge(gallery, 1, [2])
        undo(gallery)
    with read_gallery(old) as reader:
        assert reader.stats().sightings == 4
    assert check.check_gallery(old) == []


def test_the_tables_are_those_of_a_new_gallery(old: Path, tmp_path: Path) -> None:
    open_gallery(tmp_path / "new.db", fingerprint="a", dim=DIM, model="small", write=True).close()
    edit_gallery(old).close()
    shapes = []
    for path in (old, tmp_path / "new.db"):
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
            tables = [name for kind, name in names if kind == "table"]
            columns = {
                table: {tuple(row[1:5]) for row in connection.execute(f"PRAGMA table_info({table})")}
                for table in tables
            }
            shapes.append((sorted(names), columns))
    assert shapes[0] == shapes[1]


SCHEMA_3 = """
DROP INDEX vehicles_list; DROP INDEX sightings_of; DROP INDEX sightings_last; DROP INDEX sightings_at; DROP INDEX sightings_from;
DROP INDEX sightings_kind; DROP INDEX sightings_plate; DROP INDEX sightings_zones; DROP INDEX sightings_zones_of;
ALTER TABLE sightings DROP COLUMN zones;
CREATE INDEX sightings_of ON sightings (vehicle, camera);
CREATE INDEX sightings_at ON sightings (seen);
UPDATE meta SET value = '3' WHERE key = 'schema';
"""  # what schema 4 has more


def test_a_gallery_of_schema_3_is_read_as_it_is_and_upgraded_by_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "three.db"
    with opened(path) as gallery:
        for number in range(3):
            sighted(gallery, gallery.add_vehicle(f"car {number}"), sighting(number, seen=100.0 + number, plate="B 1"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_3)
    before = path.read_bytes()
    with read_gallery(path) as reader:
        rows = reader.latest_sightings()
        assert [(one.vehicle, one.zones) for one in rows] == [(3, ()), (2, ()), (1, ())]
        assert reader.latest_sightings(Filter(cameras=("gate",), names=("car 1",), plates=("b*",))) == [rows[1]]
        assert reader.latest_sightings(Filter(zones=("entry",))) == []
        assert [one.id for one in reader.vehicles(part=Part("named-first", 2))] == [3, 2]
        assert [one.id for one in reader.vehicles(only=Filter(kinds=("car",), since=101.0))] == [2, 3]
        assert (reader.cameras(), reader.kinds()) == (["gate"], ["car"])
        assert reader.sightings(2) == [rows[1]] and [*reader.details(2).sightings] == [rows[1]]
    assert path.read_bytes() == before
    (finding,) = check.check_gallery(path)
    assert (finding.kind, finding.text) == ("schema", "the gallery is of schema 3, which an older vreid wrote")
    with edit_gallery(path) as gallery:
        assert gallery.latest_sightings() == rows
        gallery.add_sighting(1, sighting(9, zones=("entry",)), 0.5)
        assert gallery.latest_sightings(Filter(zones=("entry",)))[0].id == 4
    assert check.check_gallery(path) == []
    open_gallery(tmp_path / "new.db", fingerprint="a", dim=DIM, model="small", write=True).close()
    shapes = []
    for file in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(file)) as connection:
            shapes.append(sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")))
    assert shapes[0] == shapes[1]


def test_a_reader_says_how_to_upgrade(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(Refused, match=r"schema 1 .*'vreid gallery check --gallery .*old.db --repair'"):
        read_gallery(old)
    with pytest.raises(Refused, match="vreid gallery reindex --gallery"):
        open_gallery(old, fingerprint="bbbbbbbb", dim=DIM, model="large", write=True)
    assert old.read_bytes() == before
    (finding,) = check.check_gallery(old)
    assert finding.kind == "schema"
    assert repaired(old) == ["the gallery is of schema 4 now; older vreids cannot read it"]
    assert check.check_gallery(old) == []
    read_gallery(old).close()


def test_an_upgrade_that_fails_leaves_schema_1(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TABLE audit (mine)")  # in the way of the last statement
    with pytest.raises(Refused, match="already exists"):
        edit_gallery(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("1",)
        assert "feature" not in [row[1] for row in connection.execute("PRAGMA table_info(sightings)")]
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'changes'").fetchone() == (0,)
