"""The gallery's file keeps what it acknowledged, has one writer, and refuses what does not fit, untouched."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_gallery import DIM, features, opened

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.sqlite.database import sentences


def other_process(code: str, path: Path) -> subprocess.Popen[str]:
    """A real process that runs `code` with the gallery's path in argv[1] and can speak to us line by line."""
    words = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


KILLED = """
import sys, numpy as np
from vreid.runtime.gallery import open_gallery
gallery = open_gallery(sys.argv[1], fingerprint="aaaaaaaa", dim=8, model="small", write=True)
for number in range(1000):
    vehicle = gallery.add_vehicle(f"car {number}")
    gallery.add_prototype(vehicle, "front", np.eye(8, dtype=np.float32)[number % 8])
    print(vehicle, flush=True)
    if number == 10:
        unfinished = gallery.transaction()
        unfinished.__enter__()
        gallery.add_vehicle("never acknowledged")
        print("open", flush=True)
        sys.stdin.read()
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    process = other_process(KILLED, path)
    said = [line_of(process) for _ in range(12)]
    with pytest.raises(Refused, match=f"written by process {process.pid}"):
        opened(path)
    with opened(path, write=False) as reader:  # beside the writer, even inside its transaction
        assert len(reader.vehicles()) == 11
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with opened(path) as gallery:
        assert [str(vehicle.id) for vehicle in gallery.vehicles()] == said[:11]
        assert gallery.stats().prototypes == 11
        (hits,) = gallery.search(np.eye(DIM, dtype=np.float32)[:1], 2)
        assert [hit.vehicle for hit in hits] == [1, 9]
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.db"]


def test_a_reader_sees_what_the_writer_has_written_since(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as writer, opened(path, write=False) as reader:
        assert reader.search(features(1), 1) == [[]]
        vehicle = writer.add_vehicle()
        writer.add_prototype(vehicle, "front", features(1)[0])
        assert reader.search(features(1), 1)[0][0].vehicle == vehicle


# Opening


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path), pytest.raises(Refused, match="written by this process itself"):
        opened(path)
    opened(path).close()


FOREIGN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_foreign_lock_is_refused_on_opening_and_on_writing(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    opened(path).close()
    gallery = opened(path)
    process = other_process(FOREIGN, path)
    assert line_of(process) == "held"
    try:
        with pytest.raises(Refused, match="locked by another program"):
            gallery.add_vehicle()
        gallery.close()
        with pytest.raises(Refused, match="locked by another program"):
            opened(path)
    finally:
        process.communicate("")
    with opened(path) as again:
        assert again.add_vehicle() == 1


def test_another_models_gallery_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    opened(path).close()
    before = path.read_bytes()
    for changes in ({"fingerprint": "bbbbbbbb", "model": "large"}, {"dim": 9}):
        for write in (True, False):
            with pytest.raises(Refused, match=r"'small' .* reindex --gallery .*g.db --model MANIFEST.json"):
                opened(path, write=write, **changes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.db"]
    assert path.read_bytes() == before


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    connection.close()


@pytest.mark.parametrize("content", ["text", "empty", "sqlite", "folder"])
@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_gallery_is_refused_untouched(tmp_path: Path, content: str, write: bool) -> None:
    path = tmp_path / "g.db"
    if content == "folder":
        path.mkdir()
    elif content == "sqlite":
        foreign(path)
    else:
        path.write_bytes(b"no database, however long it may be. " * 200 if content == "text" else b"")
    before = None if content == "folder" else path.read_bytes()
    with pytest.raises(Refused, match=r"gallery"):
        opened(path, write=write)
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.db"]
    assert before is None or path.read_bytes() == before


def test_a_refused_opening_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="makes one"):
        opened(tmp_path / "g.db", write=False)
    with pytest.raises(Refused, match="there is no gallery"):
        read_gallery(tmp_path / "g.db")
    with pytest.raises(Refused, match="no folder"):
        opened(tmp_path / "nowhere" / "g.db")
    with pytest.raises(Refused, match="max_prototypes"):
        opened(tmp_path / "g.db", max_prototypes=0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_newer_gallery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        gallery.add_prototype(gallery.add_vehicle(), "front", features(1)[0])
    whole = path.read_bytes()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE prototypes SET feature = x'00'")
    connection.close()
    with opened(path) as gallery, pytest.raises(Refused, match="damaged"):
        gallery.search(features(1), 1)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '5' WHERE key = 'schema'")
    connection.close()
    with pytest.raises(Refused, match=r"schema 5 .* newer vreid"):
        opened(path)
    path.write_bytes(whole[:5000])
    with pytest.raises(Refused, match="damaged"), read_gallery(path) as gallery:
        gallery.vehicles()


def test_a_gallery_in_a_folder_that_may_only_be_read_can_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        gallery.add_vehicle("taxi")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with read_gallery(path) as reader:
            assert reader.vehicles()[0].name == "taxi"
        with pytest.raises(Refused, match="may write"):
            opened(path)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_what_sqlite_takes_for_a_lack_of_memory_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Lengths beyond all sense in a damaged file, found by fuzzing the native reader (tests/native)."""
    with pytest.raises(Refused, match="or is damaged; free some"), sentences(tmp_path / "g.db"):
        raise MemoryError
