"""The watch list: whom it alerts of, once for each time in view; and in a run, by what outputs get."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_outputs import sighted

from vreid.models.errors import Refused
from vreid.runtime.gallery import edit_gallery
from vreid.runtime.records import EventState, Match, Notice, TrackEvent
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.watch_list import QUIET_S, WatchList
from vreid.runtime.watches import Watch, missing_kinds, watch_of

NAMES = {7: "blue van", 8: "Taxi"}


def event(
    state: EventState = "identified", match: Match | None = None, key: str = "0/gate/1", **track: Any
) -> TrackEvent:
    seen, made, trace = sighted()
    return TrackEvent(key, state, replace(seen, **track), match or made, trace.boxes[-1], state == "left")


def alerts(events: list[TrackEvent], *watches: Watch) -> list[Notice]:
    found: list[Notice] = []
    listed = WatchList(watches, found.append, NAMES.get)
    for one in events:
        listed.event(one)
    return found


NOBODY = Match(None, None, 0.3, False, 0.7)


@pytest.mark.parametrize(
    ("watch", "fitting", "other"),
    [
        (Watch(vehicle="BLUE van"), event(), event(match=NOBODY)),
        (Watch(vehicle="blue*"), event(), event(match=Match(8, "Taxi", 0.9, True))),
        (Watch(vehicle="id=7"), event(), event(match=Match(77, "id=7x", 0.9, True))),
        (Watch(vehicle="taxi"), event(match=Match(None, None, 0.6, False, 0.7, maybe=8)), event()),
        (Watch(kind="car"), event(match=NOBODY), event(match=NOBODY, kind=7)),
        (Watch(plate="b xy*"), event("left"), event("left", plate="B-AB 1")),
        (Watch(plate="B-XY 12"), event("left"), event("left", plate=None)),
        (Watch(kind="car", cameras=("gate",)), event(), event(camera="yard")),
        (Watch(vehicle="blue van", kind="truck"), event(kind=7), event()),
    ],
)
def test_a_watch_fits_what_it_says(watch: Watch, fitting: TrackEvent, other: TrackEvent) -> None:
    assert len(alerts([fitting], watch)) == 1 and alerts([other], watch) == []
    assert alerts([replace(fitting, state="appeared")], watch) == []  # nothing is known then


def test_there_is_one_alert_a_watch_for_each_time_in_view() -> None:
    first, later = event(), event("left")
    assert len(alerts([first, event("revised"), later], Watch(vehicle="blue van"))) == 1
    assert len(alerts([first, later], Watch(vehicle="blue van"), Watch(kind="car"))) == 2
    seen = first.track.seen
    broken = event(key="0/gate/2", seen=seen + QUIET_S - 1)  # a track that was torn in two
    again = event(key="0/gate/3", seen=seen + 2 * QUIET_S)
    yard = event(key="0/yard/1", camera="yard")
    assert len(alerts([first, later, broken], Watch(vehicle="blue van"))) == 1
    back = event(key="0/gate/4", seen=seen - 3600)  # the machine's clock was set back
    assert len(alerts([first, back], Watch(vehicle="blue van"))) == 2
    assert len(alerts([first, later, broken, again, yard], Watch(vehicle="blue van"))) == 3
    nobody = [event(match=NOBODY, key=f"0/gate/{number}") for number in range(3)]
    assert len(alerts(nobody, Watch(kind="car"))) == 3  # three vehicles that nobody knows


def test_an_alert_says_what_the_sighting_says() -> None:
    doubtful = Match(7, "blue van", 0.81234, True, 0.7, "site (99 pairs)", 8)
    [notice] = alerts([event(match=doubtful)], Watch("wanted", vehicle="blue van"))
    assert (notice.about, notice.camera, notice.at) == ("alerts", "gate", event().track.seen)
    said = {
        key: notice.fields[key] for key in ("watch", "key", "track", "vehicle", "name", "score", "threshold", "answer")
    }
    assert said == {
        "watch": "wanted", "key": "0/gate/1", "track": 1, "vehicle": 7, "name": "blue van", "score": 0.8123,
        "threshold": 0.7, "answer": "doubtful",
    }  # fmt: skip
    [unnamed] = alerts([event(match=doubtful)], Watch(vehicle="blue*", kind="car"))
    assert unnamed.fields["watch"] == "vehicle blue*, kind car"


@pytest.mark.parametrize(
    ("text", "watch"),
    [
        ("vehicle=blue van", Watch(vehicle="blue van")),
        ("name=lorries, kind=truck,camera=gate", Watch("lorries", kind="truck", cameras=("gate",))),
        ("plate=B-XY*", Watch(plate="B-XY*")),
    ],
)
def test_the_words_of_the_flag(text: str, watch: Watch) -> None:
    assert watch_of(text) == watch


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("taxi", "cannot be read; write vehicle=NAME"),
        ("colour=red", "cannot be read"),
        ("vehicle=", "cannot be read"),
        ("camera=gate", "says nothing to look for"),
        ("kind=tram", "has no kind 'tram'; write car, truck"),
        ("vehicle=a,vehicle=b", "has vehicle twice"),
    ],
)
def test_words_that_cannot_be_read_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        watch_of(text)


def test_a_kind_must_be_one_of_the_detector_of_a_camera() -> None:
    kinds = {"gate": frozenset({-1}), "yard": frozenset({2, 7}), "wall": None}
    for watch in (Watch(kind="truck", cameras=("yard",)), Watch(kind="bus"), Watch(kind="vehicle", cameras=("gate",))):
        assert missing_kinds([watch], kinds) == []
    trucks, buses = Watch("lorries", kind="truck", cameras=("gate",)), Watch(kind="bus", cameras=("gate", "yard"))
    assert [fault.partition(";")[0] for fault in missing_kinds([trucks, buses], kinds)] == [
        "the watch 'lorries' looks for the kind 'truck', and the detectors of its cameras only tell: vehicle",
        "the watch 'kind bus' looks for the kind 'bus', and the detectors of its cameras only tell: car, truck, vehicle",
    ]


@pytest.fixture
def receiver() -> Any:
    """A webhook's other end: its address, and what it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_alerts_its_outputs(
    tmp_path: Path, film: Callable[..., Path], tiny_model: Path, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    address, got = receiver
    video = film(tmp_path / "one.avi", [((0, 0, 255), 0, 20), ((0, 255, 0), 8, 70)])
    session = Session(sources=(str(video),), model=tiny_model, gallery=tmp_path / "known.db", enrol_unknown=True)
    run_session(replace(session, out=tmp_path / "first"), threading.Event())
    with edit_gallery(tmp_path / "known.db") as gallery:
        gallery.rename(1, "red car")
    watch = ("name=wanted,vehicle=red car", "vehicle=nobody")
    run_session(replace(session, out=tmp_path / "second", to=(address,), watch=watch), threading.Event())
    events = [(one["event"], one.get("watch"), one["name"]) for one in got]
    assert sorted(events, key=str) == [
        ("alert", "wanted", "red car"),
        ("sighting", None, "red car"),
        ("sighting", None, "vehicle-0002"),
    ]
    [alert] = [one for one in got if one["event"] == "alert"]
    assert alert["answer"] == "known" and alert["vehicle"] == 1 and alert["run"] == "second"
    assert np.isfinite([alert["score"], alert["threshold"], alert["seen"]]).all()
    with pytest.raises(Refused, match="name one with --to"):
        run_session(replace(session, out=tmp_path / "third", watch=watch), threading.Event())
    for one, sentence in (
        ("plate=B*", "needs a reader of plates"),
        (
            "kind=car,camera=oen",
            "the watch 'kind car' names a camera 'oen' that the site does not have; did you mean 'one'?",
        ),
        ("kind=truck", "looks for the kind 'truck', and the detectors of its cameras only tell: vehicle;"),
    ):
        with pytest.raises(Refused, match=re.escape(sentence)):
            run_session(replace(session, out=tmp_path / "third", to=(address,), watch=(one,)), threading.Event())
