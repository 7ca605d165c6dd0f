"""Sightings that are removed for good: nothing that was made of them stays, and all else does."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_gallery import features, noise, opened, sighted, sighting, sql

from vreid.models.errors import Refused
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery import Gallery, edits
from vreid.runtime.gallery.records import ENROLLED
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, kept_name


def seen(gallery: Gallery, vehicle: int, look: int, camera: str = "gate") -> int:
    """A sighting with the feature and the picture of `look`, which stands for its vehicle."""
    return sighted(gallery, vehicle, sighting(look, camera=camera, track=look, seen=1000.0 + look))


def looks_of(gallery: Gallery, vehicle: int) -> dict[str, set[int]]:
    """Which made features stand for a vehicle, to the precision of those that sightings keep, by view."""
    known = {place: features(1, place)[0] for place in range(20)}
    found: dict[str, set[int]] = {}
    for one in gallery.prototypes(vehicle):
        near = {place for place, row in known.items() if np.allclose(row, one.feature, atol=1e-3)}
        found.setdefault(one.view, set()).update(near or {-1})
    return found


def test_what_stands_for_a_vehicle_is_made_anew_of_what_stays(gallery: Gallery) -> None:
    taxi, other = gallery.add_vehicle("taxi"), gallery.add_vehicle()
    gallery.add_prototype(taxi, ENROLLED, features(1, 9)[0])
    first, second, third = seen(gallery, taxi, 1), seen(gallery, taxi, 2), seen(gallery, taxi, 3, "yard")
    untouched = seen(gallery, other, 4)
    kept = KeptFolder(folder_of_gallery(gallery.path))
    for one in [*gallery.sightings(taxi), *gallery.sightings(other)]:
        kept.write(kept_name(one.camera, one.at, one.track), b"1")
    before = len(gallery.changes())
    change = gallery.remove_sightings([first, third, 99])
    assert [one.id for one in gallery.sightings(taxi)] == [second]
    assert looks_of(gallery, taxi) == {ENROLLED: {9}, "gate": {2}} and looks_of(gallery, other) == {"gate": {4}}
    assert [hit.vehicle for hit in gallery.search(features(1, 3), 5)[0] if hit.score > 0.99] == []
    assert [one.id for one in gallery.sightings(other)] == [untouched] and kept.size() == 2
    row = gallery.changes(vehicle=taxi)[-1]
    assert (row.id, row.verb, row.detail) == (
        change, "remove sightings", {"vehicles": [taxi], "sightings": 2, "removed": 0}
    )  # fmt: skip
    assert gallery.remove_sightings([first, 99]) is None and len(gallery.changes()) == before + 1


def test_who_is_nobody_goes_with_the_last_sighting_and_whom_somebody_knows_stays(gallery: Gallery) -> None:
    nobody, named = gallery.add_vehicle(), gallery.add_vehicle()
    enrolled, _ = gallery.enrol(None, features(1, 9))
    ids = [seen(gallery, vehicle, look) for look, vehicle in enumerate((nobody, named, enrolled))]
    gallery.rename(named, "van")
    gallery.remove_sightings(ids)
    assert [vehicle.id for vehicle in gallery.vehicles()] == [named, enrolled]
    assert (looks_of(gallery, named), looks_of(gallery, enrolled)) == ({}, {ENROLLED: {9}})
    assert [change.verb for change in gallery.changes(vehicle=nobody)] == ["enrol", "remove sightings"]
    assert gallery.changes(vehicle=nobody)[0].detail == {"vehicles": [], "forgotten": True}
    assert gallery.changes()[-1].detail["removed"] == 1
    assert gallery.add_sighting(named, sighting(5), 0.5) > max(ids)  # no id is given again


def test_a_vehicle_loses_the_picture_that_a_run_took_from_such_a_sighting(gallery: Gallery) -> None:
    met, given = gallery.add_vehicle(None, noise(1)), gallery.add_vehicle("bus", noise(2))
    first, second = seen(gallery, met, 1), seen(gallery, met, 3)
    same = seen(gallery, given, 2)
    gallery.remove_sightings([second])
    with gallery.reading() as store:
        own = store.vehicle(met)
        assert own is not None and own.thumbnail == thumbnail_of(noise(1))
    seen(gallery, met, 4)
    gallery.remove_sightings([first, same])
    with gallery.reading() as store:
        assert [(row.id, row.thumbnail is None, row.pictured) for row in store.vehicle_rows()] == [
            (met, True, None), (given, False, None)
        ]  # fmt: skip


@pytest.mark.parametrize("which", ["merged", "split off"])
def test_what_an_undo_would_need_of_them_goes_too(gallery: Gallery, which: str) -> None:
    one, other, apart = (gallery.add_vehicle(None, noise(10 + number)) for number in range(3))
    seen(gallery, one, 1)
    moved = seen(gallery, other, 11)
    seen(gallery, other, 3)
    far = [seen(gallery, apart, 5), seen(gallery, apart, 6)]
    free = edits.split(gallery, apart, far[1:])
    change = edits.merge(gallery, one, [other]).change
    gone = one
    if which == "split off":
        gone = edits.split(gallery, one, [moved]).vehicle
    gallery.rename(gone, "taxi")
    gallery.remove_sightings([moved])
    undone = [row for row in gallery.changes() if row.verb in ("merge", "split") and row.undo_data is not None]
    assert [row.id for row in undone] == [free.change]
    with pytest.raises(Refused, match="can no longer be undone"):
        edits.undo(gallery, change)
    with gallery.reading() as store:
        assert thumbnail_of(noise(11)) not in [row.thumbnail for row in store.vehicle_rows()]
    assert edits.undo(gallery, free.change).verb == "split"


def test_prototypes_that_cannot_be_made_again_go_with_the_sighting_that_may_be_in_them(
    gallery: Gallery, place: GalleryPlace
) -> None:
    vehicle = gallery.add_vehicle("taxi")
    gone, kept = seen(gallery, vehicle, 1), seen(gallery, vehicle, 2)
    bare = gallery.add_sighting(vehicle, sighting(3, track=3), 0.5)
    sql(place, "UPDATE sightings SET feature = NULL WHERE id = ?", bare)
    gallery.remove_sightings([gone])
    assert looks_of(gallery, vehicle) == {"gate": {2}} and [one.id for one in gallery.sightings(vehicle)] == [
        kept,
        bare,
    ]


def test_nobody_elsewhere_is_to_remove_the_vehicle(tmp_path: Path) -> None:
    with opened(tmp_path / "g.db") as gallery:
        with gallery.transaction() as store:
            outbox = store.outbox(make=True)
        assert outbox is not None
        nobody, other = gallery.add_vehicle(), gallery.add_vehicle()
        gone, kept = seen(gallery, nobody, 1), seen(gallery, other, 2)
        gallery.remove_sightings([gone])
        assert [(one.what, one.sighting) for one in outbox.messages(9)] == [("sighting", kept)]
        assert outbox.sizes().pictures == 1


def test_a_doubt_about_one_goes_with_it(gallery: Gallery) -> None:
    one, other = gallery.add_vehicle("taxi"), gallery.add_vehicle("bus")
    ids = [seen(gallery, one, 1), seen(gallery, one, 2)]
    with gallery.transaction() as store:
        for id_ in ids:
            detail = {"sighting": id_, "vehicles": [one, other], "candidates": [], "near": True}
            store.add_change("run:live", "doubt", one, detail)
    gallery.remove_sightings(ids[:1])
    assert [row.detail["sighting"] for row in gallery.changes(verbs=["doubt"])] == ids[1:]


def test_a_track_that_goes_on_does_not_write_its_removed_sighting_again(gallery: Gallery) -> None:
    now, vehicle = time.time(), gallery.add_vehicle("taxi")
    still = sighting(1, first_time=now - 60, last_time=now, seen=now)
    gone = gallery.add_sighting(vehicle, still, 0.5)
    kept = gallery.add_sighting(vehicle, replace(still, track=9), 0.5)
    gallery.remove_sightings([gone])
    gallery.extend_sighting(vehicle, replace(still, last_time=now + 5, seen=now + 5), 0.5)
    assert [one.id for one in gallery.sightings(vehicle)] == [kept]
    later = replace(still, first_time=now + 60, last_time=now + 70, seen=now + 70)
    gallery.extend_sighting(vehicle, later, 0.5)  # whose sighting a purge has taken
    assert [one.at for one in gallery.sightings(vehicle)] == [now, now + 70]
