"""sightings.jsonl over the restarts of a live run: what was written stays, and every line stays whole."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.records import FinishedTrack, Match, Trace
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sinks.jsonl import JsonlSink

RED = (0, 0, 220)


def tell(sink: JsonlSink, track: int) -> None:
    """One sighting, known by its track."""
    picture, feature = np.zeros((4, 4, 3), np.uint8), np.ones(4, np.float32) / 2
    sighting = FinishedTrack("gate", track, 0, 9, 0.0, 0.9, 2, feature, 3, 0.5, picture)
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    trace = Trace(np.array([9]), boxes, np.array([0.9], np.float32))
    sink.sighting(sighting, Match(track, "é}\n", 0.8, True), trace)


def tracks(path: Path) -> list[int]:
    """Read as a stranger would, every line whole."""
    assert path.read_bytes().endswith(b"\n")
    return [json.loads(line)["track"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_that_grows_is_continued(tmp_path: Path) -> None:
    for start in (1, 3):
        sink = JsonlSink(tmp_path)
        tell(sink, start)
        tell(sink, start + 1)
        sink.close({})
    assert tracks(tmp_path / "sightings.jsonl") == [1, 2, 3, 4]


def test_the_torn_end_of_a_killed_run_is_cut_off_wherever_it_tore(tmp_path: Path) -> None:
    path = tmp_path / "sightings.jsonl"
    sink = JsonlSink(tmp_path)
    tell(sink, 1)
    tell(sink, 2)
    sink.close({})
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in (0, 1, 40, first - 1, first, first + 1, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        sink = JsonlSink(tmp_path)
        tell(sink, 3)
        sink.close({})
        assert tracks(path) == ([3] if end < first else [1, 3]), f"torn after {end} bytes"
    path.write_bytes(whole + bytes(4096))  # what a file system may leave where the power went
    JsonlSink(tmp_path).close({})
    assert path.read_bytes() == whole


def test_a_file_that_was_moved_away_is_left_as_it_is_and_a_new_one_begins(tmp_path: Path) -> None:
    path, kept = tmp_path / "sightings.jsonl", tmp_path / "sightings.1.jsonl"
    sink = JsonlSink(tmp_path)
    tell(sink, 1)
    path.rename(kept)
    tell(sink, 2)
    tell(sink, 3)
    assert tracks(kept) == [1] and tracks(path) == [2, 3]
    with path.open("rb+") as file:  # logrotate's copytruncate
        file.truncate(0)
    tell(sink, 4)
    assert tracks(path) == [4]
    sink.close({})


@pytest.fixture
def session(tmp_path: Path, film: Any, tiny_model: Path) -> Session:
    one = film(tmp_path / "one.avi", [(RED, 0, 20)])
    return Session(
        sources=(str(one),), model=tiny_model, out=tmp_path / "out", gallery=tmp_path / "known.db", enrol_unknown=True
    )


def test_a_live_run_goes_on_where_the_one_before_ended_and_a_finite_one_begins_anew(
    session: Session, device: Callable[[Path], str]
) -> None:
    lines_of_live_run = session.out / "sightings.jsonl"

    def lines() -> list[str]:
        return lines_of_live_run.read_text(encoding="utf-8").splitlines()

    def live(before: int) -> list[str]:
        stop = threading.Event()
        watched = Session(**{**vars(session), "sources": (gate,)})
        run_session(watched, stop, lambda frames: stop.set() if len(lines()) > before else None)
        return lines()

    run_session(session, threading.Event())
    finite = lines()
    run_session(session, threading.Event())
    assert len(lines()) == len(finite) == 1
    gate = "gate=" + device(Path(session.sources[0]))
    first = live(1)
    assert first[:1] != [] and len(first) > 1 and json.loads(first[-1])["camera"] == "gate"
    second = live(len(first))
    assert second[: len(first)] == first and len(second) > len(first)


def events_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_over_files_writes_the_events_of_its_tracks_on_request(session: Session) -> None:
    run_session(session, threading.Event())
    assert not (session.out / "events.jsonl").exists()
    run_session(replace(session, events=True), threading.Event())
    rows = events_of(session.out)
    assert [(row["state"], row["vehicle"], row["final"]) for row in rows] == [
        ("appeared", None, False), ("identified", 1, False), ("left", 1, True)
    ]  # fmt: skip
    assert rows[0]["time"] < rows[1]["time"] < rows[2]["time"] and len({row["key"] for row in rows}) == 1


def test_a_live_run_writes_the_events_of_each_track_before_its_sighting(
    session: Session, device: Callable[[Path], str]
) -> None:
    gate, stop = "gate=" + device(Path(session.sources[0])), threading.Event()
    run_session(session, threading.Event())
    (session.out / "sightings.jsonl").unlink()
    live = replace(session, sources=(gate,), events=True)

    def sightings() -> list[dict[str, Any]]:
        path = session.out / "sightings.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    run_session(live, stop, lambda frames: stop.set() if len(sightings()) >= 2 else None)
    rows = events_of(session.out)
    for seen in sightings():
        own = [row for row in rows if row["track"] == seen["track"]]
        assert [row["state"] for row in own if row["state"] != "identified"] == ["appeared", "left"]
        assert own[-1]["vehicle"] == seen["vehicle"] == 1 and own[-1]["final"] and own[-1]["box"] == seen["box"]
    first = [row for row in rows if row["track"] == 1]
    assert [row["state"] for row in first] == ["appeared", "identified", "left"]
    assert first[1]["time"] < first[2]["time"] and first[1]["known"]


@pytest.mark.parametrize(
    "wrong", [{"stationary_after": 0.0}, {"stationary_every": -1.0}, {"stationary_after": float("nan")}]
)
def test_a_parked_vehicle_is_one_after_a_time_above_zero(session: Session, wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="--stationary-after and --stationary-every are seconds above 0"):
        run_session(replace(session, **wrong), threading.Event())
    assert not session.out.exists() and not session.gallery.exists()
