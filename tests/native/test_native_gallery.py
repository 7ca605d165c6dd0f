"""One gallery in two languages: the same calls give the same file, and each reads what the other has written."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_gallery import sql

from vreid.runtime.gallery import Gallery, open_gallery, read_gallery
from vreid.runtime.gallery.edits import merge, split, undo
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.sqlite import check
from vreid.runtime.records import FinishedTrack, Floats

Drive = Callable[[], Any]  # see conftest.py
DIM = 16
SPACE = {"fingerprint": "aaaaaaaa", "dim": DIM, "model": "small"}
CAMERAS = ("gate", "yard", "ramp")
ZONES = ([], ["entry"], ["entry", "exit"], ['a "b" \\ c/d', "S\u00fcd \u8eca"], [], ["Su\u0308d"])


def opened(path: Path, **changes: Any) -> Gallery:
    return open_gallery(path, **{**SPACE, "write": True, **changes})


def features(count: int, seed: int = 0) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def sighting(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "camera": str(rng.choice(CAMERAS)), "track": int(rng.integers(1, 99)), "first_frame": 3, "last_frame": 40 + seed,
        "first_time": 0.5 * seed, "last_time": 0.5 * seed + 2.0, "kind": int(rng.choice([-1, 2, 5, 7, 11])),
        "feature": features(1, seed)[0].tolist(), "quality": float(rng.uniform()), "seen": 1e9 + seed,
        "plate": None if seed % 3 else f"B-{seed % 2} 1", "zones": ZONES[seed % len(ZONES)],
    }  # fmt: skip


def sent_sighting(gallery: Gallery, vehicle: int, seed: int, score: float, run: str) -> int:
    fields = sighting(seed)
    fields["feature"] = np.asarray(fields["feature"], np.float32)
    fields["zones"] = tuple(fields["zones"])
    return gallery.add_sighting(
        vehicle, FinishedTrack(**fields, crops=1, picture=np.zeros((0, 0, 3), np.uint8)), score, run
    )


def steps(seed: int, count: int) -> list[dict[str, Any]]:
    """Commands that enrol, learn, see, rename and remove: features crowd, so that prototypes merge and are dropped."""
    rng = np.random.default_rng(seed)
    crowd, alive, last, done = features(6, seed), list[int](), 0, list[dict[str, Any]]()
    for number in range(count):
        kind = str(
            rng.choice(["vehicle", "prototype", "sighting", "rename", "remove"], p=[0.08, 0.62, 0.15, 0.07, 0.08])
        )
        if not alive or kind == "vehicle":
            last += 1
            alive.append(last)
            name = [None, f"car {number}", f"Ünïcödé 車 {number}", f'"{number}"\\'][number % 4]
            done.append({"do": "vehicle", "name": name, "kind": [None, "car"][number % 2], "picture": [200, 320]})
            continue
        vehicle = int(rng.choice(alive))
        if kind == "prototype":
            feature = crowd[rng.integers(len(crowd))] + rng.choice([0.03, 0.1]) * rng.normal(size=DIM).astype(
                np.float32
            )
            weight = float(rng.choice([0.25, 0.5, 1.0, rng.uniform(0.1, 2)]))
            view = str(rng.choice(CAMERAS[:2]))
            done.append({"do": kind, "vehicle": vehicle, "view": view, "feature": feature.tolist(), "weight": weight})
        elif kind == "sighting":
            done.append({"do": kind, "vehicle": vehicle, **sighting(number), "score": 0.5, "run": "live"})
        elif kind == "rename":
            done.append({"do": kind, "vehicle": vehicle, "name": f"renamed {number}"})
        elif len(alive) > 3:
            alive.remove(vehicle)
            done.append({"do": kind, "vehicle": vehicle})
    return done


def carried_out(gallery: Gallery, step: dict[str, Any]) -> Any:
    """What the driver does, in Python."""
    match step["do"]:
        case "vehicle":
            picture = np.full((*step["picture"], 3), (20, 90, 200), np.uint8)
            return gallery.add_vehicle(step["name"], picture, step["kind"])
        case "prototype":
            row = np.asarray(step["feature"], np.float32)
            return gallery.add_prototype(step["vehicle"], step["view"], row, step["weight"])
        case "sighting":
            return sent_sighting(gallery, step["vehicle"], step["last_frame"] - 40, step["score"], step["run"])
        case "rename":
            gallery.rename(step["vehicle"], step["name"])
        case "remove":
            gallery.remove(step["vehicle"])
    return True


def rows_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def same_tables(one: Path, other: Path) -> None:
    """All but times, pictures' bytes, identities and the last bits of features; details as what they mean."""
    for query in (
        "SELECT id, name, kind, thumbnail NOTNULL FROM vehicles",
        "SELECT id, vehicle, view, weight, count FROM prototypes",
        "SELECT id, vehicle, camera, track, first_time, last_time, first_frame, last_frame, score, thumbnail, run, seen,"
        " kind, plate, quality, feature, zones FROM sightings",
        "SELECT id, prototype FROM changes",
        "SELECT name, seq FROM sqlite_sequence ORDER BY name",
        "SELECT key, value FROM meta WHERE key != 'identity'",
    ):
        assert rows_of(one, query) == rows_of(other, query), query
    both = [
        np.array([np.frombuffer(row[0], "<f4") for row in rows_of(path, "SELECT feature FROM prototypes ORDER BY id")])
        for path in (one, other)
    ]
    assert np.abs(both[0] - both[1]).max() < 1e-6
    audits = [rows_of(path, "SELECT id, who, verb, vehicle, detail, undone FROM audit") for path in (one, other)]
    read = [[(*row[:4], json.loads(row[4]), row[5]) for row in audit] for audit in audits]
    assert read[0] == read[1]


def queries_of(seed: int) -> Floats:
    """Some that are near the crowd of `steps`, some that are near nobody."""
    rows = features(40, 1000 + seed)
    rows[:20] = features(6, seed)[np.arange(20) % 6] + 0.05 * rows[:20]
    return rows


def same_search(driver: Any, gallery: Gallery, seed: int = 0, only: dict[str, Any] | None = None) -> None:
    """The driver's gallery finds whom `gallery` finds, in the same order, with scores within 1e-6."""
    queries, fields = queries_of(seed), {} if only is None else {"only": only}
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in (only or {}).items()}
    for k in (1, 3, 100):
        expected = gallery.search(queries, k, only=Filter(**lists))
        found = driver.call("search", features=queries.ravel().tolist(), k=k, **fields)
        assert [[hit[:2] for hit in row] for row in found] == [
            [[hit.vehicle, hit.name] for hit in row] for row in expected
        ]
        for row, hits in zip(found, expected, strict=True):
            assert np.allclose([hit[2] for hit in row], [hit.score for hit in hits], rtol=0, atol=1e-6)


def same_answers(driver: Any, gallery: Gallery, seed: int = 0) -> None:
    """Searches, scores, lists and totals of the driver's gallery are those of `gallery`."""
    same_search(driver, gallery, seed)
    queries = queries_of(seed)
    vehicles = [vehicle.id for vehicle in gallery.vehicles(thumbnails=False)] + [10**6]
    scores = np.reshape(driver.call("scores", features=queries.ravel().tolist(), vehicles=vehicles), (40, -1))
    assert np.allclose(scores, gallery.scores(queries, vehicles).cosines, rtol=0, atol=1e-6)
    s = gallery.stats()
    totals = [s.vehicles, s.prototypes, s.sightings, s.cameras, s.bytes, s.oldest, s.newest, s.retention, s.changes]
    assert driver.call("stats") == totals
    for only in (
        {},
        {"cameras": ["gate"]},
        {"kinds": ["car"], "since": 1e9 + 50},
        {"plates": ["b1*"]},
        {"names": ["CAR*"]},
        {"zones": ["entry"]},
        {"zones": ["exit", 'a "b" \\ c/d'], "cameras": ["gate"]},
        {"zones": ["Su\u0308d"]},
        {"zones": ["nowhere"]},
    ):
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in only.items()}
        assert driver.call("vehicles", only=only) == [
            [v.id, v.name, v.created, v.kind, v.prototypes, v.sightings, list(v.cameras), v.last_seen, v.last_at,
             v.last_camera, len(v.thumbnail or b"")]
            for v in gallery.vehicles(only=Filter(**lists))
        ]  # fmt: skip
        same_search(driver, gallery, seed, only)
    for plates in (["B-0 1"], ["B-0 1", "B-1 1"], ["nobody"], []):
        assert driver.call("with_plates", plates=plates) == sorted(gallery.with_plates(plates))
        assert driver.call("with_other_plates", plates=plates) == sorted(gallery.with_other_plates(plates))


def test_the_empty_galleries_are_alike(tmp_path: Path, drive: Drive) -> None:
    opened(tmp_path / "python.db").close()
    driver = drive()
    driver.call("open", path=str(tmp_path / "native.db"), **SPACE, write=True)
    driver.call("close")
    for query in (
        "SELECT type, name, tbl_name, sql FROM sqlite_master",
        "PRAGMA application_id", "PRAGMA page_size", "PRAGMA journal_mode", "PRAGMA encoding", "PRAGMA user_version",
        "SELECT key, value FROM meta WHERE key != 'identity'",
        "SELECT length(value), typeof(value), value = lower(value) FROM meta WHERE key = 'identity'",
    ):  # fmt: skip
        assert rows_of(tmp_path / "python.db", query) == rows_of(tmp_path / "native.db", query), query
    assert sorted(one.name for one in tmp_path.iterdir()) == ["native.db", "python.db"]
    assert check.check_gallery(tmp_path / "native.db") == []


@pytest.mark.parametrize(("seed", "most", "above"), [(0, 8, 0.9), (1, 2, 0.8), (2, 3, 0.97)])
def test_the_same_calls_give_the_same_gallery(tmp_path: Path, drive: Drive, seed: int, most: int, above: float) -> None:
    """300 calls by both, some of them in transactions, nested ones and such that are rolled back."""
    by_python, by_native, driver = tmp_path / "python.db", tmp_path / "native.db", drive()
    rule = {"max_prototypes": most, "merge_above": above}
    driver.call("open", path=str(by_native), **SPACE, write=True, **rule)
    with opened(by_python, **rule) as gallery:
        for number, step in enumerate(steps(seed, 300)):
            if number % 20 == 7:  # first for nothing
                with pytest.raises(KeyError), gallery.transaction():
                    carried_out(gallery, step)
                    raise KeyError
                assert driver.call("transaction", steps=[step], fail=True) == "undone"
            with gallery.transaction():
                expected = carried_out(gallery, step)
            nested = {"do": "transaction", "steps": [step]}
            assert driver.call("transaction", steps=[nested] if number % 9 == 0 else [step]) in (
                [[expected]],
                [expected],
            )
            if number % 50 == 49:
                same_search(driver, gallery, seed)
    driver.call("close")
    same_tables(by_python, by_native)
    assert rows_of(by_python, "SELECT count(*) FROM prototypes WHERE count > 1")[0][0] >= 3
    assert check.check_gallery(by_native) == [] == repaired(by_native)
    for path in (by_python, by_native):  # each reads the other's
        driver.call("read", path=str(path))
        with read_gallery(path) as reader:
            same_answers(driver, reader, seed)


def test_a_native_reader_follows_a_writer_of_python(tmp_path: Path, drive: Drive) -> None:
    """New, changed, moved and removed prototypes, a merge, a split and their undoing: each is in the next search."""
    path, driver = tmp_path / "g.db", drive()
    with opened(path) as gallery:
        assert driver.call("read", path=str(path)) == [*SPACE.values(), False]
        assert driver.call("search", features=features(1)[0].tolist(), k=3) == [[]]
        for step in steps(5, 150):
            carried_out(gallery, step)
            if gallery.stats().changes % 5 == 0:
                same_search(driver, gallery, 5)
        one, two, three = [vehicle.id for vehicle in gallery.vehicles() if vehicle.prototypes][:3]
        for seed in range(200, 204):
            sent_sighting(gallery, two, seed, 0.5, "live")
        for change in (
            lambda: merge(gallery, one, [two, three]), lambda: undo(gallery), lambda: merge(gallery, three, [one]),
            lambda: split(gallery, two, [max(one.id for one in gallery.sightings(two))]),
            lambda: undo(gallery), lambda: undo(gallery),
        ):  # fmt: skip
            change()
            same_answers(driver, gallery, 5)
        with gallery.transaction():
            gallery.remove(one)
            same_there = driver.call(
                "search", features=features(1)[0].tolist(), k=100
            )  # what is not kept yet is not seen
            assert one in [hit[0] for hit in same_there[0]]
        same_answers(driver, gallery, 5)
        gallery.add_prototype(two, "gate", features(1, 77)[0])
        sql(gallery, "DELETE FROM changes WHERE id < (SELECT max(id) FROM changes)")  # the index is filled anew
        same_answers(driver, gallery, 5)


def test_a_reader_of_python_follows_a_native_writer(tmp_path: Path, drive: Drive) -> None:
    path, driver = tmp_path / "g.db", drive()
    driver.call("open", path=str(path), **SPACE, write=True)
    with read_gallery(path) as reader:
        assert reader.search(features(1), 3) == [[]]
        for number, step in enumerate(steps(6, 150)):
            driver.call("transaction", steps=[step])
            if number % 5 == 0:
                same_search(driver, reader, 6)
        before = reader.stats()
        assert driver.call("hold") == "held"
        driver.call("vehicle", name="not yet")
        assert reader.stats() == before
        same = driver.call("search", features=features(1)[0].tolist(), k=3)
        driver.send("commit")
        assert driver.receive() == "committed"
        assert reader.stats().vehicles == before.vehicles + 1 and same[0]
        assert driver.call("hold") == "held"
        vehicle = driver.call("vehicle", name="never")
        driver.call("prototype", vehicle=vehicle, view="gate", feature=features(1, 99)[0].tolist())
        assert driver.call("search", features=features(1, 99)[0].tolist(), k=1)[0][0][1] == "never"
        driver.send("rollback")
        assert driver.receive() == "undone"
        assert driver.call("search", features=features(1, 99)[0].tolist(), k=1)[0][0][1] != "never"
        same_answers(driver, reader, 6)


def test_what_was_written_natively_is_undone_and_split_by_python(tmp_path: Path, drive: Drive) -> None:
    path, driver = tmp_path / "g.db", drive()
    driver.call("open", path=str(path), **SPACE, write=True)
    for number in (1, 2):
        driver.call("vehicle", name=f"car {number}")
        for seed in range(3):
            seen = sighting(10 * number + seed)
            driver.call(
                "prototype", vehicle=number, view=seen["camera"], feature=seen["feature"], weight=seen["quality"]
            )
            driver.call("sighting", vehicle=number, **seen, score=0.5)
    driver.call("rename", vehicle=1, name="cab")
    driver.call("close")
    before = {table: rows_of(path, f"SELECT * FROM {table}") for table in ("vehicles", "prototypes", "sightings")}
    with opened(path) as gallery:
        merge(gallery, 2, [1])
        undo(gallery)
        split(gallery, 1, [1])
        undo(gallery)
    assert {table: rows_of(path, f"SELECT * FROM {table}") for table in before} == before
    with opened(path) as gallery:
        assert undo(gallery).verb == "rename"
        assert gallery.name_of(1) == "car 1"
    assert check.check_gallery(path) == []
    driver.call("edit", path=str(path))
    driver.call("remove", vehicle=2)
    driver.call("close")
    assert "car 2" not in str(rows_of(path, "SELECT detail FROM audit")) and check.check_gallery(path) == []


def test_a_removal_forgets_what_was_merged_into_it_as_python_does(tmp_path: Path, drive: Drive) -> None:
    path, other, driver = tmp_path / "g.db", tmp_path / "native.db", drive()
    with opened(path) as gallery:
        for number in range(1, 7):
            gallery.add_prototype(gallery.add_vehicle(name=f"car {number}"), "gate", features(1, number)[0])
            sent_sighting(gallery, number, number, 0.5, "")
        merge(gallery, 2, [3])
        merge(gallery, 1, [2])
        merge(gallery, 4, [5])
        undo(gallery)
        gallery.rename(6, "cab")
    shutil.copy(path, other)
    with opened(path) as gallery:
        gallery.remove(1)
        gallery.remove(4)
    driver.call("edit", path=str(other))
    driver.call("remove", vehicle=1)
    driver.call("remove", vehicle=4)
    driver.call("close")
    audits = [
        [(*row[:3], json.loads(row[3])) for row in rows_of(one, "SELECT id, verb, vehicle, detail FROM audit")]
        for one in (path, other)
    ]
    assert audits[0] == audits[1]
    left = {name for name in ("car 1", "car 2", "car 3", "car 4", "car 5", "cab") if name in str(audits[1])}
    assert left == {"car 5", "cab"} and check.check_gallery(other) == []


def test_equal_scores_come_in_the_same_order(tmp_path: Path, drive: Drive) -> None:
    """Sixty vehicles of one feature, some removed and sighted again: of equals the older first, in both."""
    path, driver, same = tmp_path / "g.db", drive(), features(1)[0]
    with opened(path) as gallery:
        for _ in range(60):
            gallery.add_prototype(gallery.add_vehicle(), "gate", same)
        driver.call("read", path=str(path))
        for gone in (1, 7, 30, 59):
            gallery.remove(gone)
            for k in (1, 2, 5, 56):
                hits = driver.call("search", features=same.tolist(), k=k)[0]
                assert [hit[0] for hit in hits] == [hit.vehicle for hit in gallery.search(same[None], k)[0]]
