"""Pages of sightings and vehicles from every store: in order, without a gap or a repeat, and what a slow look at all gives."""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest
from made_gallery import DIM, features, sighting

from vreid.models.errors import NotFound, Refused
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import EVERYTHING, Filter, Part, SightingInfo, SightingRow, VehicleRow
from vreid.runtime.gallery.store import Store

CAMERAS, KINDS = ("gate", "ramp", "süd"), ("bus", "car", None)
ZONES: tuple[tuple[str, ...], ...] = ((), ("entry",), ("entry", "exit"), (), ('a "entry" [ä]', "exit"))
NAMES = {1: "Taxi", 2: "van", 3: "vehicle-0003", 4: "Taxi 2", 5: "vehicle-0005"}


def row(place: int) -> SightingRow:
    """Times come twice each, and not in the order of the ids."""
    rng = np.random.default_rng(place)
    plate = None if place % 3 else f"B-{place % 7} x"
    return SightingRow(
        str(rng.choice(CAMERAS)), place, 1.0, 2.0, 10, 20, 0.5, None if place % 5 else b"\xff\xd8%d" % place, "run-1",
        1000.0 + 10 * (place * 7 % 20), KINDS[place % 3], plate, 0.5, features(1, place)[0].astype(np.float16),
        ZONES[place % 5],
    )  # fmt: skip


@pytest.fixture
def full(store: Store) -> Store:
    """40 sightings of five vehicles, the last of which was never seen."""
    with store.transaction():
        for vehicle, name in NAMES.items():
            named = not name.startswith("vehicle")
            store.add_vehicle(
                VehicleRow(vehicle, name, named, 5.0, None, None, b"\xff\xd8own" if vehicle > 3 else None)
            )
        for place in range(40):
            store.add_sighting(1 + place % 4, row(place))
    return store


def passes(only: Filter, one: SightingInfo) -> bool:
    """The filter's words, one by one."""
    plate = None if one.plate is None else one.plate.replace("-", "").replace(" ", "").upper()
    return all((
        not only.ids or one.vehicle in only.ids,
        not only.names or any(fnmatchcase(NAMES[one.vehicle].casefold(), name.casefold()) for name in only.names),
        not only.cameras or one.camera in only.cameras,
        not only.kinds or one.kind in only.kinds,
        not only.plates or (plate is not None and any(fnmatchcase(plate, like) for like in only.plates)),
        not only.zones or bool({*only.zones} & {*one.zones}),
        only.since is None or one.at >= only.since,
        only.until is None or one.at < only.until,
    ))  # fmt: skip


FILTERS = {
    "everything": EVERYTHING,
    "one camera": Filter(cameras=("gate",)),
    "two cameras, one twice": Filter(cameras=("gate", "süd", "gate")),
    "a camera that is not there": Filter(cameras=("moon",)),
    "a kind": Filter(kinds=("bus",)),
    "a camera and two kinds": Filter(cameras=("ramp",), kinds=("bus", "car")),
    "some time": Filter(since=1050.0, until=1120.0),
    "two vehicles": Filter(ids=(2, 4)),
    "a vehicle that is not there": Filter(ids=(9,)),
    "a vehicle that was never seen": Filter(ids=(5,)),
    "a name": Filter(names=("TAXI*",)),
    "a name and a camera": Filter(names=("taxi",), cameras=("gate", "ramp")),
    "a zone": Filter(zones=("entry",)),
    "a zone with signs": Filter(zones=('a "entry" [ä]',)),
    "zones that are not there, and one": Filter(zones=("moon", "exi", "exit"), cameras=("gate", "ramp")),
    "a zone that is not there": Filter(zones=("try",)),
    "a zone, a kind, some time": Filter(zones=("exit",), kinds=("car",), since=1020.0),
    "a plate": Filter(plates=("B3X",)),
    "plates": Filter(plates=("B*", "c"), since=1030.0),
    "plates that end so": Filter(plates=("*3X", "?5?"), cameras=("gate", "süd")),
}


@pytest.mark.parametrize("only", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_of_sightings_are_what_a_look_at_all_gives(full: Store, only: Filter, limit: int) -> None:
    every = [one for vehicle in NAMES for one in full.sightings(vehicle)]
    expected = sorted((one for one in every if passes(only, one)), key=lambda one: (one.at, one.id), reverse=True)
    found: list[SightingInfo] = []
    while page := full.latest_sightings(only, (found[-1].at, found[-1].id) if found else None, limit):
        assert len(page) <= limit
        found += page
    assert found == expected


def test_more_names_than_are_looked_up_one_by_one(store: Store) -> None:
    with store.transaction():
        for vehicle in range(1, 101):
            store.add_vehicle(VehicleRow(vehicle, f"car {vehicle}" if vehicle > 5 else f"bus {vehicle}", True, 5.0))
            store.add_sighting(vehicle, row(vehicle))
    found = store.latest_sightings(Filter(names=("car*",)), None, 200)
    assert sorted(one.vehicle for one in found) == [*range(6, 101)]
    assert found == sorted(found, key=lambda one: (one.at, one.id), reverse=True)
    gate = store.latest_sightings(Filter(names=("car*",), cameras=("gate",)), None, 200)
    assert gate == [one for one in found if one.camera == "gate"] != []


@pytest.mark.parametrize("only", FILTERS.values(), ids=FILTERS)
def test_a_filter_lets_the_vehicles_of_its_sightings_through(full: Store, only: Filter) -> None:
    if only in (EVERYTHING, FILTERS["a name"], FILTERS["a vehicle that was never seen"]):  # no sighting is asked for
        expected = {vehicle for vehicle in NAMES if vehicle != 5} | ({5} if only.names == () else set())
        expected &= {1, 4} if only.names else {5} if only.ids else set(NAMES)
    else:
        every = [one for vehicle in NAMES for one in full.sightings(vehicle)]
        expected = {one.vehicle for one in every if passes(only, one)}
    assert set(full.vehicle_ids(only)) == expected
    assert [one.id for one in full.vehicles(only, part=Part("id"))] == sorted(expected)


SORTED: dict[str, Callable[[int, float], tuple[float, ...]]] = {
    "last-seen": lambda vehicle, last: (-last, -vehicle),
    "named-first": lambda vehicle, last: (float(vehicle in (3, 5)), -last, -vehicle),
}


def pages_of(store: Store, only: Filter, sort: str, limit: int) -> list[list[int]]:
    """All pages; the last one is empty."""
    pages, place = list[list[int]](), None
    while not pages or pages[-1]:
        pages.append([one.id for one in store.vehicles(only, part=Part(sort, limit, place))])
        place = store.place(pages[-1][-1], sort) if pages[-1] else None
    return pages


@pytest.mark.parametrize("sort", SORTED)
def test_pages_of_vehicles_by_when_they_were_seen(full: Store, sort: str) -> None:
    last = {vehicle: max((one.at for one in full.sightings(vehicle)), default=0.0) for vehicle in NAMES}
    expected = sorted(NAMES, key=lambda vehicle: SORTED[sort](vehicle, last[vehicle]))
    assert [one.id for one in full.vehicles(part=Part(sort))] == expected
    assert pages_of(full, EVERYTHING, sort, 2) == [expected[:2], expected[2:4], expected[4:], []]
    with full.transaction():  # the newest sighting goes to another one
        newest = full.latest_sightings(limit=1)[0]
        full.move_sightings(newest.vehicle, 5, [newest.id])
    assert next(one.id for one in full.vehicles(part=Part(sort)) if one.id in (3, 5)) == 5


@pytest.mark.parametrize("newest", [(1,), (3, 9), (12,), (1000,)])
@pytest.mark.parametrize("only", FILTERS.values(), ids=FILTERS)
def test_pages_by_last_seen_are_the_same_wherever_they_are_found(
    full: Store, monkeypatch: pytest.MonkeyPatch, newest: tuple[int, ...], only: Filter
) -> None:
    """Among few of the newest sightings, some of which are of one time, or among all vehicles."""
    expected = [one.id for one in full.vehicles(only, part=Part("last-seen"))]
    monkeypatch.setattr(f"{type(full).__module__.removesuffix('.store')}.reading._NEWEST", newest)
    for limit in (1, 2, 5):
        assert [id_ for page in pages_of(full, only, "last-seen", limit) for id_ in page] == expected


@pytest.mark.parametrize("newest", [(1,), (3, 9), (1000,)])
@pytest.mark.parametrize("sort", SORTED)
def test_who_is_seen_again_between_pages_moves_no_one_else(
    full: Store, monkeypatch: pytest.MonkeyPatch, newest: tuple[int, ...], sort: str
) -> None:
    monkeypatch.setattr(f"{type(full).__module__.removesuffix('.store')}.reading._NEWEST", newest)
    order = [one.id for one in full.vehicles(part=Part(sort))]
    moving = (order[0], order[2])  # one that was listed, and one that was not yet
    place = full.place(order[1], sort)
    with full.transaction():
        for number, vehicle in enumerate(moving):
            full.add_sighting(vehicle, replace(row(vehicle), seen=5000.0 + number))
    assert full.place(order[0], sort) != place
    assert [one.id for one in full.vehicles(part=Part(sort, 10, place))] == order[3:]
    with full.transaction():
        full.delete_vehicle(order[1])  # the one at whose place the part ends
    assert [one.id for one in full.vehicles(part=Part(sort, 1, place))] == [order[3]]
    with pytest.raises(NotFound, match=f"no vehicle {order[1]}"):
        full.place(order[1], sort)


def test_one_sighting_with_its_picture_and_feature(store: Store) -> None:
    gallery = Gallery(store, "flat", Rule())
    with gallery.transaction():
        store.add_vehicle(VehicleRow(1, "Taxi", True, 5.0, None, None, b"\xff\xd8own"))
        assert gallery.vehicle_picture(1) == b"\xff\xd8own"
        for place in (5, 10, 11):
            store.add_sighting(1, row(place))
        store.add_sighting(1, replace(row(1), feature=None))
    assert gallery.sighting(2) == next(one for one in gallery.sightings(1) if one.id == 2)
    assert (gallery.sighting(2).vehicle, gallery.sighting(2).track) == (1, 10)
    assert (gallery.sighting_picture(2), gallery.sighting_picture(3)) == (b"\xff\xd810", None)
    feature = gallery.sighting_feature(1)
    assert feature is not None and feature.dtype == np.float32 and feature.shape == (DIM,)
    np.testing.assert_array_equal(feature, features(1, 5)[0].astype(np.float16).astype(np.float32))
    assert gallery.sighting_feature(4) is gallery.sighting_feature(99) is gallery.sighting_picture(99) is None
    newest = max((row(place).seen, row(place).thumbnail) for place in (5, 10))  # 11 and 1 have no picture
    assert gallery.vehicle_picture(1) == newest[1] and gallery.vehicle_picture(9) is None
    with pytest.raises(Refused, match="there is no sighting 99"):
        gallery.sighting(99)
    with pytest.raises(Refused, match="0 or more"):
        gallery.latest_sightings(limit=-1)
    assert gallery.latest_sightings(limit=0) == []


def test_a_track_is_written_down_with_its_zones(gallery: Gallery) -> None:
    vehicle = gallery.add_vehicle()
    first = gallery.add_sighting(vehicle, sighting(seen=7.0, zones=("entry",)), 0.5, "run-1")
    gallery.add_sighting(vehicle, sighting(1, seen=8.0, track=4), 0.5, "run-1")
    assert [one.zones for one in gallery.sightings(vehicle)] == [("entry",), ()]
    gallery.extend_sighting(vehicle, sighting(seen=9.0, zones=("entry", "exit")), 0.5, "run-1")
    (newest, _) = gallery.latest_sightings()
    assert (newest.id, newest.at, newest.zones) == (first, 9.0, ("entry", "exit"))
    assert [one.id for one in gallery.vehicles(only=Filter(zones=("exit",)))] == [vehicle]
    with pytest.raises(Refused, match="zone has control characters"):
        gallery.add_sighting(vehicle, sighting(zones=("a\n",)), 0.5)


def test_sightings_and_changes_in_the_order_in_which_they_were_written(full: Store, gallery: Gallery) -> None:
    every = sorted((one for vehicle in NAMES for one in full.sightings(vehicle)), key=lambda one: one.id)
    assert full.sightings_after(0, 50) == every
    assert full.sightings_after(every[9].id, 3) == every[10:13]
    assert full.last_sighting_id() == every[-1].id and full.sightings_after(every[-1].id, 3) == []
    with full.transaction():
        full.delete_vehicle(every[-1].vehicle)
    assert full.last_sighting_id() == every[-1].id
    for name in ("van a", "van b", "van c"):
        gallery.rename(1, name)
    changes = gallery.changes()
    assert full.changes_after(0, 2) == changes[:2] and full.changes_after(changes[1].id, 50) == changes[2:]


def test_the_cameras_and_kinds_of_all_sightings(full: Store, store: Store) -> None:
    assert full.cameras() == sorted(CAMERAS) and full.kinds() == ["bus", "car"]
    with store.transaction():
        for vehicle in NAMES:
            store.delete_vehicle(vehicle)
    assert (full.cameras(), full.kinds()) == ([], [])


def test_pages_of_changes(gallery: Gallery) -> None:
    for place in range(6):
        gallery.rename(gallery.add_vehicle(f"car {place}"), f"van {place}")
    every = gallery.changes()
    assert [change.id for change in every] == [*range(1, 13)]
    assert gallery.changes(5, before=9) == every[3:8]
    assert gallery.changes(2, vehicle=3, before=6) == [every[4]]
    assert gallery.changes(verbs=["rename"], before=5) == [every[1], every[3]]
    assert gallery.changes(5, before=1) == []
