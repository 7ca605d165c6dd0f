"""A filter lets through what a loop over all vehicles and sightings would."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from made_gallery import DIM, features

from vreid.cli.gallery_album import album
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.records import EVERYTHING, SORTS, Filter, Part
from vreid.runtime.gallery.store import STORES
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.records import FinishedTrack

KINDS = {2: "car", 5: "bus", 7: "truck"}


@pytest.fixture(scope="module", params=sorted(STORES))
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Gallery, dict[int, tuple[str, str | None, list[FinishedTrack]]]]:
    """Thirty vehicles with up to four sightings, drawn at random, and the same as plain Python."""
    rng, plain = np.random.default_rng(4), {}
    place: GalleryPlace = tmp_path_factory.mktemp("world") / "g.db"
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres").new_place("world")
    gallery = open_gallery(place, fingerprint="aaaaaaaa", dim=DIM, model="small", write=True)
    plain_picture = np.full((20, 30, 3), 80, np.uint8)
    with gallery.transaction():
        for number, feature in enumerate(features(30)):
            kind = rng.choice([None, "bus", "car"])
            name = None if number % 3 else f"Taxi {number}"
            vehicle = gallery.add_vehicle(name, plain_picture, kind)
            gallery.add_prototype(vehicle, "enrolled", feature)
            sightings = []
            for _ in range(rng.integers(0, 5)):
                plate = rng.choice(np.array([None, "B-AB 12", "KA XY 9"], object))
                sighting = FinishedTrack(
                    str(rng.choice(["gate", "yard", "brücke"])), 1, 0, 9, 0.0, 1.0, int(rng.choice([2, 5, 7])), feature, 1,
                    0.5, plain_picture, float(rng.integers(0, 100)), plate,
                )  # fmt: skip
                gallery.add_sighting(vehicle, replace(sighting, seen=sighting.seen + 1), 0.5, "live")
                sightings.append(replace(sighting, seen=sighting.seen + 1))
            plain[vehicle] = (gallery.name_of(vehicle), kind, sightings)
    return gallery, plain


FILTERS = {
    "everything": EVERYTHING,
    "one camera": Filter(cameras=("gate",)),
    "cameras": Filter(cameras=("gate", "brücke")),
    "since": Filter(since=50.0),
    "until": Filter(until=20.0),
    "a span at a camera": Filter(cameras=("yard",), since=20.0, until=60.0),
    "kind": Filter(kinds=("bus",)),
    "kinds at a camera": Filter(kinds=("bus", "truck"), cameras=("gate",)),
    "name": Filter(names=("taxi*",)),
    "names and kind": Filter(names=("taxi 1?", "vehicle-00*"), kinds=("car",)),
    "plate": Filter(plates=("bab12",)),
    "plates at a time": Filter(plates=("ka*", "B-A?-12"), since=30.0),
    "ids": Filter(ids=(1, 2, 99), cameras=("gate", "yard", "brücke")),
    "nobody": Filter(cameras=("nowhere",)),
    "run": Filter(runs=("live",)),
    "quotes": Filter(names=("' OR 1 --",)),
}


def fits(sighting: FinishedTrack, only: Filter, kind: str | None) -> bool:
    def bare(text: str) -> str:
        return text.upper().replace(" ", "").replace("-", "")

    plates = [bare(pattern) for pattern in only.plates]
    return (
        (not only.cameras or sighting.camera in only.cameras)
        and (not only.kinds or kind in only.kinds or KINDS[sighting.kind] in only.kinds)
        and (not plates or (sighting.plate is not None and any(fnmatchcase(bare(sighting.plate), p) for p in plates)))
        and (only.since is None or sighting.seen >= only.since)
        and (only.until is None or sighting.seen < only.until)
        and (not only.runs or "live" in only.runs)
    )


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_a_loop(
    world: tuple[Gallery, dict[int, tuple[str, str | None, list[FinishedTrack]]]], name: str
) -> None:
    (gallery, plain), only = world, FILTERS[name]
    needs_one = any((only.cameras, only.plates, only.runs, only.since is not None, only.until is not None))
    slow = [
        vehicle
        for vehicle, (called, kind, sightings) in plain.items()
        if (not only.ids or vehicle in only.ids)
        and (not only.names or any(fnmatchcase(called.lower(), pattern.lower()) for pattern in only.names))
        and (
            any(fits(sighting, only, kind) for sighting in sightings)
            or (not needs_one and (not only.kinds or kind in only.kinds))
        )
    ]
    assert [vehicle.id for vehicle in gallery.vehicles(only=only)] == slow
    hits = gallery.search(features(2), 40, only=only)
    assert [sorted(hit.vehicle for hit in row) for row in hits] == [slow, slow]


def test_one_vehicle_is_shown_with_all_that_is_known(
    world: tuple[Gallery, dict[int, tuple[str, str | None, list[FinishedTrack]]]],
) -> None:
    gallery, plain = world
    vehicle = next(id_ for id_, (_, _, sightings) in plain.items() if len(sightings) > 2)
    shown = gallery.details(vehicle)
    times = sorted(sighting.seen for sighting in plain[vehicle][2])
    assert [sighting.at for sighting in shown.sightings] == times
    assert [(one.view, one.count) for one in shown.prototypes] == [("enrolled", 1)]
    assert [change.verb for change in shown.changes] == ["enrol"]
    only = Filter(since=times[1])
    assert [sighting.at for sighting in gallery.sightings(vehicle, only)] == times[1:]
    with gallery.reading() as store:
        pictures = list(store.pictures(vehicle, only))
        assert [one.sighting for one in store.pictures(vehicle, only, 1)] == [pictures[0].sighting]
    assert [one.sighting for one in pictures] == sorted((one.sighting for one in pictures), reverse=True)
    assert len(pictures) == len(times) - 1
    assert all(one.jpeg.startswith(b"\xff\xd8") for one in pictures)


def test_the_album_shows_who_was_chosen_and_trusts_no_name(tmp_path: Path) -> None:
    path = tmp_path / "<b>.db"
    with open_gallery(path, fingerprint="a", dim=DIM, model="<i>", write=True) as gallery:
        gallery.add_vehicle("<script>alert(1)</script>", np.zeros((9, 9, 3), np.uint8))
        gallery.add_vehicle("plain")
        vehicles = gallery.vehicles(thumbnails=False)
        page = "".join(album(gallery, vehicles, EVERYTHING, 2))
        assert "<script" not in page
        assert "<b>.db" not in page
        assert page.count("<article") == 2
        assert page.count("<img") == page.count("data:image/jpeg") == 1
        assert "".join(album(gallery, vehicles[1:], EVERYTHING, 1)).count("<article") == 1


def test_lists_are_sorted_and_come_in_parts(place: GalleryPlace) -> None:
    with open_gallery(place, fingerprint="a", dim=DIM, model="m", write=True) as gallery:
        for number, (name, times) in enumerate(
            {"delta": (10, 50), "Bravo": (), "alpha": (40,), "charlie": (20, 30, 35)}.items()
        ):
            vehicle = gallery.add_vehicle(name)
            for time in times:
                picture = np.zeros((20, 30, 3), np.uint8)
                track = FinishedTrack(
                    f"cam{number}", 1, 0, 9, 0.0, 1.0, 2, features(1)[0], 1, 0.5, picture, float(time)
                )
                gallery.add_sighting(vehicle, track, 0.9)

        def names(sort: str, limit: int | None = None, after: str = "", only: Filter = EVERYTHING) -> list[str]:
            with gallery.reading() as store:
                place = store.place(gallery.find(after), sort) if after else None
            found = gallery.vehicles(thumbnails=False, only=only, part=Part(sort, limit, place))
            assert all(vehicle.cameras == gallery.details(vehicle.id).vehicle.cameras for vehicle in found)
            return [vehicle.name for vehicle in found]

        assert names("id") == ["delta", "Bravo", "alpha", "charlie"]
        assert names("name") == ["alpha", "Bravo", "charlie", "delta"]
        assert names("last-seen") == ["delta", "alpha", "charlie", "Bravo"]
        assert names("sightings") == ["charlie", "delta", "alpha", "Bravo"]
        assert names("created") == ["charlie", "alpha", "Bravo", "delta"]
        for sort in SORTS:
            every = names(sort)
            assert names(sort, 2) + names(sort, 2, every[1]) == every and names(sort, None, every[0]) == every[1:]
            assert names(sort, 2, every[-1]) == names(sort, 0) == []
        assert names("name", 1, "Bravo", Filter(cameras=("cam0", "cam2"))) == ["delta"]
        with gallery.reading() as store:
            assert store.count(EVERYTHING) == 4
            assert store.count(Filter(cameras=("cam0", "cam2"))) == 2
