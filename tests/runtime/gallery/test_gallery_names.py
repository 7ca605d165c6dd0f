"""Names of any language: one form, one key without case, filters without surprises, and who was named is never purged."""

import hashlib
import json
import os
import shutil
import sqlite3
import time
import unicodedata
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from made_gallery import NewPlace, chosen, features, opened, sighting, sql

from vreid.cli.gallery_reading import moment_text
from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, edits, maintenance, names, read_gallery, transfer
from vreid.runtime.gallery.edits import undo
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.sqlite import check
from vreid.runtime.gallery.sqlite.recover import recovered
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.identify import Identifier

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "names" / "names.json").read_text("utf-8"))
DAY = 86400.0
OLD, NEW = 1.7e9, 1.7e9 + 100 * DAY
WRITTEN = Path(__file__).parents[2] / "data" / "written-by-earlier-commits" / "gallery.db"


def text_of(row: dict[str, str]) -> str:
    return row["text"] if "text" in row else os.fsdecode(bytes.fromhex(row["bytes"]))


def flags(gallery: Gallery) -> dict[str, int]:
    with gallery.reading() as store:
        return {row.name: int(row.named) for row in store.vehicle_rows()}


def keys_hold(gallery: Gallery) -> None:
    with gallery.reading() as store:
        for row in store.vehicle_rows():
            assert store.vehicle_with_key(names.key_of(row.name)) == row.id


# --- names ---


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_names_are_those_of_the_golden_file(row: dict[str, str]) -> None:
    if row["name"] is None:
        with pytest.raises(Refused, match="a vehicle's name must be") as refused:
            names.printable(text_of(row))
        str(refused.value).encode()
    else:
        assert (names.printable(row["text"]), names.key_of(row["text"])) == (row["name"], row["key"])


def test_a_vehicle_is_found_in_any_form_and_case_and_no_second_one_is_called_so(tmp_path: Path) -> None:
    with opened(tmp_path / "g.db") as gallery:
        one = gallery.add_vehicle("Mu\u0308ller Straße")
        assert gallery.name_of(one) == "Müller Straße"
        for text in ("Müller Straße", "mu\u0308ller strasse", "MÜLLER STRASSE"):
            assert gallery.find(text) == one
            with pytest.raises(Refused, match="already has a vehicle named"):
                gallery.add_vehicle(text)
        two = gallery.add_vehicle("жющ")
        with pytest.raises(Refused, match="already has"):
            gallery.rename(two, "MÜLLER straße")
        gallery.rename(two, "ЖЮЩ")
        assert gallery.find("жющ") == two and gallery.name_of(two) == "ЖЮЩ"
        undo(gallery)
        assert gallery.name_of(two) == "жющ"
        with pytest.raises(Refused, match="there is no vehicle"):
            gallery.find("caf\udce9")
        keys_hold(gallery)
    assert check.check_gallery(tmp_path / "g.db") == []


def test_a_name_filter_knows_the_star_and_the_question_mark_and_nothing_else(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        every = ["van [blue]", "ÄRZTE blau", "b", "50 % _", "a]b", "a[b", "Straße 1", "^x", "a\\b"]
        for name in every:
            gallery.add_vehicle(name)
        for pattern, wanted in {
            "van [blue]": ["van [blue]"],
            "*[blue]*": ["van [blue]"],
            "[!a]": [],
            "[b]": [],
            "ärzte*": ["ÄRZTE blau"],
            "A\u0308RZTE *": ["ÄRZTE blau"],
            "STRASSE ?": ["Straße 1"],
            "50 % _": ["50 % _"],
            "5? % ?": ["50 % _"],
            "__ % _": [],
            "a]b": ["a]b"],
            "a[b": ["a[b"],
            "a?b": ["a]b", "a[b", "a\\b"],
            "a\\b": ["a\\b"],
            "*": every,
        }.items():
            found = chosen(gallery, Filter(names=(pattern,)))
            assert [gallery.name_of(vehicle) for vehicle in found] == wanted, pattern
        gallery.add_sighting(3, sighting(seen=OLD, camera="Su\u0308d"), 0.5)
        for wrong in ("a\nb", "\x1b[2J", "caf\udce9"):
            with pytest.raises(Refused, match="a sighting's camera has control characters or is not valid UTF-8"):
                gallery.add_sighting(3, sighting(seen=OLD, camera=wrong), 0.5)
            with pytest.raises(Refused, match="a prototype's view has control characters or is not valid UTF-8"):
                gallery.add_prototype(3, wrong, features(1, 7)[0])
        for changes, score in (
            ({"quality": float("inf")}, 0.5), ({"quality": float("nan")}, 0.5), ({"quality": -0.1}, 0.5),
            ({}, float("nan")), ({}, float("inf")), ({}, 3.0),
        ):  # fmt: skip
            with pytest.raises(Refused, match=r"a sighting's score must be a cosine .* and its quality from 0 to 1"):
                gallery.add_sighting(3, replace(sighting(seen=OLD), **changes), score)  # type: ignore[arg-type]
        for camera in ("Süd", "Su\u0308d"):
            assert chosen(gallery, Filter(cameras=(camera,))) == [3]


# --- who is purged ---


def test_whom_somebody_named_is_never_purged_and_whom_nobody_named_always(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        renamed = gallery.add_vehicle(None, sighting(seen=OLD).picture)
        gallery.add_sighting(renamed, sighting(seen=OLD), 0.5)
        gallery.rename(renamed, "vehicle-0001 Mrs Smith")
        same = gallery.add_vehicle()
        gallery.rename(same, gallery.name_of(same))  # it is to be called so
        gallery.add_vehicle("vehicle-0007-red")
        nobody = gallery.add_vehicle()
        gallery.add_sighting(nobody, sighting(seen=OLD), 0.5)
        sql(place, "UPDATE vehicles SET created = ?", OLD)
        done = maintenance.purge(gallery, NEW)
        assert (done.vehicles, done.pictures) == (1, 1)  # the picture that the run took of her is as old
        assert flags(gallery) == {"vehicle-0001 Mrs Smith": 1, "vehicle-0002": 1, "vehicle-0007-red": 1}
        assert maintenance.purge(gallery, NEW, vehicles=True).vehicles == 3


def test_an_old_film_leaves_nothing_behind_whenever_it_was_processed(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        finder = Identifier(gallery, 0.95, True, run="film")
        finder.assign([sighting(row, seen=OLD + row, track=row + 1) for row in range(3)])
        assert len(gallery.vehicles()) == 3
        created = [row[0] for row in sql(place, "SELECT created FROM vehicles ORDER BY id")]
        assert created == [OLD, OLD + 1, OLD + 2]
        assert maintenance.purge(gallery, OLD) == maintenance.Purged(0, 0, 0)
        done = maintenance.purge(gallery, OLD + 10)
        assert (done.sightings, done.vehicles) == (3, 3)
        assert gallery.vehicles() == []


def test_a_picture_that_somebody_gave_is_kept_with_its_vehicle(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        gallery.add_sighting(gallery.add_vehicle("taxi", sighting(seen=OLD).picture), sighting(seen=OLD), 0.5)
        sql(place, "UPDATE vehicles SET created = ?", OLD)
        assert maintenance.purge(gallery, NEW) == maintenance.Purged(1, 0, 0, change=2)
        assert sql(place, "SELECT thumbnail IS NOT NULL FROM vehicles")[0][0]


def test_merging_splitting_undoing_and_moving_keep_who_was_named(new_place: NewPlace, tmp_path: Path) -> None:
    with opened(new_place("g")) as gallery:
        nobody, taxi, other = gallery.add_vehicle(), gallery.add_vehicle("taxi"), gallery.add_vehicle()
        for vehicle in (nobody, taxi, other):
            gallery.add_prototype(vehicle, "gate", features(vehicle, 7)[vehicle - 1])
            for at in (OLD, OLD + 1):
                gallery.add_sighting(vehicle, sighting(vehicle, seen=at), 0.5)
        edits.merge(gallery, nobody, [taxi])
        assert flags(gallery) == {"vehicle-0001": 1, "vehicle-0003": 0}  # somebody's is in it
        undo(gallery)
        assert flags(gallery) == {"vehicle-0001": 0, "taxi": 1, "vehicle-0003": 0}
        edits.merge(gallery, nobody, [other])
        assert flags(gallery)["vehicle-0001"] == 0
        undo(gallery)
        own = [one.id for one in gallery.sightings(taxi)]
        plain = edits.split(gallery, taxi, own[:1]).vehicle
        assert flags(gallery)[gallery.name_of(plain)] == 0
        undo(gallery)
        edits.split(gallery, taxi, own[:1], "Van")
        assert flags(gallery)["Van"] == 1
        undo(gallery)
        gallery.rename(nobody, "cab")
        assert flags(gallery)["cab"] == 1
        undo(gallery)
        assert flags(gallery)["vehicle-0001"] == 0
        keys_hold(gallery)
        transfer.exported(gallery, tmp_path / "all.jsonl")
        with opened(new_place("other")) as other:
            other.add_vehicle("TAXI")
            moved = transfer.imported(other, tmp_path / "all.jsonl")
            assert moved.renamed == (("taxi", "taxi-2"),)
            assert flags(other) == {"TAXI": 1, "vehicle-0001": 0, "taxi-2": 1, "vehicle-0003": 0}
            keys_hold(other)


def test_an_export_of_an_older_vreid_is_read(new_place: NewPlace, tmp_path: Path) -> None:
    with opened(new_place("g")) as gallery:
        for name in ("taxi", None):
            gallery.add_sighting(gallery.add_vehicle(name, sighting(seen=OLD).picture), sighting(seen=OLD), 0.5)
        transfer.exported(gallery, tmp_path / "new.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    lines[0]["schema"] = 1
    for line in lines:
        for key in ("named", "pictured"):
            line.pop(key, None)
    body = [(json.dumps(line, separators=(",", ":")) + "\n").encode() for line in lines[:-1]]
    lines[-1]["sha256"] = hashlib.sha256(b"".join(body)).hexdigest()
    (tmp_path / "old.jsonl").write_bytes(b"".join(body) + json.dumps(lines[-1]).encode() + b"\n")
    with opened(new_place("other")) as gallery:
        transfer.imported(gallery, tmp_path / "old.jsonl")
        assert flags(gallery) == {"taxi": 1, "vehicle-0002": 0}
        assert maintenance.purge(gallery, NEW).vehicles == 1


# --- what earlier commits wrote ---


def old_names(path: Path) -> dict[int, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, name FROM vehicles"))


def test_a_gallery_of_schema_2_is_read_as_it_is(tmp_path: Path) -> None:
    path = Path(shutil.copy(WRITTEN, tmp_path / "g.db"))
    before = path.read_bytes()
    called = old_names(path)
    with read_gallery(path) as gallery:
        assert {vehicle.id: vehicle.name for vehicle in gallery.vehicles()} == called
        for id_, name in called.items():
            assert gallery.find(f"id={id_}") == id_ and names.key_of(
                gallery.name_of(gallery.find(name))
            ) == names.key_of(name)
        assert chosen(gallery, Filter(names=("vehicle-*",)))
    assert path.read_bytes() == before


def test_an_upgrade_from_schema_2_loses_nobody_and_says_who_has_a_new_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(shutil.copy(WRITTEN, tmp_path / "g.db"))
    called = old_names(path)
    edit_gallery(path).close()
    with edit_gallery(path) as gallery:
        now = {vehicle.id: vehicle.name for vehicle in gallery.vehicles()}
        changed = {
            id_: (called[id_], now[id_]) for id_ in called if unicodedata.normalize("NFC", called[id_]) != now[id_]
        }
        assert now.keys() == called.keys() and len(changed) == 2  # the pairs of the golden file
        assert all(
            new.removesuffix("-2").casefold() == names.key_of(old) or new.endswith("-2")
            for old, new in changed.values()
        )
        for id_, (old, new) in changed.items():
            assert f"vehicle {id_} '{old}' is called '{new}' now" in caplog.text
        assert [change.vehicle for change in gallery.changes() if change.verb == "renumber"] == sorted(changed)
        assert flags(gallery) == {name: int(not name.startswith("vehicle-00")) for name in now.values()}
        began = sql(gallery, "SELECT max(seen) FROM sightings")[0][0]
        created = [row[0] for row in sql(gallery, "SELECT created FROM vehicles WHERE NOT named AND id <= 10")]
        assert created and max(created) <= began  # the film's time, not that of its processing
        keys_hold(gallery)
    assert check.check_gallery(path) == []


def test_names_that_give_way_are_the_same_every_time(tmp_path: Path) -> None:
    """Of one key the lowest id keeps the name, and nobody takes a name that another vehicle has."""
    if sqlite3.sqlite_version_info < (3, 35):
        pytest.skip("this SQLite cannot drop columns, by which the test makes a gallery of schema 2")
    path = tmp_path / "g.db"
    opened(path).close()
    written = ["Taxi", "TAXI", "taxi-2", "u\u0308", "ü", "taxi"]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('vehicles', 'sightings') AND sql NOTNULL"
        for (index,) in connection.execute(indexes).fetchall():
            connection.execute(f"DROP INDEX {index}")
        connection.execute("ALTER TABLE sightings DROP COLUMN zones")
        for column in ("key", "named", "pictured"):
            connection.execute(f"ALTER TABLE vehicles DROP COLUMN {column}")
        connection.executemany("INSERT INTO vehicles (name, created) VALUES (?, 5)", [(name,) for name in written])
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema'")
    done = repaired(path)
    with read_gallery(path) as gallery:
        assert [vehicle.name for vehicle in gallery.vehicles()] == ["Taxi", "TAXI-3", "taxi-2", "ü", "ü-2", "taxi-4"]
    assert len([sentence for sentence in done if "is called" in sentence]) == 3
    assert check.check_gallery(path) == []


def test_a_damaged_gallery_of_schema_2_is_salvaged_with_its_keys(tmp_path: Path) -> None:
    path = Path(shutil.copy(WRITTEN, tmp_path / "g.db"))
    count = len(old_names(path))
    recovered(path)
    with edit_gallery(path) as gallery:
        assert len(gallery.vehicles()) == count
        keys_hold(gallery)
    assert check.check_gallery(path) == []


def test_a_name_that_another_program_wrote_is_found_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        for name in ("taxi", "van", "bus"):
            gallery.add_vehicle(name)
        sql(gallery, "UPDATE vehicles SET name = 'TAXI', key = 'x' WHERE id = 2")
        sql(gallery, "UPDATE vehicles SET name = 'u\u0308' WHERE id = 3")
    assert [finding.kind for finding in check.check_gallery(path)] == ["key", "key"]
    repaired(path)
    assert check.check_gallery(path) == []
    with read_gallery(path) as gallery:
        assert [vehicle.name for vehicle in gallery.vehicles()] == ["taxi", "TAXI-2", "ü"]


# --- times ---


@pytest.mark.parametrize("seen", [1795330800000, 1795330800000000000, float("nan"), float("inf"), -5.0, 1e10])
def test_a_time_that_is_not_in_seconds_is_refused(place: GalleryPlace, seen: float) -> None:
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle("taxi")
        with pytest.raises(Refused, match="seconds since 1970"):
            gallery.add_sighting(vehicle, sighting(seen=seen), 0.5)
        for key in ("first_time", "last_time"):
            if seen > 0 or seen != seen:
                with pytest.raises(Refused, match="in seconds on its source's clock"):
                    gallery.add_sighting(vehicle, replace(sighting(seen=OLD), **{key: seen}), 0.5)
        assert gallery.stats().sightings == 0


def test_a_time_that_is_in_the_file_is_read_found_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "g.db"
    written = (1795330800.0, 1795330800e3, 1795330800e6, 1795330800e9, -1e300, 1e300, 3e10)
    with opened(path) as gallery:
        vehicle = gallery.add_vehicle("taxi")
        for at in written:
            row = gallery.add_sighting(vehicle, sighting(seen=5.0), 0.5)
            sql(gallery, "UPDATE sightings SET seen = ? WHERE id = ?", at, row)
        sql(gallery, "UPDATE vehicles SET created = 1795330800000.0")
    assert [moment_text(at) for at in written[1:]] == ["-"] * 6
    for words in (
        ["list"],
        ["stats"],
        ["show", "taxi"],
        ["list", "--json"],
        ["list", "--html", str(tmp_path / "g.html")],
    ):
        assert main(["gallery", *words, "--gallery", str(path)]) == 0
    capsys.readouterr()
    kinds = [finding.kind for finding in check.check_gallery(path)]
    assert sorted(kinds) == ["created"] + ["time"] * 6
    repaired(path)
    assert check.check_gallery(path) == []
    with read_gallery(path) as gallery:
        seen = [row[0] for row in sql(gallery, "SELECT seen FROM sightings ORDER BY id")]
        assert seen[:4] == [1795330800.0] * 4 and all(1.7e9 < at < 1e10 for at in seen)
        assert sql(gallery, "SELECT created FROM vehicles")[0] == (1795330800.0,)


def test_a_time_is_shown_with_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert moment_text(1.7e9) == "2023-11-15 03:43:20+05:30"
    finally:
        monkeypatch.undo()
        time.tzset()
