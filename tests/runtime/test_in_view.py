"""While a vehicle is in view: its id is provisional, kept for it, nobody else's, and final when its track ends."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.identify import Identifier
from vreid.runtime.in_view import InView
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace, TrackEvent, TrackSoFar
from vreid.runtime.status import Stages
from vreid.runtime.track_finalizer import LiveTrackFinalizer

DIM = 16
BOX = np.array([1, 2, 30, 40], np.float32)
TRACE = Trace(np.arange(2), np.stack([BOX, BOX]), np.ones(2, np.float32))


class Recorder:
    """A follower that remembers."""

    def __init__(self) -> None:
        self.events: list[TrackEvent] = []

    def event(self, event: TrackEvent) -> None:
        self.events.append(event)

    def said(self) -> list[tuple[str, int, int | None, bool]]:
        return [(one.state, one.track.track, one.match.vehicle, one.final) for one in self.events]


class Sightings:
    """A sink that remembers."""

    def __init__(self, rows: list[tuple[FinishedTrack, Match]]) -> None:
        self.rows = rows

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        self.rows.append((sighting, match))

    def close(self, summary: Mapping[str, Any]) -> None:
        pass


def axis(number: int) -> Floats:
    return np.eye(DIM, dtype=np.float32)[number]


def track(
    feature: Floats, number: int = 1, first: float = 0.0, last: float = 1.0, camera: str = "gate"
) -> FinishedTrack:
    picture = np.zeros((8, 8, 3), np.uint8)
    return FinishedTrack(camera, number, 0, 9, first, last, 2, feature, 3, 0.5, picture)


def so_far(track: FinishedTrack, search: bool = True) -> TrackSoFar:
    return TrackSoFar(track, BOX, search)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
        yield gallery


def test_a_stranger_is_shown_under_the_id_that_it_gets_at_the_end(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    view = InView(identifier, [recorder], 1000.0)
    view.see(so_far(track(axis(0)), search=False))
    view.see(so_far(track(axis(0))))
    view.see(so_far(track(axis(0), last=2.0)))
    assert recorder.said() == [("appeared", 1, None, False), ("identified", 1, 1, False)]
    assert gallery.vehicles() == [] and gallery.size() == (0, 0)  # nothing was written but that the id is given
    assert identifier.identify(track(axis(5), 9, camera="yard")).vehicle == 2
    ended = track(axis(0), last=3.0)
    match = identifier.identify(ended, view.reserved["gate", 1])
    view.end(ended, match, TRACE)
    assert recorder.said()[2:] == [("left", 1, 1, True)] and not match.known
    assert [(one.id, one.name) for one in gallery.vehicles()] == [(1, "vehicle-0001"), (2, "vehicle-0002")]
    assert {event.key for event in recorder.events} == {"1000/gate/1"} and view.reserved == {}


def test_an_id_that_was_shown_is_nobody_elses_though_the_track_turns_out_known(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    taxi = gallery.add_vehicle("taxi")
    gallery.add_prototype(taxi, "gate", axis(0))
    view = InView(identifier, [recorder], 0.0)
    view.see(so_far(track(axis(1))))
    view.see(so_far(track(axis(0), last=2.0)))
    ended = track(axis(0), last=3.0)
    view.end(ended, identifier.identify(ended, view.reserved["gate", 1]), TRACE)
    states = [
        ("appeared", 1, None, False),
        ("identified", 1, 2, False),
        ("revised", 1, taxi, False),
        ("left", 1, taxi, True),
    ]
    assert recorder.said() == states
    assert identifier.identify(track(axis(7), 3, 10, 11)).vehicle == 3  # 2 was shown once, and is not given


def test_a_reserved_id_is_not_given_again_after_a_restart(tmp_path: Path) -> None:
    for expected in (1, 2):
        with open_gallery(tmp_path / "k.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
            recorder = Recorder()
            InView(Identifier(gallery, 0.6, enrol_unknown=True), [recorder], 0.0).see(so_far(track(axis(0))))
            assert recorder.said()[-1] == ("identified", 1, expected, False)


def test_a_run_that_does_not_enrol_shows_no_id_of_a_stranger_and_writes_nothing(
    tmp_path: Path, gallery: Gallery
) -> None:
    gallery.add_prototype(gallery.add_vehicle("taxi"), "gate", axis(0))
    gallery.close()
    before = (tmp_path / "g.db").read_bytes()
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=False) as reader:
        recorder = Recorder()
        view = InView(Identifier(reader, 0.6), [recorder], 0.0)
        view.see(so_far(track(axis(1))))
        view.see(so_far(track(axis(0), 2)))
        view.see(so_far(track(axis(3), 2, last=2.0)))
    assert recorder.said() == [
        ("appeared", 1, None, False), ("appeared", 2, None, False), ("identified", 2, 1, False), ("revised", 2, None, False)
    ]  # fmt: skip
    assert (tmp_path / "g.db").read_bytes() == before


def test_two_tracks_of_one_camera_are_never_shown_under_one_id(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    gallery.add_prototype(gallery.add_vehicle("taxi"), "gate", axis(0))
    view = InView(identifier, [recorder], 0.0)
    for number in (1, 2, 3):
        view.see(so_far(track(axis(0), number, first=number / 10, last=number)))
    assert [vehicle for state, _, vehicle, _ in recorder.said() if state == "identified"] == [1, 2, 3]
    other = track(axis(0), 1, 0.5, 3.0, camera="yard")  # cameras may overlap where no topology says otherwise
    view.see(so_far(other))
    assert recorder.said()[-1] == ("identified", 1, 1, False)


def test_a_stranger_in_view_of_another_camera_has_one_id_before_it_is_enrolled(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    view = InView(identifier, [recorder], 0.0)
    near = (axis(0) + 0.3 * axis(1)) / np.linalg.norm(axis(0) + 0.3 * axis(1))
    view.see(so_far(track(axis(0))))
    view.see(so_far(track(axis(4), 2)))
    view.see(so_far(track(near, 1, 0.5, 2.0, camera="yard")))
    assert [vehicle for state, _, vehicle, _ in recorder.said() if state == "identified"] == [1, 2, 1]
    assert recorder.events[-1].match.known and recorder.events[-1].match.score == pytest.approx(float(near[0]))


def test_in_a_run_over_files_tracks_that_have_ended_are_compared_and_the_end_has_the_last_word(
    gallery: Gallery,
) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    view = InView(identifier, [recorder], 0.0)
    first, second = track(axis(0), 1, 0, 1), track(axis(0), 2, 3, 4)
    view.see(so_far(first))
    view.wait(first, BOX)
    view.see(so_far(replace(second, last_time=3.5)))  # the first is over: it may be the same
    view.wait(second, BOX)
    assert [vehicle for state, _, vehicle, _ in recorder.said() if state == "identified"] == [1, 1]
    for one, match in zip((first, second), identifier.assign([first, second], view.reserved), strict=True):
        view.end(one, match, TRACE)
    assert recorder.said()[-2:] == [("left", 1, 1, True), ("left", 2, 1, True)]


def test_a_track_that_was_never_seen_open_appears_before_it_leaves(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    view, short = InView(identifier, [recorder], 0.0), track(axis(0))
    view.wait(short, BOX)
    view.end(short, identifier.assign([short], view.reserved)[0], TRACE)
    assert [state for state, *_ in recorder.said()] == ["appeared", "identified", "left"]


def test_a_track_is_no_new_vehicle_before_it_has_shown_enough_but_may_be_a_known_one(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    gallery.add_prototype(gallery.add_vehicle("taxi"), "gate", axis(0))
    view = InView(identifier, [recorder], 0.0)
    view.see(replace(so_far(track(axis(0))), stranger=False))
    view.see(replace(so_far(track(axis(1), 2)), stranger=False))
    assert recorder.said() == [("appeared", 1, None, False), ("identified", 1, 1, False), ("appeared", 2, None, False)]
    view.see(so_far(track(axis(1), 2)))
    assert recorder.said()[-1] == ("identified", 2, 2, False)


def test_a_standing_vehicle_is_settled_when_it_comes_to_stand_and_said_so_rarely(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True, run="night")
    view, sighted = InView(identifier, [recorder], 0.0, every=100.0), list[tuple[FinishedTrack, Match]]()
    live = LiveTrackFinalizer(identifier, [Sightings(sighted)], Stages(), in_view=view)
    for hour in range(5):
        live.follow([replace(so_far(track(axis(0), last=60.0 + 40 * hour)), search=False, trace=TRACE)])
        other = track(axis(0), 2 + hour, 30.0 + 40 * hour, 31.0 + 40 * hour)  # passes while the first one stands
        live.take([(other, TRACE)])
    live.take([(track(axis(0), last=300.0), TRACE)])
    later = track(axis(0), 9, 400.0, 401.0)
    live.take([(later, TRACE)])
    live.close()
    own = [(state, vehicle, final) for state, number, vehicle, final in recorder.said() if number == 1]
    assert own == [
        ("appeared", None, False), ("identified", 1, True), ("stationary", 1, True), ("stationary", 1, True), ("left", 1, True)
    ]  # fmt: skip
    assert [event.track.last_time for event in recorder.events if event.state == "stationary"] == [60.0, 180.0]
    assert [one.track for one, _ in sighted] == [2, 3, 4, 5, 6, 1, 9]
    vehicles = [match.vehicle for _, match in sighted]
    assert vehicles[5] == 1 and 1 not in vehicles[:5]  # who stands is nobody else
    rows = [(row.track, row.first_time, row.last_time) for row in gallery.sightings(1)]
    assert (1, 0.0, 300.0) in rows and len([row for row in rows if row[0] == 1]) == 1


def test_a_standing_vehicle_is_in_the_gallery_before_it_leaves(gallery: Gallery) -> None:
    """So that a crash after days loses an hour."""
    identifier = Identifier(gallery, 0.6, enrol_unknown=True)
    match = identifier.settle(replace(track(axis(0), last=60.0), seen=1e9 + 60))
    for last in (3660.0, 7260.0):
        identifier.extend(replace(track(axis(0), last=last), seen=1e9 + last), match, over=False)
        [row] = gallery.sightings(1)
        assert (row.first_time, row.last_time, row.at) == (0.0, last, 1e9 + last)
    assert gallery.prototypes(1)[0].count == 1
    purge(gallery, 1e9 + 9000)  # takes the sighting, and the vehicle with it
    identifier.extend(track(axis(0), last=9999.0), match, over=True)
    assert gallery.vehicles() == []


def test_which_of_two_vehicles_it_is_stays_open_until_only_one_of_them_passes(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    taxi, van = gallery.add_vehicle("taxi"), gallery.add_vehicle("van")
    gallery.add_prototype(taxi, "gate", axis(0))
    gallery.add_prototype(van, "gate", axis(1))
    view = InView(identifier, [recorder], 0.0)
    view.see(so_far(track((axis(0) + 0.9 * axis(1)) / np.float32(np.hypot(1, 0.9)))))
    assert recorder.said() == [("appeared", 1, None, False)]
    view.see(so_far(track(axis(0), last=2.0)))
    assert recorder.said()[1:] == [("identified", 1, taxi, False)]


def test_who_is_in_view_is_looked_for_again_when_a_track_ends_that_may_be_its_vehicle(gallery: Gallery) -> None:
    recorder, identifier = Recorder(), Identifier(gallery, 0.6, enrol_unknown=True)
    view = InView(identifier, [recorder], 0.0)
    view.see(so_far(track(axis(0))))
    view.see(so_far(track(axis(1), 2, 0.5, 1.5, camera="yard")))
    view.see(so_far(track(axis(2), 3, 0.5, 1.5, camera="road")))
    assert [event.match.vehicle for event in recorder.events if event.state == "identified"] == [1, 2, 3]
    ended = track(axis(1), last=3.0)  # it has come to look like the one in the yard
    view.end(ended, identifier.identify(ended, view.reserved["gate", 1]), TRACE)
    assert recorder.said()[-2:] == [("left", 1, 1, True), ("revised", 2, 1, False)]
