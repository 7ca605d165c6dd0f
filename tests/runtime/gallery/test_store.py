"""What every store does: rows come back as they were put in, transactions nest, ids are given once, changes are numbered."""

from dataclasses import replace

import numpy as np
import pytest
from made_gallery import DIM, features

from vreid.runtime.gallery.records import Filter, Prototype, SightingRow, VehicleRow
from vreid.runtime.gallery.store import Store

TAXI = VehicleRow(1, "Taxi", True, 5.0, "car", None, b"\xff\xd8enrolled")
SEEN = SightingRow(
    "gate", 3, 1.0, 2.0, 10, 20, float("-inf"), b"\xff\xd8seen", "run-1", 100.0, "car", "B 1", 0.5,
    features(1)[0].astype(np.float16),
)  # fmt: skip


def looks(count: int, seed: int = 0) -> list[Prototype]:
    return [Prototype(0, f"view {place}", row, 0.5, 1 + place) for place, row in enumerate(features(count, seed))]


def cells(row: SightingRow) -> tuple[object, ...]:
    return (
        *[value for key, value in vars(row).items() if key != "feature"],
        None if row.feature is None else [*row.feature],
    )


def test_rows_come_back_as_they_were_put_in(store: Store) -> None:
    with store.transaction():
        store.add_vehicle(TAXI)
        for prototype in looks(3):
            store.add_prototype(1, prototype)
        rows = [SEEN, replace(SEEN, feature=None, thumbnail=None, plate=None, seen=50.0, camera="Süd")]
        ids = [store.add_sighting(1, row) for row in rows]
    assert store.vehicle(1) == TAXI and store.vehicle(2) is None
    assert [*store.vehicle_rows()] == [TAXI]
    assert (store.vehicle_with_key("taxi"), store.name_of(1), store.names([1, 7])) == (1, "Taxi", {1: "Taxi"})
    assert [cells(row) for row in store.sighting_rows(1)] == [cells(row) for row in rows]
    assert store.sighting_ids(1) == ids == [1, 2]
    assert [(one.camera, one.at, one.feature, one.picture) for one in store.sightings(1)] == [
        ("Süd", 50.0, 0, 0), ("gate", 100.0, 1, 1)
    ]  # fmt: skip
    assert [(one.sighting, one.jpeg) for one in store.pictures(1)] == [(1, b"\xff\xd8seen")]
    kept = store.prototypes(1)
    assert [(one.id, one.view, one.weight, one.count) for one in kept] == [
        (1, "view 0", 0.5, 1), (2, "view 1", 0.5, 2), (3, "view 2", 0.5, 3)
    ]  # fmt: skip
    np.testing.assert_array_equal(np.stack([one.feature for one in kept]), features(3))
    assert store.size() == (1, 3)
    with store.transaction():
        store.update_vehicle(replace(TAXI, name="Bus", named=False, thumbnail=None))
        store.delete_prototypes([1, 3])
    assert store.vehicle(1) == replace(TAXI, name="Bus", named=False, thumbnail=None)
    assert store.vehicle_with_key("taxi") is None and [one.id for one in store.prototypes(1)] == [2]


def test_what_belongs_to_one_vehicle_moves_to_another_and_goes_with_it(store: Store) -> None:
    with store.transaction():
        for vehicle in (1, 2):
            store.add_vehicle(replace(TAXI, id=vehicle, name=f"car {vehicle}"))
            store.add_prototype(vehicle, looks(1, vehicle)[0])
            for _ in range(3):
                store.add_sighting(vehicle, SEEN)
        store.move_sightings(1, 2, [1, 5])  # 5 is not of 1
        assert (store.sighting_ids(1), store.sighting_ids(2)) == ([2, 3], [1, 4, 5, 6])
        store.move_sightings(1, 2)
        store.move_prototypes(1, 2)
        assert (store.sighting_ids(1), [one.id for one in store.prototypes(2)]) == ([], [1, 2])
        store.delete_vehicle(2)
    assert store.size() == (1, 0)
    assert (store.stats().sightings, store.vehicle_ids(Filter(cameras=("gate",)))) == (0, [])


def test_ids_are_given_once(store: Store) -> None:
    with store.transaction():
        for _ in range(2):
            new = store.new_vehicle_id()
            store.add_vehicle(replace(TAXI, id=new, name=f"car {new}"))
            store.add_prototype(new, looks(1)[0])
            store.delete_vehicle(new)
        assert (store.last_vehicle_id(), store.new_vehicle_id()) == (2, 3)
        store.reserve_vehicle_ids(9)
        assert store.new_vehicle_id() == 10
        store.add_vehicle(TAXI)  # an id that was, as an undo puts it back
        assert store.add_prototype(1, looks(1)[0]) == 3


def test_transactions_nest_and_a_reader_sees_what_was_kept(store: Store) -> None:
    reader = store.features.reader()
    with store.transaction():
        store.add_vehicle(TAXI)
        with pytest.raises(KeyError), store.transaction():
            store.add_prototype(1, looks(1)[0])
            raise KeyError
        assert store.features.in_transaction and store.size() == (1, 0)
        with store.transaction():
            store.add_prototype(1, looks(1)[0])
        assert reader.count() == 0
    assert reader.count() == 1 and not store.features.in_transaction
    with reader.reading():
        assert reader.count() == 1
        with store.transaction():
            store.add_prototype(1, looks(1, 1)[0])
        assert reader.count() == 1  # one moment
    assert reader.count() == 2
    with pytest.raises(KeyError), store.transaction():
        store.delete_vehicle(1)
        raise KeyError
    assert store.size() == (1, 2)
    reader.close()


def test_every_change_of_a_prototype_has_the_next_number(store: Store) -> None:
    source, rows = store.features, features(3)
    with store.transaction():
        store.add_vehicle(TAXI)
        for prototype in looks(3):
            store.add_prototype(1, prototype)
        store.update_prototype(replace(store.prototypes(1)[1], weight=2.0))
        store.delete_prototypes([3])
    assert source.last_change() == 5
    assert source.changes(0, 5).tolist() == [[1, 1], [2, 2], [3, 3], [4, 2], [5, 3]]
    assert source.changes(3, 4).tolist() == [[4, 2]]
    ids, owners, found = source.of(np.array([3, 2, 99]))
    assert (ids.tolist(), owners.tolist(), found.shape) == ([2], [1], (1, DIM))
    np.testing.assert_array_equal(np.concatenate([page[2] for page in source.pages()]), rows[:2])
    stamp = source.stamp_of(5)
    assert stamp is not None and stamp != source.stamp_of(4) and source.stamp_of(6) is None


def test_changes_by_hand_are_kept_until_they_are_to_be_forgotten(store: Store) -> None:
    with store.transaction():
        one = store.add_change("ann", "merge", 1, {"vehicles": [1, 2], "undo": {"jpeg": b"\xff"}})
        store.add_change("run:live", "enrol", 3, {"name": "x"})
    merge, enrol = store.changes()
    assert (merge.undo_data, merge.summary) == ({"jpeg": "/w=="}, {"vehicles": [1, 2]})
    assert store.changes(last=1) == [enrol] and store.changes(vehicle=2) == [merge]
    with store.transaction():
        store.mark_undone(one, 7)
    assert (store.changes()[0].undone, store.changes()[0].undo_data) == (7, None)
    with store.transaction():
        store.trim_changes(1e12)
        store.forget_changes([2])
    assert [change.detail for change in store.changes()] == [{"vehicles": [1, 2], "forgotten": True}]


def test_the_retention_is_held_by_the_store(store: Store) -> None:
    assert store.retention() is None
    with store.transaction():
        store.set_retention(600.0)
        store.set_retention(900.0)
    assert store.retention() == store.stats().retention == 900.0
    with store.transaction():
        store.set_retention(None)
    assert store.retention() is None


def test_the_newest_sighting_of_a_track_goes_on_and_no_other(store: Store) -> None:
    with store.transaction():
        store.add_vehicle(TAXI)
        for row in (SEEN, replace(SEEN, track=SEEN.track + 1), SEEN):
            store.add_sighting(1, row)
        longer = replace(SEEN, last_time=SEEN.last_time + 50, last_frame=SEEN.last_frame + 500, seen=SEEN.seen + 50)
        assert store.extend_sighting(1, longer)
        ends = {row.id: (row.at, row.last_time) for row in store.sightings(1)}
        assert ends == {
            1: (SEEN.seen, SEEN.last_time), 2: (SEEN.seen, SEEN.last_time), 3: (longer.seen, longer.last_time)
        }  # fmt: skip
        for other in ({"run": "other"}, {"camera": "other"}, {"first_time": -1.0}, {"track": 99}):
            assert not store.extend_sighting(1, replace(longer, **other))
        assert not store.extend_sighting(2, longer)
