"""A gallery whose disk is full: one sentence, nothing is lost, and it goes on where there is room again."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harmed_gallery import mounted, rows_of, said, seen
from made_gallery import features, opened

from vreid.models.errors import GalleryFull, Refused
from vreid.runtime.gallery import edit_gallery, open_gallery, read_gallery
from vreid.runtime.gallery.index import vehicle_index
from vreid.runtime.gallery.sqlite.check import check_gallery
from vreid.runtime.run import run_session
from vreid.runtime.session import Session


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
        seen(gallery, 40)
    before, filler = rows_of(path), filled(disk, room)
    with pytest.raises(Refused, match=r"full|cannot be") as refusal, opened(path) as gallery:
        seen(gallery, 200, 1)
    assert "\n" not in str(refusal.value)
    filler.unlink()
    assert check_gallery(path) == [] and rows_of(path) == before
    with opened(path) as gallery:
        seen(gallery, 3, 2)
        assert gallery.stats().vehicles == 43


def test_a_writer_whose_disk_is_full_goes_on_when_there_is_room(disk: Path) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 5)
        filler = filled(disk, 0)
        with pytest.raises(Refused, match="is full; make room"):
            seen(gallery, 200, 1)
        assert len(gallery.search(features(1), 9)[0]) == 5  # and it still answers
        filler.unlink()
        seen(gallery, 3, 2)
        assert len(gallery.search(features(1), 9)[0]) == 8
    assert check_gallery(path) == []


@pytest.mark.parametrize("room", [0, 16_000])
def test_a_gallery_without_room_to_open_it_says_so(disk: Path, room: int) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 5)
    filler = filled(disk, room)
    for opening in (read_gallery, edit_gallery):
        with pytest.raises(GalleryFull, match="is full; make room"):
            opening(path)
    filler.unlink()
    with read_gallery(path) as reader:
        assert reader.stats().vehicles == 5
    assert [one.name for one in disk.iterdir()] == ["g.db"]


def test_a_lock_that_has_no_room_is_not_held(disk: Path) -> None:
    """This process goes on, as a server does, and so would the lock."""
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 5)
    with read_gallery(path) as reader:
        filler = filled(disk, 0)
        with pytest.raises(GalleryFull, match="is full; make room"):
            edit_gallery(path)
        assert not (disk / "g.db.lock").exists()
        filler.unlink()
        with edit_gallery(path) as gallery:
            gallery.add_vehicle("taxi")
        assert reader.stats().vehicles == 6


def test_a_purge_without_room_to_compact_has_purged_all_the_same(
    disk: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 20)
        seen(gallery, 400, 1, time.time())
    size, filler = path.stat().st_size, filled(disk, 400_000)
    assert size > 600_000
    code, _ = said(capfd, "purge", "--older-than", "1d", "--gallery", path)
    assert code == 0
    assert "no room to make the file smaller" in caplog.text
    assert path.stat().st_size == size
    filler.unlink()
    with read_gallery(path) as gallery:
        assert (gallery.stats().sightings, gallery.stats().vehicles) == (400, 420)
    assert check_gallery(path) == []
    with edit_gallery(path) as gallery:
        gallery.compact()
    assert path.stat().st_size < size


def test_a_purge_on_a_disk_without_any_room_is_refused(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 300)
    before, filler = rows_of(path), filled(disk, 0)
    code, sentence = said(capfd, "purge", "--older-than", "1d", "--gallery", path)
    assert code == 2 and ("full" in sentence or "cannot be" in sentence)
    filler.unlink()
    assert check_gallery(path) == [] and rows_of(path) == before


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_export_to_a_full_disk_leaves_nothing(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        seen(gallery, 100)
    before = path.read_bytes()
    filled(disk, 20_000)
    code, sentence = said(capfd, "export", disk / name, "--gallery", path)
    assert code == 2 and "make room" in sentence
    assert [one.name for one in disk.iterdir()] == ["filler"] and path.read_bytes() == before


def test_an_index_that_has_no_room_is_not_kept(
    disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 100)
    path = disk / "g.db"
    with opened(path) as gallery:
        seen(gallery, 300)
    filled(disk, 60_000)
    with opened(path, write=False, index="hnsw") as reader:
        assert [row[0].vehicle for row in reader.search(features(20), 1)] == list(range(1, 21))
    assert "could not be kept" in caplog.text and len(caplog.records) == 1
    assert sorted(one.name for one in disk.iterdir()) == ["filler", "g.db"]


def test_a_live_run_whose_disk_is_full_says_so_and_keeps_what_it_wrote(
    disk: Path, tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str]
) -> None:
    source = device(film(tmp_path / "one.avi", [((0, 0, 255), 0, 20), ((0, 255, 0), 8, 70)]))
    known, out, stop = disk / "known.db", tmp_path / "out", threading.Event()
    with open_gallery(known, fingerprint="colour-1", dim=3, model="colour", write=True):
        filler = filled(disk, 150_000)
    session = Session(sources=(f"gate={source}",), model=tiny_model, out=out, gallery=known, enrol_unknown=True)
    late = threading.Timer(60, stop.set)
    late.start()
    with pytest.raises(Refused, match=r"known\.db is full|known\.db cannot be used"):
        run_session(session, stop)
    late.cancel()
    filler.unlink()
    written = (out / "sightings.jsonl").read_text().count("\n")
    with read_gallery(known) as gallery:
        assert gallery.stats().sightings == written > 0
    assert check_gallery(known) == []
