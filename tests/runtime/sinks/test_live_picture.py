"""The newest picture of a live camera, with what is known of each vehicle now."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from made_outputs import sighted

from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.records import EventState, Frame, Match, TrackEvent
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sinks.annotate import drawn_on, label_of
from vreid.runtime.sinks.live_picture import LivePictures

ROAD = np.full((240, 320, 3), 90, np.uint8)
BOX = np.array([40, 90, 200, 200], np.float32)


def frame(index: int) -> Frame:
    return Frame("gate", index, index / 10, ROAD)


def there(index: int) -> OpenTrack:
    track = OpenTrack((0, 0.0), (0, 0.0))
    track.add(index, index / 10, BOX, 0.9, 2, 100)
    return track


def event(state: EventState, match: Match, final: bool) -> TrackEvent:
    return TrackEvent("1/gate/1", state, sighted()[0], match, BOX, final)


def test_a_provisional_id_is_marked_until_it_is_final(tmp_path: Path) -> None:
    sighting, match, _ = sighted()
    nobody = replace(match, vehicle=None, name=None, score=-np.inf)
    pictures = LivePictures(tmp_path)
    cases: list[tuple[EventState, Match, bool, str]] = [
        ("appeared", nobody, False, "car"),
        ("identified", match, False, "#7? blue van 0.80"),
        ("stationary", match, True, "#7 blue van 0.80"),
    ]
    for second, (state, known, final, text) in enumerate(cases):
        pictures.event(event(state, known, final))
        pictures.show(frame(10 * second), {1: there(10 * second), 2: there(10 * second - 3)})
        assert label_of(known, sighting, final)[0] == text
        wanted = drawn_on(ROAD, [(BOX, label_of(known, sighting, final))])
        found = cv2.imread(str(tmp_path / "gate.jpg"))
        others = [drawn_on(ROAD, [(BOX, label_of(m, sighting, f))]) for s, m, f, _ in cases if s != state]
        off = [float(np.abs(found.astype(int) - one).mean()) for one in (wanted, *others)]
        assert off[0] == min(off) and off[0] < 1.5


def test_a_picture_is_replaced_once_a_second_and_shows_nobody_who_has_left(tmp_path: Path) -> None:
    _, match, _ = sighted()
    pictures = LivePictures(tmp_path)
    pictures.event(event("identified", match, False))
    pictures.show(frame(0), {1: there(0)})
    first = (tmp_path / "gate.jpg").read_bytes()
    pictures.event(event("left", match, True))
    pictures.show(frame(9), {1: there(9)})
    assert (tmp_path / "gate.jpg").read_bytes() == first
    pictures.show(frame(10), {1: there(10)})
    assert np.abs(cv2.imread(str(tmp_path / "gate.jpg")).astype(int) - ROAD).max() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["gate.jpg"]


def test_a_live_run_keeps_a_picture_of_each_camera(
    tmp_path: Path, film: Any, tiny_model: Path, device: Callable[[Path], str]
) -> None:
    video, stop = film(tmp_path / "one.avi", [((0, 0, 220), 0, 20)]), threading.Event()
    picture = tmp_path / "out" / "picture" / "gate.jpg"
    session = Session(
        sources=("gate=" + device(video),), model=tiny_model, out=tmp_path / "out", enrol_unknown=True, annotate=True
    )
    run_session(session, stop, lambda frames: stop.set() if frames > 60 else None)
    assert cv2.imread(str(picture)).shape == (120, 160, 3)
    assert not (tmp_path / "out" / "events.jsonl").exists()
