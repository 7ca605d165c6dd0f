"""The guards of enrolment: an alarm of many new vehicles at once, and a least quality; over files, live, and in the messages."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paced_camera import PacedCamera

from vreid.models.errors import Refused
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.embedder import open_embedder
from vreid.runtime.gallery import open_gallery, read_gallery
from vreid.runtime.guards import (
    LONGEST_S,
    MOST_CAMERAS,
    NEW_CAMERA_MOST,
    NEW_CAMERA_S,
    TIMES_USUAL,
    USUAL_ARRIVALS,
    WINDOW_S,
    Arrivals,
    GuardRules,
    Guards,
)
from vreid.runtime.identify import Identifier
from vreid.runtime.pipeline import Parts, Run
from vreid.runtime.records import Detections, FinishedTrack, Frame, Match, Notice
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.status import Status
from vreid.runtime.tracker import Tracker
from vreid.runtime.watched_cameras import CameraParts

FLOOR = 5


def fed(arrivals: Arrivals, since: float, seconds: float, every: float = 0.0) -> float:
    """Frames once a second, with a new vehicle every `every` seconds (0: none) -> when the last one was."""
    changes = [
        now
        for now in np.arange(since, since + seconds)
        if arrivals.see(float(now), int(every > 0 and (now - since) % every < 1))
    ]
    assert not changes
    return since + seconds


def known(every: float = 0.0) -> tuple[Arrivals, float]:
    """A camera that was watched for long enough."""
    arrivals = Arrivals(FLOOR)
    return arrivals, fed(arrivals, 0.0, NEW_CAMERA_S + 120, every)


def test_an_alarm_begins_over_the_limit_and_is_over_at_half_of_it() -> None:
    arrivals, now = known()
    assert not arrivals.see(now, FLOOR)
    assert arrivals.see(now + 1, 1) and arrivals.began == now + 1
    assert not arrivals.see(now + WINDOW_S - 0.1, 0)  # both are still in the window
    assert arrivals.see(now + WINDOW_S + 0.5, 0) and arrivals.began is None and arrivals.alarms == 1
    assert arrivals.in_alarm(now + 1) and arrivals.in_alarm(now + 1 - WINDOW_S + 0.1)
    assert not arrivals.in_alarm(now + 1 - WINDOW_S) and not arrivals.in_alarm(now + 2 * WINDOW_S)


def test_what_was_ever_usual_in_a_day_is_no_alarm() -> None:
    """At two seconds a vehicle five are in a window, so that ten are no alarm and eleven are."""
    busy, now = known(every=2.0)
    assert busy.limit == TIMES_USUAL * 5
    now = fed(busy, now, WINDOW_S)
    assert not busy.see(now, 10) and busy.see(now, 1)
    quiet, now = known(every=2.0)
    now = fed(quiet, now, 25 * 3600.0)
    assert quiet.limit == FLOOR


def test_what_an_alarm_counts_is_not_usual_until_it_has_lasted() -> None:
    arrivals, now = known()
    assert arrivals.see(now, 50)
    while arrivals.began is not None and now < 3 * LONGEST_S:
        now += 1
        arrivals.see(now, 2)
    assert LONGEST_S < now - NEW_CAMERA_S < LONGEST_S + 300  # twenty in a window have become usual
    assert arrivals.limit >= TIMES_USUAL * 20 and arrivals.alarms == 1
    brief, now = known()
    assert brief.see(now, 50)
    assert [brief.see(now + second, 0) for second in range(1, 200)].count(True) == 1 and brief.limit == FLOOR


def test_a_camera_that_is_new_may_be_a_busy_one() -> None:
    arrivals = Arrivals(FLOOR)
    assert not arrivals.see(0.0, NEW_CAMERA_MOST) and arrivals.see(0.1, 1)


def test_a_clock_that_begins_anew_ends_what_was_of_the_old_one() -> None:
    arrivals, now = known()
    assert arrivals.see(now, 50)
    assert arrivals.see(0.0, 0)  # over: nothing is in the window
    assert not arrivals.in_alarm(now)


def test_hours_without_frames_do_not_make_a_camera_known() -> None:
    arrivals = Arrivals(FLOOR)
    arrivals.see(0.0, 0)
    arrivals.see(10 * NEW_CAMERA_S, 0)
    assert arrivals.limit == NEW_CAMERA_MOST


def track(first: float = 0.0, quality: float = 0.5, camera: str = "gate") -> FinishedTrack:
    feature, picture = np.ones(3, np.float32), np.zeros((8, 8, 3), np.uint8)
    return FinishedTrack(camera, 1, 0, 1, first, first + 1, 2, feature, 1, quality, picture)


def test_the_log_and_the_notice_say_when_it_begins_and_is_over(caplog: pytest.LogCaptureFixture) -> None:
    guards = Guards(GuardRules(FLOOR, 0.1))
    for second in range(int(NEW_CAMERA_S) + 1):
        assert guards.see("gate", float(second), 0) is None
    with caplog.at_level(logging.WARNING, "vreid"):
        began = guards.see("gate", NEW_CAMERA_S + 1, 9, began=1e9)
        assert guards.see("gate", NEW_CAMERA_S + 2, 9) is None
        assert guards.why_withheld(track(NEW_CAMERA_S + 1)) == "alarm" and guards.alarm("gate") == (True, 1)
        assert guards.why_withheld(track(NEW_CAMERA_S + 1, camera="yard")) is None and guards.alarm("yard") == (
            False,
            0,
        )
        over = guards.see("gate", NEW_CAMERA_S + 30, 0, began=1e9)
    assert began == Notice(
        "alarms", "gate", 1e9 + 601, {"state": "begun", "new": 9, "limit": FLOOR, "time": NEW_CAMERA_S + 1}
    )
    assert over is not None and (over.fields["state"], over.fields["lasted"]) == ("over", 29.0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and said[0].startswith("gate: 9 new vehicles within 10 s, where up to 5 are usual")
    assert guards.why_withheld(track(0.0, 0.09)) == "quality" and guards.why_withheld(track(0.0, 0.1)) is None
    off = Guards(GuardRules(0, 0.0))
    assert off.see("gate", 0.0, 1000) is None and off.why_withheld(track(0.0, 0.0)) is None


@pytest.mark.parametrize("road", ["traffic", "highway"])
def test_the_busiest_real_traffic_is_no_alarm(shared: Path, road: str) -> None:
    """Tracks of a network's boxes on two motorways, where up to 60 new vehicles are in a window."""
    boxes = shared / "data" / "motorway" / "boxes" / f"{road}.txt"
    detector, tracker = open_detector(f"replay:{boxes}"), Tracker()
    known, most, arrivals = set[int](), 0, Arrivals(GuardRules().most_new)
    for index in range(450):
        [found] = detector.detect([Frame(road, index, index / 30, np.zeros((720, 1280, 3), np.uint8))])
        assert found is not None
        new = set(tracker.update(index / 30, found, (1280, 720)).ids.tolist()) - known
        known |= new
        assert not arrivals.see(index / 30, len(new))
        most = max(most, arrivals.count)
    assert most > GuardRules().most_new  # so that the limit of a camera that nobody knows is what counts


# In a run

COLOURS = [(255 * (n & 1), 255 * (n >> 1 & 1), 255 * (n >> 2 & 1)) for n in range(1, 7)]


class Painted:
    """A detector that knows by the frame's number where this video has its vehicles."""

    first_score, least_travel = 0.5, 0.0
    kinds = None

    def __init__(self, drives: Sequence[tuple[Any, int, int]]) -> None:
        self._drives = drives

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._of(frame.index) for frame in frames]

    def forget(self, camera: str) -> None:
        """Nothing is remembered."""

    def _of(self, index: int) -> Detections:
        lefts = [(5 * (index - first - 6) - 40, top) for _, first, top in self._drives]
        boxes = np.array([(max(0, x), y, x + 40, y + 24) for x, y in lefts if -35 < x < 130], np.float32).reshape(-1, 4)
        return Detections(boxes, np.ones(len(boxes), np.float32), np.full(len(boxes), 2, np.int64))


@pytest.fixture
def sighted(
    tmp_path: Path, film: Any, tiny_model: Path
) -> Callable[..., tuple[list[dict[str, Any]], Status, list[Notice]]]:
    """A run over a video of four vehicles at once, the guards given -> its sightings, its status at the end, its notices."""
    drives = [(colour, 0, 4 + 28 * place) for place, colour in enumerate(COLOURS[:4])]
    video = film(tmp_path / "gate.avi", drives)

    def run(guards: Guards, live: bool = False) -> tuple[list[dict[str, Any]], Status, list[Notice]]:
        from vreid.runtime.sinks.jsonl import JsonlSink
        from vreid.runtime.sources.table import open_source

        embedder, notices = open_embedder(tiny_model), list[Notice]()
        manifest, stop = embedder.manifest, threading.Event()
        source = PacedCamera("gate", video, 25.0) if live else open_source(str(video))
        (tmp_path / "out").mkdir(exist_ok=True)
        with open_gallery(
            tmp_path / "known.db", fingerprint=manifest.fingerprint, dim=3, model=manifest.name, write=True
        ) as gallery:
            identifier = Identifier(gallery, 0.9, enrol_unknown=True, withhold=guards.why_withheld)
            made = Run(
                Parts(
                    [CameraParts(source, Painted(drives))], embedder, identifier, [JsonlSink(tmp_path / "out")], stop=stop,
                    guards=guards, notify=notices.append, progress=lambda frames: stop.set() if frames >= 49 else None,
                )
            )  # fmt: skip
            try:
                made.to_the_end()
                status = made.status()
            finally:
                source.close()
        lines = (tmp_path / "out" / "sightings.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], status, notices

    return run


def quick(floor: int) -> Guards:
    """Guards to which the camera is no new one."""
    guards = Guards(GuardRules(floor, 0.0))
    for second in range(int(NEW_CAMERA_S) + 1):
        guards.see("gate", second - NEW_CAMERA_S - WINDOW_S, 0)
    return guards


@pytest.mark.parametrize("live", [False, True])
def test_while_the_alarm_lasts_nobody_is_enrolled_and_all_is_written_down(
    tmp_path: Path, sighted: Callable[..., Any], live: bool
) -> None:
    lines, status, notices = sighted(quick(3), live)
    assert len(lines) == 4 and {(line["vehicle"], line["withheld"]) for line in lines} == {(None, "alarm")}
    with read_gallery(tmp_path / "known.db") as gallery:
        assert gallery.size() == (0, 0)
    assert (status.withheld, status.unknown, status.cameras["gate"].alarms) == (4, 4, 1)
    assert [notice.fields["state"] for notice in notices][:1] == ["begun"]


def test_under_the_limit_all_are_enrolled(tmp_path: Path, sighted: Callable[..., Any]) -> None:
    lines, status, notices = sighted(quick(4))
    assert {line["withheld"] for line in lines} == {None} and None not in {line["vehicle"] for line in lines}
    assert notices == [] and status.withheld == 0


def test_a_known_vehicle_is_known_during_an_alarm(tmp_path: Path, sighted: Callable[..., Any]) -> None:
    before, _, _ = sighted(quick(4))
    lines, status, _ = sighted(quick(3))
    again = lines[len(before) :]
    assert [line["vehicle"] for line in again] == [line["vehicle"] for line in before]
    assert all(line["known"] and line["withheld"] is None for line in again) and status.cameras["gate"].alarm


def test_who_has_no_good_crop_is_not_enrolled(tmp_path: Path, film: Any, tiny_model: Path) -> None:
    video = film(tmp_path / "one.avi", [((0, 0, 255), 0, 20), ((0, 255, 0), 8, 70)])
    session = Session(sources=(str(video),), model=tiny_model, out=tmp_path / "out", enrol_unknown=True)
    qualities = [0.0, 1.0]
    usual = run_session(session, threading.Event())
    assert usual["enrolled"] == 2 and usual["withheld"] == 0  # by the defaults
    for least, enrolled in zip(qualities, (2, 0), strict=True):
        done = run_session(replace(session, out=tmp_path / f"out{least}", least_quality=least), threading.Event())
        assert (done["enrolled"], done["withheld"]) == (enrolled, 2 - enrolled)
    for wrong in ({"least_quality": 1.5}, {"most_new": -1}):
        with pytest.raises(Refused, match="--most-new"):
            run_session(replace(session, out=tmp_path / "no", **wrong), threading.Event())
    kept = replace(session, out=tmp_path / "kept", gallery=tmp_path / "g.db")
    run_session(kept, threading.Event())
    with read_gallery(tmp_path / "g.db") as gallery, gallery.reading() as store:
        assert list(json.loads(str(store.setting(USUAL_ARRIVALS)))) == ["one"]


def test_what_is_usual_is_kept_from_run_to_run(caplog: pytest.LogCaptureFixture) -> None:
    kept = list[str]()
    first = Guards(GuardRules(FLOOR, 0.1))
    first.recall(json.dumps({"old": Arrivals(FLOOR).as_row()}), kept.append)
    for second in range(int(NEW_CAMERA_S) + 1):  # 30 in a window are usual here
        first.see("gate", float(second), 3)
    first.keep()
    assert list(json.loads(kept[-1])) == ["old", "gate"]
    second_run, fresh = Guards(GuardRules(FLOOR, 0.1)), Guards(GuardRules(FLOOR, 0.1))
    second_run.recall(kept[-1], None)
    second_run.keep()  # nothing, and nowhere
    assert second_run.see("gate", 0.0, 60) is None
    notice = second_run.see("gate", 0.1, 1)
    assert notice is not None and notice.fields["limit"] == 60
    assert fresh.see("gate", 0.0, 80) is None and fresh.see("gate", 0.1, 1) is not None  # one that knows nothing
    for spoiled in ("{", "[]", '{"gate": 1}', '{"gate": {"watched": "x", "busiest": {}}}', '{"gate": {"watched": 1}}'):
        caplog.clear()
        guards = Guards(GuardRules(FLOOR, 0.1))
        guards.recall(spoiled, kept.append)
        assert "learnt anew" in caplog.text and guards.see("gate", 0.0, 80) is None


def test_of_many_cameras_the_last_are_kept() -> None:
    kept = list[str]()
    guards = Guards(GuardRules(FLOOR, 0.1))
    guards.recall(json.dumps({f"old {one}": Arrivals(FLOOR).as_row() for one in range(MOST_CAMERAS)}), kept.append)
    guards.see("gate", 0.0, 0)
    guards.keep()
    rows = json.loads(kept[-1])
    assert len(rows) == MOST_CAMERAS and "gate" in rows and "old 0" not in rows


def test_the_answer_of_one_that_is_withheld_says_so() -> None:
    unknown = Match(None, None, 0.2, False)
    assert unknown.answer == "new"
    assert replace(unknown, withheld="alarm").answer == "withheld"
    assert replace(unknown, withheld="quality", maybe=3).answer == "doubtful"
