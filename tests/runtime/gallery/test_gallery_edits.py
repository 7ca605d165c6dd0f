"""Merging, splitting, renaming and taking them back: the rows afterwards are the rows before, to the byte."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_gallery import features, opened, sighted, sighting, sql

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edits
from vreid.runtime.gallery.edits import undo
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.store import Store
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, kept_name
from vreid.runtime.login import login
from vreid.runtime.records import Floats


def seen(gallery: Gallery, vehicle: int, camera: str, feature: Floats, run: str = "") -> int:
    return sighted(gallery, vehicle, sighting(camera=camera, feature=feature, seen=1000.0 + vehicle), run)


def rows(gallery: Gallery) -> dict[str, list[Any]]:
    """Everything that a person or a search can see."""
    with gallery.reading() as store:
        vehicles = [*store.vehicle_rows()]
        prototypes = [(row.id, one) for row in vehicles for one in store.prototypes(row.id)]
        sightings = [(row.id, one) for row in vehicles for one in store.sightings(row.id)]
        kept = {row.id: [vars(one) for one in store.sighting_rows(row.id)] for row in vehicles}
    return {
        "vehicles": [replace(row, named=False) for row in vehicles],
        "prototypes": sorted(
            (one.id, owner, one.view, one.feature.tobytes(), one.weight, one.count) for owner, one in prototypes
        ),
        "sightings": sorted((one.id, owner, repr(one)) for owner, one in sightings),
        "kept": [str(kept)],
    }


@pytest.fixture
def gallery(store: Store) -> Gallery:
    """Three vehicles: taxi (enrolled by hand, seen twice), bus (seen twice), and one that nobody named."""
    made, looks = Gallery(store, "flat", Rule()), features(6)
    taxi = made.add_vehicle("taxi", np.full((9, 9, 3), 7, np.uint8))
    made.add_prototype(taxi, "enrolled", looks[0])
    seen(made, taxi, "gate", looks[1], "monday")
    seen(made, taxi, "yard", looks[2], "tuesday")
    bus = made.add_vehicle("bus", kind="bus")
    seen(made, bus, "gate", looks[1])
    seen(made, bus, "yard", looks[4])
    seen(made, made.add_vehicle(), "gate", looks[5])
    return made


def test_a_merge_pools_what_stood_for_the_vehicles(gallery: Gallery) -> None:
    looks = features(6)
    done = edits.merge(gallery, 1, [2, 3])
    assert (done.vehicle, done.sightings) == (1, 3)
    (only,) = gallery.vehicles()
    assert (only.id, only.name, only.sightings, only.prototypes) == (1, "taxi", 5, 5)
    (gate,) = [prototype for prototype in gallery.prototypes(1) if prototype.count == 2]
    assert gate.view == "gate"
    assert gate.weight == pytest.approx(1.0)
    for look in looks[[0, 1, 2, 4, 5]]:
        hit = gallery.search(look[None], 1)[0][0]
        assert (hit.vehicle, hit.score) == (1, pytest.approx(1, abs=1e-6))


def test_a_merge_keeps_to_the_cap(place: GalleryPlace) -> None:
    with opened(place, max_prototypes=3) as gallery:
        for vehicle in (gallery.add_vehicle(), gallery.add_vehicle()):
            for view, row in enumerate(features(3, vehicle)):
                gallery.add_prototype(vehicle, str(view), row, 1 + view + vehicle / 10)
        edits.merge(gallery, 1, [2])
        assert sorted(prototype.weight for prototype in gallery.prototypes(1)) == pytest.approx([2.2, 3.1, 3.2])
        undo(gallery)
        assert [len(gallery.prototypes(vehicle)) for vehicle in (1, 2)] == [3, 3]


def test_a_split_makes_both_from_their_own_sightings(gallery: Gallery) -> None:
    looks = features(6)
    (tuesday,) = [one.id for one in gallery.sightings(1, Filter(runs=("tuesday",)))]
    done = edits.split(gallery, 1, [tuesday], "van")
    assert gallery.name_of(done.vehicle) == "van"
    assert [prototype.view for prototype in gallery.prototypes(done.vehicle)] == ["yard"]
    assert [prototype.view for prototype in gallery.prototypes(1)] == ["enrolled", "gate"]
    np.testing.assert_allclose(gallery.prototypes(done.vehicle)[0].feature, looks[2], atol=2e-3)  # float16
    np.testing.assert_allclose(gallery.prototypes(1)[0].feature, looks[0], atol=1e-6)
    assert gallery.search(looks[2:3], 1)[0][0].name == "van"
    assert {v.name: v.sightings for v in gallery.vehicles()} == {"taxi": 1, "bus": 2, "vehicle-0003": 1, "van": 1}
    (van,) = [vehicle for vehicle in gallery.vehicles() if vehicle.name == "van"]
    assert (van.kind, van.created) == ("car", 1001.0)


CHANGES: dict[str, Callable[[Gallery], object]] = {
    "merge": lambda gallery: edits.merge(gallery, 2, [1, 3]),
    "merge of two": lambda gallery: edits.merge(gallery, 1, [2]),
    "split": lambda gallery: edits.split(gallery, 1, [1]),
    "split of all that was seen": lambda gallery: edits.split(gallery, 1, [1, 2], "van"),
    "rename": lambda gallery: gallery.rename(2, "coach"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_undo_gives_the_rows_back_to_the_byte(gallery: Gallery, change: str) -> None:
    looks, before = features(6), rows(gallery)
    found = gallery.search(looks, 3)
    CHANGES[change](gallery)
    assert rows(gallery) != before
    done = undo(gallery)
    assert done.verb == change.split()[0]
    assert rows(gallery) == before
    assert gallery.search(looks, 3) == found
    with pytest.raises(Refused, match="nothing to undo"):
        undo(gallery)
    with pytest.raises(Refused, match="is undone already"):
        undo(gallery, done.id)


def test_changes_that_stand_on_each_other_are_undone_in_turn(gallery: Gallery) -> None:
    before = rows(gallery)
    first = edits.merge(gallery, 1, [2])
    second = edits.split(gallery, 1, [1])
    gallery.rename(second.vehicle, "van")
    with pytest.raises(Refused, match=f"undo {second.change} first"):
        undo(gallery, first.change)
    with pytest.raises(Refused, match=r"\(rename\) stands on"):
        undo(gallery, second.change)
    for verb in ("rename", "split", "merge"):
        assert undo(gallery).verb == verb
    assert rows(gallery) == before


def test_what_came_after_a_merge_stays_with_the_one_that_stayed(gallery: Gallery) -> None:
    before, new = rows(gallery), features(1, 9)[0]
    done = edits.merge(gallery, 1, [2])
    late = seen(gallery, 1, "bridge", new)
    undo(gallery, done.change)
    assert late in [one.id for one in gallery.sightings(1)]
    assert gallery.prototypes(1)[-1].view == "bridge"
    assert gallery.prototypes(2) != []
    after = rows(gallery)
    assert after["vehicles"] == before["vehicles"]
    assert after["prototypes"][:-1] == before["prototypes"]
    assert after["sightings"][:-1] == before["sightings"]


def test_what_cannot_be_undone_is_refused_with_nothing_changed(gallery: Gallery) -> None:
    merged = edits.merge(gallery, 1, [2])
    gallery.rename(3, "bus")
    before = rows(gallery)
    with pytest.raises(Refused, match="the name 'bus' was given to another vehicle"):
        undo(gallery, merged.change)
    assert rows(gallery) == before
    gallery.rename(3, "coach")
    renamed = gallery.changes()[-1].id
    gallery.rename(3, "tram")
    with pytest.raises(Refused, match="no longer called 'coach'"):
        undo(gallery, renamed)
    gallery.remove(1)
    with pytest.raises(Refused, match="can no longer be undone"):
        undo(gallery, merged.change)
    with pytest.raises(Refused, match="there is no change 999"):
        undo(gallery, 999)
    removal = gallery.changes()[-1]
    with pytest.raises(Refused, match=r"\(remove\) is final"):
        undo(gallery, removal.id)


def test_the_last_change_is_no_older_one_than_a_final_one(gallery: Gallery) -> None:
    merged = edits.merge(gallery, 1, [2])
    with gallery.acting_as("run:live"):
        gallery.add_vehicle()
    gallery.remove(3)
    last = gallery.changes()[-1].id
    with pytest.raises(
        Refused,
        match=rf"last change, {last} \(remove\), is final; undo change {merged.change} by its id to take the merge",
    ):
        undo(gallery)
    gallery.rename(1, "cab")
    assert undo(gallery).verb == "rename"
    with pytest.raises(Refused, match=r"\(remove\), is final"):
        undo(gallery)
    assert undo(gallery, merged.change).verb == "merge"


def test_who_removes_a_vehicle_removes_what_the_audit_kept_of_those_merged_into_it(gallery: Gallery) -> None:
    gallery.rename(3, "secret")
    gallery.rename(2, "bus 2")
    edits.merge(gallery, 2, [3])
    edits.merge(gallery, 1, [2])
    gallery.rename(gallery.add_vehicle(), "other")
    gallery.remove(1)
    text = str([change.detail for change in gallery.changes()])
    assert "secret" not in text and "bus" not in text and "taxi" not in text and "other" in text


def test_kept_pictures_stay_until_the_removal_is_committed(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptFolder(folder_of_gallery(gallery.path))
    for one in gallery.sightings(1):
        kept.write(kept_name(one.camera, one.at, one.track), b"1")
    whole = kept.size()
    with pytest.raises(ZeroDivisionError), gallery.transaction():
        gallery.remove(1)
        raise ZeroDivisionError
    assert gallery.name_of(1) == "taxi" and kept.size() == whole > 0
    with gallery.transaction():
        gallery.remove(1)
        assert kept.size() == whole
    assert kept.size() == 0 and caplog.text == ""
    [one] = gallery.sightings(3)
    (kept.path / kept_name(one.camera, one.at, one.track) / "x").mkdir(parents=True)  # which cannot be unlinked
    gallery.remove(3)
    assert [vehicle.id for vehicle in gallery.vehicles()] == [2] and "its sighting is deleted" in caplog.text


def test_wrong_merges_and_splits_are_refused(gallery: Gallery, place: GalleryPlace) -> None:
    before, changes = rows(gallery), len(gallery.changes())
    for call, sentence in (
        (lambda: edits.merge(gallery, 1, []), "two vehicles or more"),
        (lambda: edits.merge(gallery, 1, [1]), "each named once"),
        (lambda: edits.merge(gallery, 1, [77]), "no vehicle 77"),
        (lambda: edits.split(gallery, 1, []), "no sighting of 'taxi' is chosen"),
        (lambda: edits.split(gallery, 1, [3]), "'taxi' has no sighting 3"),
        (lambda: edits.split(gallery, 2, [3, 4]), "all sightings of 'bus'"),
        (lambda: edits.split(gallery, 1, [1], "bus"), "already has a vehicle named 'bus'"),
    ):
        with pytest.raises(Refused, match=sentence):
            call()
    assert rows(gallery) == before
    assert len(gallery.changes()) == changes
    sql(place, "UPDATE sightings SET feature = NULL")
    with pytest.raises(Refused, match="hold no feature to find a vehicle by"):
        edits.split(gallery, 1, [1])


def test_the_audit_says_who_and_a_removal_empties_it(gallery: Gallery) -> None:
    gallery.who = "run:live"
    gallery.rename(2, "coach")
    gallery.who = "ann"
    done = edits.merge(gallery, 2, [3])
    audit = [(change.who, change.verb, change.vehicle) for change in gallery.changes()]
    me = login()
    assert audit == [
        (me, "enrol", 1), (me, "enrol", 2), (me, "enrol", 3), ("run:live", "rename", 2), ("ann", "merge", 2)
    ]  # fmt: skip
    assert [change.verb for change in gallery.changes(vehicle=3)] == ["enrol", "merge"]
    assert [change.id for change in gallery.changes(last=1)] == [done.change]
    gallery.remove(2)
    own = gallery.changes(vehicle=2)
    assert [change.verb for change in own] == ["enrol", "rename", "merge", "remove"]
    assert all("coach" not in str(change.detail) and change.undo_data is None for change in own)


def test_a_refused_change_leaves_no_audit_row(gallery: Gallery) -> None:
    before = len(gallery.changes())
    with pytest.raises(Refused):
        gallery.rename(1, "bus")
    with pytest.raises(KeyError), gallery.transaction():
        gallery.remove(1)
        raise KeyError
    assert len(gallery.changes()) == before


def test_another_process_sees_a_merge(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        for row in features(2):
            seen(gallery, gallery.add_vehicle(), "gate", row)
        with opened(place, write=False) as reader:
            assert reader.search(features(2)[1:], 1)[0][0].vehicle == 2
            edits.merge(gallery, 1, [2])
            assert reader.search(features(2)[1:], 1)[0][0].vehicle == 1
            undo(gallery)
            assert reader.search(features(2)[1:], 1)[0][0].vehicle == 2
