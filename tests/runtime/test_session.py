"""A session: over files all or nothing, whatever ends it; the gallery learns once and remembers; live it grows."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.sqlite.database import new_gallery
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sinks.annotate import written_video
from vreid.runtime.sources.table import open_source

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def went(session: Session) -> dict[str, Any]:
    return run_session(session, threading.Event())


@pytest.fixture
def session(tmp_path: Path, film: Any, tiny_model: Path) -> Session:
    one = film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    two = film(tmp_path / "two.avi", [(GREEN, 0, 20), (RED, 10, 60)])
    return Session(
        sources=(str(one), str(two)),
        model=tiny_model,
        out=tmp_path / "out",
        gallery=tmp_path / "known.db",
        enrol_unknown=True,
    )


def test_the_second_run_knows_the_vehicles_of_the_first(tmp_path: Path, session: Session) -> None:
    first = went(session)
    assert (first["vehicles"], first["enrolled"], first["known"]) == (2, 2, 0)
    with read_gallery(tmp_path / "known.db") as gallery:
        before = gallery.stats()
    second = went(replace(session, out=tmp_path / "again"))
    assert (second["vehicles"], second["enrolled"], second["known"], second["unknown"]) == (2, 0, 2, 0)
    with read_gallery(tmp_path / "known.db") as gallery:
        after = gallery.stats()
    assert (after.vehicles, after.sightings) == (before.vehicles, 2 * before.sightings)
    for camera in ("one", "two"):
        assert (tmp_path / "again/mot" / f"{camera}.txt").read_text() == (
            tmp_path / "out/mot" / f"{camera}.txt"
        ).read_text()
    assert [path for path in contents(tmp_path) if path.startswith((".", "known.db-", "known.db."))] == []


def test_without_enrolment_nothing_is_written_to_the_gallery(tmp_path: Path, session: Session, film: Any) -> None:
    went(session)
    before = (tmp_path / "known.db").read_bytes()
    stranger = film(tmp_path / "stranger.avi", [(BLUE, 0, 20), (RED, 8, 60)])
    requested = replace(session, sources=(str(stranger),), out=tmp_path / "requested", enrol_unknown=False)
    summary = went(requested)
    assert (summary["vehicles"], summary["known"], summary["unknown"]) == (1, 1, 1)
    assert (tmp_path / "known.db").read_bytes() == before
    assert not list(tmp_path.glob("known.db?*"))


def test_a_run_may_have_a_gallery_of_its_own(tmp_path: Path, session: Session) -> None:
    before = set(contents(tmp_path))
    assert went(replace(session, gallery=None))["enrolled"] == 2
    made = {path.partition("/")[0] for path in set(contents(tmp_path)) - before}
    assert made == {"out"}
    with pytest.raises(Refused, match="needs a --gallery to search, or --enrol-unknown"):
        went(replace(session, gallery=None, enrol_unknown=False))


def test_annotated_videos_are_of_the_same_length(tmp_path: Path, session: Session) -> None:
    """Also that of a camera whose frames come at uneven times: frame n of it at n ** 1.5 / 100 seconds."""
    slow = tmp_path / "slow.mp4"
    with written_video(slow, (160, 120), 10.0) as write:
        for frame in open_source(session.sources[0]):
            write(frame.image, frame.index**1.5 / 100)
    went(replace(session, annotate=True, sources=(*session.sources, str(slow))))
    for camera, seconds in (("one", 4.9), ("two", 4.9), ("slow", 49**1.5 / 100)):
        path = tmp_path / "out" / "video" / f"{camera}.mp4"
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 50
        times = [frame.time for frame in open_source(str(path))]
        assert len(times) == 50 and times[-1] == pytest.approx(seconds, abs=1e-3)


def test_truth_gives_a_score(tmp_path: Path, session: Session) -> None:
    went(session)
    truth = tmp_path / "truth"
    truth.mkdir()
    for camera in ("one", "two"):
        (truth / f"gt_{camera}.txt").write_bytes((tmp_path / "out" / "mot" / f"{camera}.txt").read_bytes())
    score = went(replace(session, gallery=None, truth=truth))["identity"]
    assert score["idf1"] == score["accuracy"] == score["kept_over_cameras"] == 1.0 and score["vehicles"] == 2


# All or nothing


def cut(path: Path, share: float) -> str:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return str(path)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("annotate", [True, False])
def test_a_source_that_breaks_off_leaves_nothing_when_strict(
    tmp_path: Path, session: Session, film: Any, known: bool, annotate: bool
) -> None:
    if known:
        went(session)
    broken = cut(film(tmp_path / "broken.avi", [(BLUE, 0, 20)], frames=60), 0.7)
    before = contents(tmp_path)
    wrong = replace(
        session, sources=(session.sources[0], broken), out=tmp_path / "deep" / "er" / "out", annotate=annotate,
        strict=True,
    )  # fmt: skip
    with pytest.raises(Refused, match="breaks off"):
        went(wrong)
    assert contents(tmp_path) == before and not (tmp_path / "deep").exists()


def test_a_source_that_breaks_off_is_kept_up_to_there_with_a_warning(
    tmp_path: Path, session: Session, film: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = cut(film(tmp_path / "broken.avi", [(BLUE, 0, 20)], frames=100), 0.7)
    summary = went(replace(session, sources=(session.sources[0], broken)))
    assert summary["vehicles"] == 3 and 50 < summary["cameras"]["broken"]["frames"] < 80
    (warning,) = summary["cameras"]["broken"]["warnings"]
    assert "broken.avi breaks off at frame" in warning and warning in caplog.text
    assert "warnings" not in summary["cameras"]["one"]
    assert "breaks off at frame" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cameras"]["broken"]["warnings"] == [warning]


def test_outputs_that_cannot_be_written_leave_the_gallery_as_it_was(tmp_path: Path, session: Session) -> None:
    """The gallery learns only when the folder is written."""
    went(session)
    (tmp_path / "again" / "report.json").mkdir(parents=True)
    known = (tmp_path / "known.db").read_bytes()
    with pytest.raises(Refused, match="in the way"):
        went(replace(session, out=tmp_path / "again"))
    assert [path for path in (tmp_path / "again").rglob("*") if path.is_file()] == []
    assert (tmp_path / "known.db").read_bytes() == known


@pytest.mark.parametrize(
    ("number", "known"),
    [
        (signal.SIGTERM, True),
        (signal.SIGKILL, False),
        # a process each, as the two above
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_in_the_middle_leaves_no_folder_and_the_gallery_as_it_was(
    tmp_path: Path, session: Session, number: signal.Signals, known: bool
) -> None:
    if known:
        went(session)
    road = tmp_path / "road"
    road.mkdir()
    for index, picture in enumerate(frames_of(Path(session.sources[0]))):
        cv2.imwrite(str(road / f"{index}.png"), picture)
    for index in range(50, 1000):  # long enough to be in the middle of it
        (road / f"{index}.png").hardlink_to(road / f"{index % 50}.png")
    before = contents(tmp_path)
    command = [
        sys.executable, "-m", "vreid.cli.main", "run", str(road), session.sources[1], "--out", str(tmp_path / "killed"),
        "--model", str(session.model), "--gallery", str(session.gallery), "--enrol-unknown",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while not list(tmp_path.glob(".killed-*")) and child.poll() is None:  # its draft, made when all is open
            time.sleep(0.01)
        time.sleep(0.05)
        child.send_signal(number)
        said, complaint = child.communicate(timeout=120)
    after = contents(tmp_path)
    if number == signal.SIGKILL:  # nobody is left to tidy up: drafts stay, under names that are hidden
        after = {
            path: held for path, held in after.items() if not path.startswith((".killed-", ".known.db-", "known.db"))
        }
        before.pop("known.db", None)
    else:
        assert (child.returncode, said, complaint) == (130, "", "vreid: interrupted\n")
    assert after == before and not (tmp_path / "killed").exists()
    if known:
        with read_gallery(tmp_path / "known.db") as gallery:
            assert (gallery.stats().vehicles, gallery.stats().sightings) == (2, 4)
    else:
        assert not (tmp_path / "known.db").exists()
    assert went(session)["vehicles"] == 2  # no lock is left


def frames_of(video: Path) -> list[np.ndarray]:
    return [frame.image for frame in open_source(str(video))]


def test_while_a_run_makes_its_gallery_nobody_else_does(tmp_path: Path, session: Session) -> None:
    refused: list[str] = []

    def watch(frames: int) -> None:
        if frames == 20:
            with pytest.raises(Refused, match="is being written by this process") as caught:
                went(replace(session, out=tmp_path / "other"))
            refused.append(str(caught.value))

    summary = run_session(session, threading.Event(), watch)
    assert len(refused) == 1 and summary["enrolled"] == 2 and not (tmp_path / "other").exists()
    with read_gallery(tmp_path / "known.db") as gallery:
        assert gallery.stats().vehicles == 2


def test_a_gallery_that_appears_before_the_lock_is_taken_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "known.db").write_text("another run's")
    with pytest.raises(Refused, match="has just made the gallery"), new_gallery(tmp_path / "known.db"):
        pass
    assert contents(tmp_path) == {"known.db": b"another run's"}


def test_a_reader_may_look_on_during_a_run(tmp_path: Path, session: Session) -> None:
    went(session)

    def watch(frames: int) -> None:
        if frames == 20:
            with read_gallery(tmp_path / "known.db") as gallery:
                assert gallery.stats().sightings == 4

    run_session(replace(session, out=tmp_path / "again"), threading.Event(), watch)


# Live


@pytest.fixture
def live(session: Session, device: Callable[[Path], str]) -> Session:
    """The session with a camera in place of its files."""
    return replace(session, sources=("gate=" + device(Path(session.sources[0])),))


def test_a_live_session_grows_its_outputs_and_its_gallery(tmp_path: Path, live: Session) -> None:
    stop = threading.Event()

    def watch(frames: int) -> None:
        lines = (tmp_path / "out" / "sightings.jsonl").read_text().splitlines()
        if len(lines) >= 3:
            with read_gallery(tmp_path / "known.db") as gallery:
                assert gallery.stats().sightings >= 3
            stop.set()

    summary = run_session(live, stop, watch)
    assert summary["vehicles"] == 2 and summary["cameras"]["gate"]["frame_rate"] == 30.0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["sightings"] == summary["sightings"]


def test_what_a_live_run_learned_stays_when_it_is_broken_off(tmp_path: Path, live: Session) -> None:
    def watch(frames: int) -> None:
        if len((tmp_path / "out" / "sightings.jsonl").read_text().splitlines()) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_session(live, threading.Event(), watch)
    with read_gallery(tmp_path / "known.db") as gallery:
        assert gallery.stats().vehicles >= 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["sightings"] >= 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"truth": True}, "--truth needs files, and gate is live"),
        ({"threshold": 7.0}, "a threshold is a cosine"),
    ],
)
def test_what_a_live_run_cannot_do_is_refused_before_it_begins(
    tmp_path: Path, live: Session, change: dict[str, Any], sentence: str
) -> None:
    if "truth" in change:
        (tmp_path / "truth").mkdir()
        (tmp_path / "truth" / "gate.txt").write_text("1,1,1,1,5,5\n")
        change = {"truth": tmp_path / "truth"}
    with pytest.raises(Refused, match=sentence):
        run_session(replace(live, **change), threading.Event())
    assert not (tmp_path / "out").exists() and not (tmp_path / "known.db").exists()


def test_nothing_to_watch_is_refused(session: Session) -> None:
    with pytest.raises(Refused, match="nothing to watch"):
        went(replace(session, sources=()))


def test_nobody_is_connected_to_by_a_run_that_is_refused(tmp_path: Path, session: Session) -> None:
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    with socket.create_server(("127.0.0.1", 0)) as broker:
        to = (f"mqtt://127.0.0.1:{broker.getsockname()[1]}/site",)
        with pytest.raises(Refused, match=r"there is no gallery .*nowhere\.db"):
            went(replace(session, to=to, gallery=tmp_path / "nowhere.db", enrol_unknown=False))
        broker.settimeout(0.2)
        with pytest.raises(TimeoutError):
            broker.accept()
