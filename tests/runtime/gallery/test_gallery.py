"""Vehicles in a gallery: their prototypes, names, ids, sightings, and all-or-nothing changes."""

import numpy as np
import pytest
from made_gallery import DIM, features, opened, sighting

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.prototypes import surplus
from vreid.runtime.gallery.records import Prototype
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.records import Floats

# Prototypes


def test_near_features_of_one_view_become_their_weighted_mean(place: GalleryPlace) -> None:
    base, aside = np.eye(DIM, dtype=np.float32)[:2]
    near = base + np.float32(0.2) * aside
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle()
        first = gallery.add_prototype(vehicle, "front", base, 1.0)
        assert gallery.add_prototype(vehicle, "front", near, 3.0) == first
        assert gallery.add_prototype(vehicle, "rear", near, 1.0) != first
        mean = base + 3 * near / np.linalg.norm(near)
        (hits,) = gallery.search(mean[None], 1)
        assert hits[0].score == pytest.approx(1, abs=1e-6)
        assert gallery.stats().prototypes == 2


def test_beyond_the_cap_the_lightest_goes(place: GalleryPlace) -> None:
    rows = np.eye(DIM, dtype=np.float32)
    with opened(place, max_prototypes=2) as gallery:
        vehicle = gallery.add_vehicle()
        gallery.add_prototype(vehicle, "a", rows[0], 0.5)
        gallery.add_prototype(vehicle, "b", rows[1], 0.2)
        assert gallery.add_prototype(vehicle, "c", rows[2], 0.3) is not None
        assert gallery.add_prototype(vehicle, "d", rows[3], 0.1) is None
        best = [hits[0].score for hits in gallery.search(rows[:4], 1)]
        assert best == [1, 0, 1, 0]
    alike = [Prototype(id_, "a", rows[0], 1.0, 1) for id_ in (5, 6, 7)]
    assert [prototype.id for prototype in surplus(alike, 2)] == [7]


@pytest.mark.parametrize("bad", [np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM + 1)])
def test_a_feature_that_is_none_is_refused(place: GalleryPlace, bad: Floats) -> None:
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle()
        with pytest.raises(Refused):
            gallery.add_prototype(vehicle, "front", bad)
        with pytest.raises(Refused):
            gallery.search(bad[None], 1)
        assert gallery.stats().prototypes == 0


# Names, ids, sightings


def test_vehicles_are_listed_with_where_they_were_seen(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        one, two = gallery.add_vehicle("taxi", np.zeros((9, 9, 3), np.uint8)), gallery.add_vehicle()
        gallery.add_prototype(one, "gate", features(1)[0])
        gallery.add_sighting(one, sighting(camera="yard", last_time=9.0), 0.7, "run-1")
        gallery.add_sighting(one, sighting(last_time=5.0), 0.8, "run-2")
        taxi, other = gallery.vehicles()
        assert (taxi.id, taxi.name, taxi.prototypes, taxi.sightings) == (one, "taxi", 1, 2)
        assert (taxi.cameras, taxi.last_camera, taxi.last_seen) == (("gate", "yard"), "gate", 5.0)
        assert taxi.thumbnail is not None
        assert taxi.thumbnail.startswith(b"\xff\xd8")
        assert (other.id, other.name, other.cameras, other.last_seen) == (two, "vehicle-0002", (), None)
        assert gallery.vehicles(thumbnails=False)[0].thumbnail is None
        stats = gallery.stats()
        assert (stats.vehicles, stats.prototypes, stats.sightings, stats.cameras) == (2, 1, 2, 2)


def test_names_are_unique_and_ids_are_never_given_twice(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        one = gallery.add_vehicle("vehicle-0002")
        two = gallery.add_vehicle()
        assert gallery.name_of(two) == "vehicle-0002-2"
        with pytest.raises(Refused, match="already has"):
            gallery.add_vehicle("vehicle-0002")
        with pytest.raises(Refused, match="already has"):
            gallery.rename(two, "vehicle-0002")
        gallery.rename(two, "bus")
        gallery.rename(two, "bus")
        gallery.remove(two)
        three = gallery.add_vehicle("bus")
        assert len({one, two, three}) == 3
        for bad in ("", "  ", "a\nb", "x" * 201, "\udcff"):
            with pytest.raises(Refused, match="printable"):
                gallery.add_vehicle(bad)
        assert [vehicle.name for vehicle in gallery.vehicles()] == ["vehicle-0002", "bus"]


def test_no_id_goes_beyond_31_bits(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        gallery.add_vehicle()
        with gallery.transaction() as store:
            store.reserve_vehicle_ids(2**31 - 2)
        assert gallery.name_of(gallery.add_vehicle()) == "vehicle-2147483647"
        with pytest.raises(Refused, match="its last id"):
            gallery.add_vehicle()


def test_a_vehicle_is_found_by_name_or_id_but_never_guessed(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        one, two = gallery.add_vehicle("2"), gallery.add_vehicle("bus")
        assert gallery.find("bus") == two
        assert gallery.find("1") == one
        with pytest.raises(Refused, match="id=1 or id=2"):
            gallery.find("2")
        assert gallery.find("id=2") == two
        for nobody in ("3", "id=0", str(2**31), str(2**70), "", "\udcff", "٢"):
            with pytest.raises(Refused, match="no vehicle"):
                gallery.find(nobody)
        three = gallery.add_vehicle("id=2")
        assert gallery.find("id=2") == two and gallery.find(f"id={three}") == gallery.find("ID=2") == three


@pytest.mark.parametrize("vehicle", [0, -1, 7, 2**31, 2**63, 2**70])
def test_an_unknown_vehicle_is_refused(place: GalleryPlace, vehicle: int) -> None:
    with opened(place) as gallery:
        for request in (
            lambda: gallery.rename(vehicle, "x"),
            lambda: gallery.remove(vehicle),
            lambda: gallery.add_prototype(vehicle, "front", features(1)[0]),
            lambda: gallery.add_sighting(vehicle, sighting(), 0.5),
        ):
            with pytest.raises(Refused, match="no vehicle"):
                request()


def test_removing_forgets_prototypes_and_sightings(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle()
        gallery.add_prototype(vehicle, "front", features(1)[0])
        gallery.add_sighting(vehicle, sighting(), 0.5)
        assert gallery.search(features(1), 1)[0][0].vehicle == vehicle
        gallery.remove(vehicle)
        assert gallery.search(features(1), 1) == [[]]
        stats = gallery.stats()
        assert (stats.vehicles, stats.prototypes, stats.sightings) == (0, 0, 0)


def test_a_transaction_is_all_or_nothing(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        kept = gallery.add_vehicle("kept")
        gallery.add_prototype(kept, "front", features(1)[0])
        before = gallery.search(features(3, 2), 5)
        with pytest.raises(Refused, match="already has"), gallery.transaction():
            new = gallery.add_vehicle("new")
            gallery.add_prototype(new, "front", features(1, 7)[0])
            gallery.remove(kept)
            assert [hit.name for hit in gallery.search(features(1, 7), 5)[0]] == ["new"]
            gallery.add_vehicle("new")
        assert gallery.search(features(3, 2), 5) == before
        with gallery.transaction():  # a refused call inside leaves the rest of the transaction alone
            gallery.add_vehicle("second")
            with pytest.raises(Refused):
                gallery.add_vehicle("second")
    with read_gallery(place) as again:
        assert [vehicle.name for vehicle in again.vehicles()] == ["kept", "second"]
        with pytest.raises(Refused, match="for reading"):
            again.remove(kept)
