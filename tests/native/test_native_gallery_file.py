"""The file of a gallery in two languages: one writer among both, the same sentences, and nothing lost by kill -9."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_gallery import DIM, features, opened

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery, read_gallery
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.sqlite import check
from vreid.runtime.records import FinishedTrack
from vreid.runtime.site_evidence import Evidence
from vreid.runtime.stranger_scores import EDGES, StrangerScores

Drive = Callable[[], Any]  # see conftest.py
SPACE = {"fingerprint": "aaaaaaaa", "dim": DIM, "model": "small"}


def filled(path: Path, count: int = 5) -> None:
    with opened(path) as gallery, gallery.transaction():
        for number, feature in enumerate(features(count)):
            vehicle = gallery.add_vehicle(f"car {number}")
            gallery.add_prototype(vehicle, "gate", feature)
            gallery.add_sighting(
                vehicle,
                FinishedTrack("gate", 1, 0, 9, 0.0, 1.0, 2, feature, 3, 0.5, np.zeros((9, 9, 3), np.uint8), 1e9),
                0.5,
            )


def refusal(request: Callable[[], Any]) -> str:
    """The sentence; "" when it was not refused."""
    try:
        done = request()
    except Refused as refused:
        return str(refused)
    if isinstance(done, Gallery):
        done.close()
    return ""


def statement(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)


def meta(sql: str) -> Callable[[Path], None]:
    def harmed(path: Path) -> None:
        filled(path)
        statement(path, sql)

    return harmed


def cut(path: Path) -> None:
    filled(path, 40)
    path.write_bytes(path.read_bytes()[:9000])


def stray(path: Path) -> None:
    with opened(path) as gallery:
        gallery.add_vehicle("ghost")
        shutil.copy(path.with_name("g.db-wal"), path.with_name("kept"))
    path.unlink()
    path.with_name("kept").rename(path.with_name("g.db-wal"))


# what lies at the path -> how it comes to lie there
PLACES: dict[str, Callable[[Path], Any]] = {
    "nothing": lambda path: None,
    "folder": Path.mkdir,
    "empty": Path.touch,
    "text": lambda path: path.write_bytes(b"no database, however long it may be. " * 200),
    "another's database": lambda path: statement(path, "CREATE TABLE meta (key TEXT, value TEXT)"),
    "sound": filled,
    "schema 1": meta("UPDATE meta SET value = '1' WHERE key = 'schema'"),
    "schema 5": meta("UPDATE meta SET value = '5' WHERE key = 'schema'"),
    "no schema": meta("DELETE FROM meta WHERE key = 'schema'"),
    "no fingerprint": meta("DELETE FROM meta WHERE key = 'fingerprint'"),
    "no meta": meta("DROP TABLE meta"),
    "text that is none": meta("UPDATE meta SET value = CAST(x'ff41' AS TEXT) WHERE key = 'model'"),
    "cut short": cut,
    "stray log": stray,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "read": {"write": False},
    "write": {"write": True},
    "another model": {"write": False, "fingerprint": "bbbbbbbb", "model": "large"},
    "another model to write": {"write": True, "fingerprint": "bbbbbbbb", "model": "large"},
    "another dim": {"write": True, "dim": 9},
    "no room": {"write": True, "max_prototypes": 0},
}


@pytest.mark.parametrize("place", PLACES)
def test_opening_is_refused_in_the_same_cases_and_words(tmp_path: Path, drive: Drive, place: str) -> None:
    driver = drive()
    for name, request in REQUESTS.items():
        folders = tmp_path / name / "python", tmp_path / name / "native"
        for folder in folders:
            folder.mkdir(parents=True)
        PLACES[place](folders[0] / "g.db")
        shutil.copytree(folders[0], folders[1], dirs_exist_ok=True)
        before = {one.name: one.read_bytes() for one in folders[0].iterdir() if one.is_file()}
        given = {**SPACE, **request}
        said = refusal(lambda: open_gallery(folders[0] / "g.db", **given))  # noqa: B023
        native = refusal(lambda: driver.call("open", path=str(folders[1] / "g.db"), **given))  # noqa: B023
        if native == "":
            driver.call("close")
        assert native.replace(str(folders[1]), "") == said.replace(str(folders[0]), ""), (place, name)
        left = [{one.name for one in folder.iterdir()} for folder in folders]
        assert left[0] == left[1], (place, name)
        if said:
            assert "\n" not in native
            assert {one.name: one.read_bytes() for one in folders[1].iterdir() if one.is_file()} == before
    for verb, function in (("read", read_gallery), ("edit", edit_gallery)):
        path = tmp_path / f"to {verb}" / "g.db"
        path.parent.mkdir()
        PLACES[place](path)
        said = refusal(lambda: function(path))  # noqa: B023
        assert refusal(lambda: driver.call(verb, path=str(path))) == said  # noqa: B023
        if not said:
            driver.call("close")


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path, drive: Drive) -> None:
    path, driver = tmp_path / "nowhere" / "g.db", drive()
    assert refusal(lambda: driver.call("open", path=str(path), **SPACE, write=True)) == refusal(lambda: opened(path))
    assert list(tmp_path.iterdir()) == []


def test_each_language_shuts_the_other_out(tmp_path: Path, drive: Drive) -> None:
    path, driver, other = tmp_path / "g.db", drive(), drive()
    writing = {"path": str(path), **SPACE, "write": True}
    with opened(path):
        expected = f"the gallery {path} is being written by process {os.getpid()}; stop it or use another gallery"
        assert refusal(lambda: driver.call("open", **writing)) == expected
    driver.call("open", **writing)
    expected = expected.replace(str(os.getpid()), str(driver.process.pid))
    assert refusal(lambda: opened(path)) == refusal(lambda: other.call("open", **writing)) == expected
    assert refusal(lambda: driver.call("read", path=str(path))) == ""  # which lets go of the lock
    with opened(path) as gallery:
        gallery.add_vehicle("taxi")
    assert driver.call("find", text="taxi") == 1
    driver.call("close")
    assert [one.name for one in tmp_path.iterdir()] == ["g.db"]


@pytest.mark.filterwarnings("ignore:overflow")
def test_wrong_requests_are_refused_in_the_same_words(tmp_path: Path, drive: Drive) -> None:
    names = [
        "",
        "  ",
        "a\nb",
        "x" * 201,
        "x" * 200,
        "車" * 200,
        "a\u00a0b",
        "a\u200bb",
        "a\ufffeb",
        "\x7f",
        "b",
        "b",
        "7",
    ]
    zero, feature = [0.0] * DIM, features(1)[0].tolist()
    given: list[dict[str, Any]] = [{"do": "vehicle", "name": name} for name in names]
    given += [
        {
            "do": verb,
            "vehicle": vehicle,
            "name": "b",
            "view": "gate",
            "feature": feature,
            "camera": "gate",
            "score": 0.5,
        }
        for vehicle in (0, -1, 99, 2**31, 2**62)
        for verb in ("rename", "remove", "prototype", "sighting", "name_of")
    ]
    given += [{"do": "rename", "vehicle": 1, "name": name} for name in ("b", "", "\u2028")]
    given += [
        {"do": "prototype", "vehicle": 1, "view": "gate", "feature": row} for row in (zero, feature[1:], [1e20] * DIM)
    ]
    given += [
        {"do": "prototype", "vehicle": 1, "view": "a", "feature": feature, "weight": weight} for weight in (0.0, -1.5)
    ]
    given += [{"do": "search", "features": feature, "k": 0}, {"do": "search", "features": zero, "k": 1}]
    given += [
        {"do": "find", "text": text} for text in ("b", "1", "7", "id=7", "id=3", "", "id=", "0", str(2**40), "x\n")
    ]
    driver = drive()
    driver.call("open", path=str(tmp_path / "native.db"), **SPACE, write=True)
    with opened(tmp_path / "python.db") as gallery:
        for one in given:
            row = np.asarray(one.get("feature", one.get("features", [])), np.float32)
            said = refusal(
                {
                    "vehicle": lambda: gallery.add_vehicle(one["name"]),  # noqa: B023
                    "rename": lambda: gallery.rename(one["vehicle"], one["name"]),  # noqa: B023
                    "remove": lambda: gallery.remove(one["vehicle"]),  # noqa: B023
                    "prototype": lambda: gallery.add_prototype(one["vehicle"], "gate", row, one.get("weight", 1.0)),  # noqa: B023
                    "sighting": lambda: gallery.add_sighting(one["vehicle"], None, 0.5),  # type: ignore[arg-type]  # noqa: B023
                    "name_of": lambda: gallery.name_of(one["vehicle"]),  # noqa: B023
                    "search": lambda: gallery.search(row[None], one["k"]),  # noqa: B023
                    "find": lambda: gallery.find(one["text"]),  # noqa: B023
                }[one["do"]]
            )
            driver.send(**{"verb" if key == "do" else key: value for key, value in one.items()})
            assert refusal(driver.receive) == said, one
    driver.call("read", path=str(tmp_path / "python.db"))
    with read_gallery(tmp_path / "python.db") as gallery:
        assert refusal(lambda: driver.call("vehicle", name="x")) == refusal(lambda: gallery.add_vehicle("x")) != ""


def test_names_are_those_of_the_golden_file(drive: Drive, root: Path) -> None:
    """The form in which C++ writes a name, its key, and which names it refuses: the file that Python is held to too."""
    driver = drive()
    for row in json.loads((root / "tests" / "data" / "names" / "names.json").read_text(encoding="utf-8")):
        given = {key: row[key] for key in ("text", "bytes") if key in row}
        if row["name"] is None:
            assert "a vehicle's name must be" in refusal(lambda: driver.call("name", **given)), row  # noqa: B023
        else:
            assert driver.call("name", **given) == [row["name"], row["key"]], row


def test_what_earlier_commits_wrote_is_read_and_upgraded_as_python_does_it(
    tmp_path: Path, drive: Drive, root: Path
) -> None:
    paths = [tmp_path / "python.db", tmp_path / "native.db"]
    for path in paths:
        shutil.copy(root / "tests" / "data" / "written-by-earlier-commits" / "gallery.db", path)
    driver, before = drive(), paths[1].read_bytes()
    driver.call("read", path=str(paths[1]))
    with read_gallery(paths[0]) as gallery:
        for text in ("*", "vehicle-*", "*[*", "*Ü*"):
            found = [vehicle.id for vehicle in gallery.vehicles(only=Filter(names=(text,)))]
            assert [row[0] for row in driver.call("vehicles", only={"names": [text]})] == found
        for vehicle in gallery.vehicles():
            assert refusal(lambda: driver.call("find", text=f"id={vehicle.id}")) == ""  # noqa: B023
    driver.call("close")
    assert paths[1].read_bytes() == before
    driver.call("edit", path=str(paths[1]))
    driver.call("close")
    edit_gallery(paths[0]).close()
    rows = []
    for path in paths:
        with closing(sqlite3.connect(path)) as connection:
            rows.append(
                [
                    connection.execute("SELECT * FROM vehicles ORDER BY id").fetchall(),
                    [
                        (verb, vehicle, who, json.loads(detail))
                        for verb, vehicle, who, detail in connection.execute(
                            "SELECT verb, vehicle, who, detail FROM audit ORDER BY id"
                        )
                    ],
                    sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")),
                ]
            )
        assert check.check_gallery(path) == []
    assert rows[0] == rows[1]


def test_who_was_named_and_when_it_was_are_written_alike(tmp_path: Path, drive: Drive) -> None:
    driver = drive()
    driver.call("open", path=str(tmp_path / "native.db"), **SPACE, write=True)
    row = features(1)[0]
    picture = np.full((9, 9, 3), 80, np.uint8)
    with opened(tmp_path / "python.db") as gallery:
        for name in (None, "Mu\u0308ller", "vehicle-0007-red"):
            vehicle = gallery.add_vehicle(name, picture)
            assert driver.call("vehicle", name=name, picture=[9, 9]) == vehicle
            sighting = FinishedTrack("Su\u0308d", 1, 0, 9, 0.0, 1.0, 2, row, 3, 0.5, picture, 1e9)
            gallery.add_sighting(vehicle, sighting, 0.5)
            given = {"vehicle": vehicle, "camera": "Su\u0308d", "feature": row.tolist(), "score": 0.5}
            driver.call("sighting", **given, seen=1e9)
            for seen in (1795330800000, 1795330800000000000, -5.0, 1e10):
                said = refusal(lambda: gallery.add_sighting(vehicle, replace(sighting, seen=seen), 0.5))  # noqa: B023
                assert said == refusal(lambda: driver.call("sighting", **given, seen=seen)) != ""  # noqa: B023
            for key in ("first_time", "last_time"):
                said = refusal(lambda: gallery.add_sighting(vehicle, replace(sighting, **{key: 1.8e12}), 0.5))  # noqa: B023
                assert said == refusal(lambda: driver.call("sighting", **given, **{key: 1.8e12})) != ""  # noqa: B023
        for text in ("a\nb", "a\x1b[2J", "a\u2028", "a\x7f", "a\x00b"):
            said = refusal(lambda: gallery.add_sighting(1, replace(sighting, camera=text), 0.5))  # noqa: B023
            assert said == refusal(lambda: driver.call("sighting", **{**given, "camera": text})) != ""  # noqa: B023
            said = refusal(lambda: gallery.add_prototype(1, text, row))  # noqa: B023
            assert said == refusal(lambda: driver.call("prototype", vehicle=1, view=text, feature=row.tolist())) != ""  # noqa: B023
        assert gallery.add_vehicle("id=2") == driver.call("vehicle", name="id=2")
        for text in ("id=2", "id=4", "ID=2", "id=9"):
            said = refusal(lambda: gallery.find(text))  # noqa: B023
            assert said == refusal(lambda: driver.call("find", text=text))  # noqa: B023
            assert said or gallery.find(text) == driver.call("find", text=text)
        gallery.rename(1, "vehicle-0001 Mrs Smith")
        driver.call("rename", vehicle=1, name="vehicle-0001 Mrs Smith")
        for only in ({"names": ["MÜLLER"]}, {"names": ["*[7]*"]}, {"cameras": ["Süd"]}, {"names": ["*mrs*"]}):
            found = [
                one.id for one in gallery.vehicles(only=Filter(**{key: tuple(value) for key, value in only.items()}))
            ]
            assert [one[0] for one in driver.call("vehicles", only=only)] == found
        assert driver.call("find", text="mu\u0308LLER") == gallery.find("mu\u0308LLER") == 2
    driver.call("close")
    rows = []
    for path in (tmp_path / "python.db", tmp_path / "native.db"):
        with closing(sqlite3.connect(path)) as connection:
            query = (
                "SELECT name, key, named, pictured, CASE WHEN named AND id > 1 THEN 0 ELSE created END FROM vehicles"
            )
            rows.append(connection.execute(query).fetchall())
            rows[-1] += connection.execute("SELECT camera, seen FROM sightings ORDER BY id").fetchall()
    assert rows[0] == rows[1]
    assert rows[0][0] == ("vehicle-0001 Mrs Smith", "vehicle-0001 mrs smith", 1, 1e9, 1e9)


def test_a_foreign_lock_is_refused_on_opening_and_on_writing(tmp_path: Path, drive: Drive) -> None:
    path, driver = tmp_path / "g.db", drive()
    writing = {"path": str(path), **SPACE, "write": True}
    driver.call("open", **writing)
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        expected = f"the gallery {path} is locked by another program; close that program and try again"
        assert refusal(lambda: driver.call("vehicle", name="taxi")) == expected
        driver.call("close")
        assert refusal(lambda: driver.call("open", **writing)) == expected
    driver.call("open", **writing)
    assert driver.call("vehicle", name="taxi") == 1


def test_what_a_native_writer_acknowledged_survives_kill_9(tmp_path: Path, drive: Drive) -> None:
    """Killed inside a transaction, and twenty times at a moment that nobody chose."""
    path, rng = tmp_path / "g.db", np.random.default_rng(0)
    acknowledged: list[str] = []
    for number in range(20):
        driver = drive()
        driver.call("open", path=str(path), **SPACE, write=True)
        for place in range(int(rng.integers(1, 6))):
            name = f"car {number} {place}"
            feature = features(1, 100 * number + place)[0].tolist()
            vehicle = driver.call("vehicle", name=name)
            driver.call("prototype", vehicle=vehicle, view="gate", feature=feature)
            acknowledged.append(name)
        if number % 4 == 0:
            driver.call("hold")
            driver.call("vehicle", name=f"never {number}")
        else:  # on its way
            for place in range(int(rng.integers(1, 30))):
                driver.send("vehicle", name=f"perhaps {number} {place}")
        os.kill(driver.process.pid, signal.SIGKILL)
        driver.process.wait()
        with read_gallery(path) as reader:
            found = [vehicle for vehicle in reader.vehicles(thumbnails=False)]
            assert [one.name for one in found if one.name.startswith("car")] == acknowledged
            assert not any(one.name.startswith("never") for one in found)
            assert all(one.prototypes for one in found if one.name.startswith("car"))
        assert check.check_gallery(path) == []
    with opened(path) as gallery:
        assert gallery.search(features(1), 1)[0][0].name == "car 0 0"
    assert [one.name for one in tmp_path.iterdir()] == ["g.db"]


def test_a_gallery_of_schema_1_is_upgraded_alike(tmp_path: Path, drive: Drive) -> None:
    paths = tmp_path / "python.db", tmp_path / "native.db"
    filled(paths[0])
    with closing(sqlite3.connect(paths[0], isolation_level=None)) as connection:
        for table in ("changes", "audit"):
            connection.execute(f"DROP TABLE {table}")
        for trigger in ("prototype_new", "prototype_old", "prototype_set"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for (index,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'").fetchall():
            connection.execute(f"DROP INDEX {index}")
        connection.execute("CREATE INDEX prototypes_of ON prototypes (vehicle)")
        connection.execute("CREATE INDEX sightings_of ON sightings (vehicle, camera)")
        for column in ("seen", "kind", "plate", "quality", "feature", "zones"):
            connection.execute(f"ALTER TABLE sightings DROP COLUMN {column}")
        connection.execute("DROP INDEX vehicles_key")
        for column in ("kind", "key", "named", "pictured"):
            connection.execute(f"ALTER TABLE vehicles DROP COLUMN {column}")
        connection.execute("DELETE FROM meta WHERE key = 'identity'")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
    shutil.copy(*paths)
    for path in paths:
        os.utime(path, (1_700_000_000.0, 1_700_000_000.25))
    edit_gallery(paths[0]).close()
    driver = drive()
    driver.call("edit", path=str(paths[1]))
    assert driver.call("search", features=features(5)[3].tolist(), k=1)[0][0][1] == "car 3"
    driver.call("close")
    for query in ("SELECT type, name, sql FROM sqlite_master", "SELECT * FROM sightings", "SELECT * FROM vehicles",
                  "SELECT key, value FROM meta WHERE key != 'identity'"):  # fmt: skip
        tables = []
        for path in paths:
            with closing(sqlite3.connect(path)) as connection:
                tables.append(connection.execute(query).fetchall())
        assert tables[0] == tables[1], query
    assert check.check_gallery(paths[1]) == []


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A gallery on a file system that may only be read, by root too."""
    place = tmp_path / "closed"
    place.mkdir()
    filled(place / "g.db")
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", place, place], check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place / "g.db"
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_gallery_that_may_only_be_read_is_read_and_never_written(closed: Path, drive: Drive) -> None:
    driver = drive()
    driver.call("read", path=str(closed))
    assert driver.call("search", features=features(5)[2].tolist(), k=1)[0][0][1] == "car 2"
    given = {"path": str(closed), **SPACE, "write": True}
    assert refusal(lambda: driver.call("open", **given)) == refusal(lambda: opened(closed)) != ""


def test_damaged_rows_and_pages_are_refused_in_one_sentence(tmp_path: Path, drive: Drive) -> None:
    path, driver = tmp_path / "g.db", drive()
    filled(path, 60)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for sql in ("UPDATE prototypes SET feature = x'00'", "UPDATE prototypes SET feature = 'text'",
                "UPDATE vehicles SET name = x'0a00' WHERE id = 1",
                "UPDATE vehicles SET name = CAST(x'ff' AS TEXT) WHERE id = 1"):  # fmt: skip
        path.write_bytes(whole)
        statement(path, sql)
        driver.call("read", path=str(path))
        said = refusal(lambda: driver.call("search", features=features(1)[0].tolist(), k=99))
        assert "damaged" in said and "\n" not in said, sql
        driver.call("close")
    results = set()
    for _ in range(60):
        harmed = bytearray(whole)
        for _ in range(int(rng.choice([1, 4, 200]))):
            harmed[int(rng.integers(100, len(harmed)))] ^= int(rng.integers(1, 256))
        path.write_bytes(harmed)
        for verb, fields in (
            ("stats", {}),
            ("vehicles", {}),
            ("search", {"features": features(1)[0].tolist(), "k": 9}),
        ):
            said = refusal(lambda: (driver.call("read", path=str(path)), driver.call(verb, **fields)))  # noqa: B023
            assert "\n" not in said
            results.add(
                "damaged" in said or "cannot be used" in said or "not a vreid" in said or "schema" in said or not said
            )
        refusal(lambda: driver.call("close"))
        assert path.read_bytes() == harmed
    assert results == {True}


def test_a_length_beyond_all_sense_is_refused(tmp_path: Path, drive: Drive) -> None:
    """Nine bytes, found by fuzzing: SQLite then says that there is no memory, and not that the file is damaged."""
    path, driver = tmp_path / "g.db", drive()
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"):
            connection.execute(sql)
    data = bytearray(path.read_bytes())
    at = data.index(b"tablemetameta")
    data[at - 9 : at] = b"\xff" * 9
    path.write_bytes(data)
    assert "or is damaged; free some" in refusal(lambda: driver.call("read", path=str(path)))
    assert "or is damaged; free some" in refusal(lambda: driver.call("edit", path=str(path)))
    filled(tmp_path / "wide.db", 50)
    statement(tmp_path / "wide.db", "UPDATE meta SET value = '1048576' WHERE key = 'dim'")
    driver.call("read", path=str(tmp_path / "wide.db"))
    assert "wrong length" in refusal(lambda: driver.call("search", features=[1.0] * 2**20, k=1))


def test_what_a_site_has_learnt_is_opened_and_left_as_it_is(tmp_path: Path, drive: Drive) -> None:
    """Thresholds of a site are Python's; C++ takes its threshold from the caller."""
    path, driver = tmp_path / "g.db", drive()
    filled(path)
    evidence = Evidence({("gate", "yard"): StrangerScores(np.ones(len(EDGES) - 1), 30.0, 200)}, frozen=True).as_text()
    with edit_gallery(path) as gallery:
        gallery.keep_site_threshold(evidence)
    driver.call("open", path=str(path), write=True, **SPACE)
    assert driver.call("search", features=features(1)[0].tolist(), rows=1, k=1)[0][0][0] == 1
    driver.call("vehicle", name="taxi")
    driver.call("close")
    with read_gallery(path) as gallery:
        assert gallery.site_threshold() == evidence and gallery.find("taxi") == 6
    assert check.check_gallery(path) == []
