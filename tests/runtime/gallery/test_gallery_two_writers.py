"""Two that write one gallery: the one that is late waits for a moment, and is refused by the other's number."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harmed_gallery import seen
from made_gallery import opened

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.gallery import open_gallery, read_gallery
from vreid.runtime.gallery.sqlite.check import check_gallery
from vreid.runtime.run import run_session
from vreid.runtime.session import Session

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
        tell(1, "done")
        assert f"is being written by process {two[0].pid}" in hear(1)
        tell(0, "let go")
        assert hear(0) == "done"
    finally:
        for process in two:
            process.communicate()
    with read_gallery(path) as gallery:
        assert {vehicle.name for vehicle in gallery.vehicles()} == acknowledged | {"one hold"}
    assert len(acknowledged) >= 8 and check_gallery(path) == []
    assert [one.name for one in tmp_path.iterdir()] == ["g.db"]


def test_a_verb_that_a_live_run_does_not_do_itself_is_refused_during_one(
    tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str]
) -> None:
    source = device(film(tmp_path / "one.avi", [((0, 0, 255), 0, 20)]))
    known, stop, failed = tmp_path / "known.db", threading.Event(), list[BaseException]()
    with open_gallery(known, fingerprint="colour-1", dim=3, model="colour", write=True) as gallery:
        gallery.add_vehicle("taxi")
    session = Session(
        sources=(f"gate={source}",), model=tiny_model, out=tmp_path / "out", gallery=known, enrol_unknown=True
    )

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
        words = [sys.executable, "-m", "vreid.cli.main", "gallery", "reindex", "--prototypes", "--gallery", str(known)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        stop.set()
        thread.join()
    assert (done.returncode, done.stdout, failed) == (2, "", [])
    assert f"is being written by process {os.getpid()}; stop it" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert main(words[3:]) == 0


def test_the_log_of_a_gallery_that_is_gone_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    """SQLite would bring the vehicles back that were in the file which somebody removed."""
    path, log = tmp_path / "g.db", tmp_path / "g.db-wal"
    with opened(path) as gallery:
        seen(gallery, 3)
        shutil.copy(log, tmp_path / "kept")
    path.unlink()
    shutil.move(tmp_path / "kept", log)
    with pytest.raises(Refused, match="no longer there"):
        opened(path)
    assert [one.name for one in tmp_path.iterdir()] == ["g.db-wal"]
    log.unlink()
    with opened(path) as gallery:
        assert gallery.vehicles() == []
