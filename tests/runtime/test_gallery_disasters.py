"""Full disks, read-only galleries, two writers, damaged pages and indexes: one sentence each, and nothing is lost."""

import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_gallery import features, opened

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.galleries import index_file, retention
from vreid.runtime.galleries.checking import checked
from vreid.runtime.galleries.repairing import repaired
from vreid.runtime.galleries.transfer import exported
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery, read_gallery
from vreid.runtime.records import Sighting
from vreid.runtime.session import Session, run_session

TABLES = ("vehicles", "prototypes", "sightings")
Rows = dict[str, dict[int, tuple[Any, ...]]]


def enrolled(gallery: Gallery, count: int, seed: int = 0, at: float = 1e9) -> None:
    rng = np.random.default_rng(seed)
    with gallery.transaction():
        for place, feature in enumerate(features(count, seed)):
            vehicle = gallery.add_vehicle(f"car {seed} {place}")
            picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
            gallery.add_prototype(vehicle, "gate", feature, 0.5)
            gallery.add_sighting(
                vehicle, Sighting("gate", 1, 0, 9, 0.0, 1.0, 2, feature, 3, 0.5, picture, at + place), 0.5
            )


def rows_of(path: Path) -> Rows:
    """Every row that plain SQLite can read, one by one."""
    found: Rows = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for table in TABLES:
            found[table] = {}
            for id_ in range(1, 320):
                try:
                    row = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (id_,)).fetchone()
                except sqlite3.DatabaseError:
                    continue
                if row is not None:
                    found[table][id_] = row
    return found


def said(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """A verb's exit code and its one sentence."""
    code = main(["gallery", *map(str, words)])
    lines = capfd.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    assert code != 2 or len(lines) == 1, lines
    return code, "\n".join(lines)


def mounted(*words: str) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", *words], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")


# A full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted("-t", "tmpfs", "-o", "size=2m", "vreid-test", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def filled(disk: Path, room: int) -> Path:
    """Leaves `room` bytes on the disk."""
    space = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - room)))
    return disk / "filler"


@pytest.mark.parametrize("room", [0, 40_000, 80_000])
def test_a_disk_that_is_full_while_enrolling(disk: Path, room: int) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 40)
    before, filler = rows_of(path), filled(disk, room)
    with pytest.raises(Refused, match=r"full|cannot be") as refusal, opened(path) as gallery:
        enrolled(gallery, 200, 1)
    assert "\n" not in str(refusal.value)
    filler.unlink()
    assert checked(path) == [] and rows_of(path) == before
    with opened(path) as gallery:
        enrolled(gallery, 3, 2)
        assert gallery.stats().vehicles == 43


def test_a_writer_whose_disk_is_full_goes_on_when_there_is_room(disk: Path) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 5)
        filler = filled(disk, 0)
        with pytest.raises(Refused, match="is full; make room"):
            enrolled(gallery, 200, 1)
        assert len(gallery.search(features(1), 9)[0]) == 5  # and it still answers
        filler.unlink()
        enrolled(gallery, 3, 2)
        assert len(gallery.search(features(1), 9)[0]) == 8
    assert checked(path) == []


def test_a_purge_without_room_to_compact_has_purged_all_the_same(
    disk: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 20)
        enrolled(gallery, 400, 1, time.time())
    index = path.with_name("g.db.hnsw.index")
    index.write_bytes(b"features")
    size, filler = path.stat().st_size, filled(disk, 400_000)
    assert size > 600_000
    code, _ = said(capfd, "purge", "--older-than", "1d", "--gallery", path)
    assert code == 0 and not index.exists()
    assert "no room to make the file smaller" in caplog.text
    assert path.stat().st_size == size
    filler.unlink()
    with read_gallery(path) as gallery:
        assert (gallery.stats().sightings, gallery.stats().vehicles) == (400, 420)
    assert checked(path) == []
    with edit_gallery(path) as gallery:
        retention.compact(gallery)
    assert path.stat().st_size < size


def test_a_purge_on_a_disk_without_any_room_is_refused(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 300)
    before, filler = rows_of(path), filled(disk, 0)
    code, sentence = said(capfd, "purge", "--older-than", "1d", "--gallery", path)
    assert code == 2 and ("full" in sentence or "cannot be" in sentence)
    filler.unlink()
    assert checked(path) == [] and rows_of(path) == before


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_export_to_a_full_disk_leaves_nothing(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 100)
    before = path.read_bytes()
    filled(disk, 20_000)
    code, sentence = said(capfd, "export", disk / name, "--gallery", path)
    assert code == 2 and "make room" in sentence
    assert [one.name for one in disk.iterdir()] == ["filler"] and path.read_bytes() == before


def test_an_index_that_has_no_room_is_not_kept(
    disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index_file, "LEAST", 100)
    path = disk / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 300)
    filled(disk, 60_000)
    with opened(path, write=False, index="hnsw") as reader:
        assert [row[0].vehicle for row in reader.search(features(20), 1)] == list(range(1, 21))
    assert "could not be kept" in caplog.text and len(caplog.records) == 1
    assert sorted(one.name for one in disk.iterdir()) == ["filler", "g.db"]


def test_a_live_run_whose_disk_is_full_says_so_and_keeps_what_it_told(
    disk: Path, tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str]
) -> None:
    source = device(film(tmp_path / "one.avi", [((0, 0, 255), 0, 20), ((0, 255, 0), 8, 70)]))
    known, out, stop = disk / "known.db", tmp_path / "out", threading.Event()
    with open_gallery(known, fingerprint="colour-1", dim=3, model="colour", write=True):
        filler = filled(disk, 150_000)
    session = Session((f"gate={source}",), tiny_model, "motion", out, known, enrol_unknown=True)
    late = threading.Timer(60, stop.set)
    late.start()
    with pytest.raises(Refused, match=r"known\.db is full|known\.db cannot be used"):
        run_session(session, stop)
    late.cancel()
    filler.unlink()
    told = (out / "sightings.jsonl").read_text().count("\n")
    with read_gallery(known) as gallery:
        assert gallery.stats().sightings == told > 0
    assert checked(known) == []


# What may only be read


@pytest.fixture(params=["file", "folder"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A gallery whose file, or whole file system, may only be read, by root too."""
    place = tmp_path / "closed"
    place.mkdir()
    path = place / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 5)
    what = path if request.param == "file" else place
    mounted("--bind", str(what), str(what))
    try:
        mounted("-o", "remount,ro,bind", str(what))
        yield path
    finally:
        subprocess.run(["umount", "-l", str(what)], check=True)


def test_a_gallery_that_may_only_be_read_is_read_and_never_written(
    closed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = closed.read_bytes()
    for words in (["list"], ["stats"], ["show", "car 0 1"], ["audit"], ["check"], ["export", tmp_path / "all.jsonl"]):
        assert said(capfd, *words, "--gallery", closed)[0] == 0
    for words in (
        ["rename", "car 0 1", "x"], ["remove", "car 0 1"], ["purge", "--older-than", "1d"], ["merge", "1", "2"],
        ["retain", "30d"], ["reindex", "--prototypes"], ["import", tmp_path / "all.jsonl", "--again"],
    ):  # fmt: skip
        code, sentence = said(capfd, *words, "--gallery", closed)
        assert code == 2 and "g.db" in sentence and ("may write" in sentence or "permissions" in sentence), sentence
    assert closed.read_bytes() == before
    # SQLite makes an empty log beside a file that may only be read, where the folder may be written, and leaves it
    assert {one.name for one in closed.parent.iterdir()} <= {"g.db", "g.db-wal", "g.db-shm"}
    with read_gallery(closed, "hnsw") as reader:
        assert reader.search(features(3), 1)[2][0].vehicle == 3


# Two writers

RACER = """
import sys
from vreid.models.errors import Refused
from vreid.runtime.gallery import open_gallery
print("ready", flush=True)
for line in sys.stdin:
    try:
        with open_gallery(sys.argv[1], fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
            gallery.add_vehicle(f"{sys.argv[2]} {line.strip()}")
            if line.startswith("hold"):
                print("held", flush=True)
                sys.stdin.readline()
        print("done", flush=True)
    except Refused as refusal:
        print(refusal, flush=True)
"""


def test_two_processes_that_write_at_the_same_moment(tmp_path: Path) -> None:
    """They wait for each other for a moment, and one that finds the other at it for longer is refused by its number."""
    path = tmp_path / "g.db"
    two = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]

    def tell(place: int, word: str) -> None:
        pipe = two[place].stdin
        assert pipe is not None
        pipe.write(word + "\n")
        pipe.flush()

    def hear(place: int) -> str:
        pipe = two[place].stdout
        assert pipe is not None
        return pipe.readline().strip()

    try:
        assert [hear(0), hear(1)] == ["ready", "ready"]
        acknowledged = set()
        for number in range(8):  # the first makes the gallery
            for place in (0, 1):
                tell(place, str(number))
            for place, name in enumerate(("one", "two")):
                if (answer := hear(place)) == "done":
                    acknowledged.add(f"{name} {number}")
                else:
                    assert f"process {two[1 - place].pid}" in answer, answer
        tell(0, "hold")
        assert hear(0) == "held"
        tell(1, "beside")
        assert f"is being written by process {two[0].pid}" in hear(1)
        tell(0, "let go")
        assert hear(0) == "done"
    finally:
        for process in two:
            process.communicate()
    with read_gallery(path) as gallery:
        assert {vehicle.name for vehicle in gallery.vehicles()} == acknowledged | {"one hold"}
    assert len(acknowledged) >= 8 and checked(path) == []
    assert [one.name for one in tmp_path.iterdir()] == ["g.db"]


def test_a_verb_beside_a_live_run_is_refused(
    tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str]
) -> None:
    source = device(film(tmp_path / "one.avi", [((0, 0, 255), 0, 20)]))
    known, stop, failed = tmp_path / "known.db", threading.Event(), list[BaseException]()
    with open_gallery(known, fingerprint="colour-1", dim=3, model="colour", write=True) as gallery:
        gallery.add_vehicle("taxi")
    session = Session((f"gate={source}",), tiny_model, "motion", tmp_path / "out", known, enrol_unknown=True)

    def live() -> None:
        try:
            run_session(session, stop)
        except Refused as refusal:
            failed.append(refusal)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        while not known.with_name("known.db.lock").exists():
            stop.wait(0.01)
        words = [sys.executable, "-m", "vreid.cli.main", "gallery", "rename", "taxi", "cab", "--gallery", str(known)]
        beside = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        stop.set()
        thread.join()
    assert (beside.returncode, beside.stdout, failed) == (2, "", [])
    assert f"is being written by process {os.getpid()}; stop it" in beside.stderr
    assert len(beside.stderr.splitlines()) == 1
    assert main(words[3:]) == 0
    with read_gallery(known) as gallery:
        assert gallery.vehicles()[0].name == "cab"


def test_the_log_of_a_gallery_that_is_gone_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    """SQLite would bring the vehicles back that were in the file which somebody removed."""
    path, log = tmp_path / "g.db", tmp_path / "g.db-wal"
    with opened(path) as gallery:
        enrolled(gallery, 3)
        shutil.copy(log, tmp_path / "kept")
    path.unlink()
    shutil.move(tmp_path / "kept", log)
    with pytest.raises(Refused, match="no longer there"):
        opened(path)
    assert [one.name for one in tmp_path.iterdir()] == ["g.db-wal"]
    log.unlink()
    with opened(path) as gallery:
        assert gallery.vehicles() == []


# Damage


def flipped(data: bytes, start: int, stop: int, count: int, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(start, stop)] ^= rng.randrange(1, 256)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_in_pages_are_harmless_or_refused_and_mended(tmp_path: Path, seed: int) -> None:
    """Ten pages a seed: nothing but sentences, readers change no byte, and a repair keeps each row that was whole."""
    path, rng = tmp_path / "g.db", random.Random(seed)
    with opened(path) as gallery:
        enrolled(gallery, 60)
    whole, before = path.read_bytes(), rows_of(path)
    pages = range(2, len(whole) // 4096)  # of the first two, what the tables are and whose features: see the next test
    for page in rng.sample(pages, 10):
        for one in tmp_path.iterdir():
            one.unlink()
        harmed = flipped(whole, page * 4096, page * 4096 + 4096, rng.choice([1, 3, 40]), rng)
        path.write_bytes(harmed)
        there = rows_of(path)
        for read in (
            lambda gallery: gallery.vehicles(),
            lambda gallery: gallery.search(features(3), 5),
            lambda gallery: exported(gallery, tmp_path / "all.jsonl"),
        ):
            try:
                with read_gallery(path) as gallery:
                    read(gallery)  # type: ignore[no-untyped-call]
            except Refused as refusal:
                assert "\n" not in str(refusal) and "damaged" in str(refusal), refusal
        found = checked(path)
        assert path.read_bytes() == harmed
        repaired(path)
        assert checked(path) == []
        after = rows_of(path)
        for table in TABLES:
            sound = {id_: row for id_, row in there[table].items() if before[table].get(id_) == row}
            assert {id_: row for id_, row in after[table].items() if id_ in sound} == sound, (page, table, found)


@pytest.mark.parametrize("page", [0, 1])
def test_what_leads_to_everything_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], page: int
) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        enrolled(gallery, 20)
    data = path.read_bytes()
    harmed = flipped(data, page * 4096 + 100, page * 4096 + 4096, 200, random.Random(page))
    path.write_bytes(harmed)
    for words in (["list"], ["show", "car 0 1"], ["export", tmp_path / "all.jsonl"], ["rename", "1", "x"], ["undo"]):
        code, sentence = said(capfd, *words, "--gallery", path)
        assert code == 2 and "damaged" in sentence, sentence
    assert said(capfd, "check", "--gallery", path)[0] == 1
    code, sentence = said(capfd, "check", "--repair", "--gallery", path)
    assert code == 2 and "restore a copy" in sentence
    assert path.read_bytes() == harmed and [one.name for one in tmp_path.iterdir()] == ["g.db"]


def test_an_index_file_with_flipped_bytes_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index_file, "LEAST", 100)
    path, rng = tmp_path / "g.db", random.Random(0)
    with opened(path) as gallery:
        enrolled(gallery, 150)
    asked = features(8, 9)
    with opened(path, write=False) as flat, opened(path, write=False, index="hnsw") as reader:
        true = [[hit.vehicle for hit in hits] for hits in flat.search(asked, 5)]
        reader.search(asked, 5)
    file = path.with_name("g.db.hnsw.index")
    whole = file.read_bytes()
    for number in range(20):
        cut = whole[: rng.randrange(len(whole))]
        file.write_bytes(cut if number % 4 == 0 else flipped(whole, 0, len(whole), rng.choice([1, 50]), rng))
        caplog.clear()
        with opened(path, write=False, index="hnsw") as reader:
            assert [[hit.vehicle for hit in hits] for hits in reader.search(asked, 5)] == true
        (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "built anew" in warning.getMessage()
        assert len(file.read_bytes()) == len(whole)  # mended
