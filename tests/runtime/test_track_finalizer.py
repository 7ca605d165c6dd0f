"""The track finalizer has its own thread: a slow disk holds nobody up until the queue is full, and no failure there is lost."""

import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime import track_finalizer
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.plates import plate_fits, plate_reader, plate_text
from vreid.runtime.records import FinishedTrack, Match, Trace
from vreid.runtime.status import Stages
from vreid.runtime.track_finalizer import LiveTrackFinalizer, TrackFinalizer

NOWHERE = Trace(np.zeros(1, np.int64), np.zeros((1, 4), np.float32), np.zeros(1, np.float32))


class Recorder:
    """A sink that remembers, and waits for `gate` before each."""

    def __init__(self) -> None:
        self.rows: list[tuple[FinishedTrack, Match]] = []
        self.gate = threading.Event()
        self.gate.set()

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        self.gate.wait(60)
        self.rows.append((sighting, match))

    def close(self, summary: Mapping[str, Any]) -> None:
        pass


def ended(number: int, axis: int = 0) -> tuple[FinishedTrack, Trace]:
    feature = np.eye(4, dtype=np.float32)[axis]
    picture = np.full((8, 8, 3), axis, np.uint8)
    return FinishedTrack(
        "gate", number, number, number, 2.0 * number, 2.0 * number + 1, 2, feature, 1, 0.5, picture
    ), NOWHERE


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=4, model="m", write=True)


def test_the_cameras_wait_only_for_a_full_queue(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_finalizer, "ROOM", 3)
    recorder = Recorder()
    recorder.gate.clear()
    live = LiveTrackFinalizer(Identifier(gallery, 0.6, enrol_unknown=True), [recorder], Stages())
    live.take([ended(1), ended(2), ended(3)])
    assert not recorder.rows  # the sink waits still, and the cameras do not
    free_when_taken = list[bool]()

    def more() -> None:  # more than it has room for
        live.take([ended(number) for number in range(4, 9)])
        free_when_taken.append(recorder.gate.is_set())

    camera = threading.Thread(target=more)
    camera.start()
    camera.join(0.3)  # however short, the camera cannot have come through: only the gate lets it
    assert camera.is_alive() and not recorder.rows
    recorder.gate.set()
    camera.join(60)
    assert free_when_taken == [True]
    live.close()
    assert [sighting.track for sighting, _ in recorder.rows] == list(range(1, 9))
    assert live.tally.sightings == 8 and live.identified == [] and live.status().depth == 0
    assert [match.known for _, match in recorder.rows] == [False] + 7 * [True]


def test_what_the_thread_fails_with_is_raised_where_tracks_are_taken(gallery: Gallery) -> None:
    class Full(Recorder):
        def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
            raise Refused("the disk is full; make room")

    live = LiveTrackFinalizer(Identifier(gallery, 0.6), [Full()], Stages())
    with pytest.raises(Refused, match="make room"):
        for number in range(1, 12_000):
            live.take([ended(number)])
            time.sleep(0.005)
    with pytest.raises(Refused, match="make room"):
        live.close()


def test_the_gallery_is_looked_after_now_and_then(gallery: Gallery) -> None:
    calls, enough = list[float](), threading.Event()

    def idle() -> None:
        calls.append(time.monotonic())
        if len(calls) == 4:
            enough.set()

    live = LiveTrackFinalizer(Identifier(gallery, 0.6), [], Stages(), idle=idle, every=0.2)
    assert enough.wait(60)
    live.close()
    assert all(later - sooner >= 0.19 for sooner, later in pairwise(calls))


def first_letter(picture: Image) -> str | None:
    """Stands for a reader of plates: what colour the crop has."""
    return {0: "hh-ab 1", 1: "HH AB 1"}.get(int(picture[0, 0, 0]))


def test_a_plate_is_read_off_the_best_crop_and_counts_as_evidence(gallery: Gallery) -> None:
    recorder = Recorder()
    read = plate_reader(f"{__name__}:first_letter")
    both = TrackFinalizer(Identifier(gallery, 0.6, enrol_unknown=True), [recorder], Stages(), read)
    both.take([ended(1, 0), ended(2, 1), ended(3, 2)])
    both.close()
    assert [sighting.plate for sighting, _ in recorder.rows] == ["HHAB1", "HHAB1", None]
    vehicles = [match.vehicle for _, match in recorder.rows]
    assert vehicles[0] == vehicles[1] != vehicles[2]  # they look as unlike as can be
    assert plate_text(" - ") is None
    assert plate_fits("HHAB1", "hh-*") and plate_fits("", "*") and not plate_fits(None, "*")
    assert not plate_fits("HHAB12", "HH AB ?")
    for name in ("nowhere:read", f"{__name__}:missing", f"{__name__}:NOWHERE", "plain"):
        with pytest.raises(Refused, match="plate reader"):
            plate_reader(name)


def test_a_live_track_is_read_once(gallery: Gallery) -> None:
    read: list[int] = []

    def reader(picture: Image) -> str | None:
        read.append(int(picture[0, 0, 0]))
        return None

    live = LiveTrackFinalizer(Identifier(gallery, 0.6, enrol_unknown=True), [], Stages(), reader)
    live.take([ended(1, 0), ended(2, 1)])
    live.close()
    assert read == [0, 1]
