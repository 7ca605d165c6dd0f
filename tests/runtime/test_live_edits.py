"""What a run remembers of vehicles follows what people change in its gallery: of those that stand, and of those that passed."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.requests import Confirm, Merge, Reject, Remove, Rename, Split, Undo
from vreid.runtime.identify import Identifier
from vreid.runtime.records import FinishedTrack, Floats

NOW = time.time()


def axis(number: int) -> Floats:
    return np.eye(8, dtype=np.float32)[number]


def track(feature: Floats, number: int, last: float, began: float | None = None) -> FinishedTrack:
    """A track that ended so many seconds from now, and lasted for a second unless it `began` earlier."""
    picture, first = np.zeros((8, 8, 3), np.uint8), last - 1 if began is None else began
    return FinishedTrack("gate", number, 0, 9, first, last, 2, feature, 3, 0.5, picture, seen=NOW + last)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
        yield gallery


@pytest.fixture
def identifier(gallery: Gallery) -> Identifier:
    return Identifier(gallery, 0.6, enrol_unknown=True, run="live")


def test_a_standing_vehicle_that_was_merged_is_the_other_one_from_then_on(
    gallery: Gallery, identifier: Identifier
) -> None:
    passed, parked = track(axis(0), 1, -100.0), track(axis(1), 2, -50.0)
    first, match = identifier.identify(passed), identifier.settle(parked)
    assert (first.vehicle, match.vehicle) == (1, 2)
    identifier.edit(Rename(vehicle="id=1", name="taxi"), "ann")
    identifier.edit(Merge(vehicles=("id=1", "id=2")), "ann")
    later = identifier.extend(track(axis(1), 2, -10.0, -51.0), match, over=False)
    assert (later.vehicle, later.name) == (1, "taxi")
    gate = track(axis(0), 3, -20.0)
    assert identifier.provisional(gate).vehicle is None  # it stands, and so cannot drive by
    identifier.edit(Undo(), "ann")
    assert identifier.extend(track(axis(1), 2, -9.0, -51.0), later, over=True).vehicle == 2
    assert identifier.provisional(gate).vehicle == 1
    [seen] = gallery.sightings(2)
    assert seen.at == pytest.approx(NOW - 9.0) and seen.at - (seen.last_time - seen.first_time) < NOW - 50


def test_a_standing_vehicle_that_was_removed_is_nobody_and_nothing_is_written(
    gallery: Gallery, identifier: Identifier
) -> None:
    match = identifier.settle(track(axis(1), 2, -50.0))
    identifier.edit(Remove(vehicle="id=1"), "ann")
    later = identifier.extend(track(axis(1), 2, -10.0, -51.0), match, over=True)
    assert (later.vehicle, later.name, later.known) == (None, None, False)
    assert gallery.vehicles() == [] and gallery.stats().sightings == 0
    assert identifier.identify(track(axis(1), 4, -5.0)).vehicle == 2  # as somebody new


def test_a_passage_that_was_split_off_bars_the_new_vehicle_and_no_longer_the_old_one(
    gallery: Gallery, identifier: Identifier
) -> None:
    for number, last in ((1, -100.0), (2, -50.0)):
        assert identifier.identify(track(axis(0), number, last)).vehicle == 1
    at_that_time = track(axis(0), 3, -50.2)
    assert identifier.provisional(at_that_time).vehicle is None
    done = identifier.edit(Split(vehicle="id=1", sightings=(2,)), "ann")
    assert done["vehicle"] == 2
    assert identifier.provisional(at_that_time).vehicle == 1
    assert [change.who for change in gallery.changes() if change.verb == "split"] == ["ann"]


def test_a_sighting_that_was_rejected_and_confirmed_of_another_moves_with_what_is_remembered(
    gallery: Gallery, identifier: Identifier
) -> None:
    assert identifier.identify(track(axis(1), 1, -200.0)).vehicle == 1
    for number, last in ((2, -100.0), (3, -50.0)):
        assert identifier.identify(track(axis(0), number, last)).vehicle == 2
    at_that_time = track(axis(0), 4, -50.2)
    assert identifier.edit(Reject(sighting=3), "ann")["vehicle"] == 3
    assert identifier.provisional(at_that_time).vehicle == 2
    assert identifier.edit(Undo(), "ann")["verb"] == "reject"
    assert identifier.provisional(at_that_time).vehicle is None
    assert identifier.edit(Confirm(sighting=3, vehicle="id=1"), "ann")["vehicle"] == 1
    assert identifier.provisional(at_that_time).vehicle == 2
    identifier.edit(Undo(), "ann")
    assert identifier.provisional(at_that_time).vehicle is None
