"""What a centre has said of a gallery's sightings: the newest counts, it goes with its sighting, and it moves nothing."""

from pathlib import Path
from typing import Any

import pytest
from made_gallery import opened, sighting, sql

from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.edits import merge
from vreid.runtime.gallery.identities import CentreIdentity, Identities
from vreid.runtime.gallery.maintenance import backed_up, check_gallery, purge
from vreid.runtime.gallery.store import Store


@pytest.fixture
def gallery(tmp_path: Path) -> Any:
    """Two vehicles of two sightings each, of which the first was written before there was an outbox."""
    with opened(tmp_path / "g.db") as gallery:
        for vehicle in (gallery.add_vehicle(), gallery.add_vehicle()):
            for number in range(2):
                gallery.add_sighting(vehicle, sighting(number, track=number, seen=1000.0 * vehicle + number), 0.5)
                with gallery.transaction() as store:
                    store.outbox(make=True)
        yield gallery


def known(gallery: Gallery) -> Identities:
    with gallery.reading() as store:
        found = store.identities()
    assert found is not None
    return found


def said(
    number: int, sighting: int, vehicle: int, name: str = "", epoch: int = 1, region: str = "north"
) -> CentreIdentity:
    return CentreIdentity(sighting, region, epoch, vehicle, name or f"car {vehicle}", number)


def keep(gallery: Gallery, *identities: CentreIdentity) -> None:
    with gallery.transaction():
        known(gallery).keep(identities, 5000.0)


def texts(gallery: Gallery) -> dict[int, str]:
    return {sighting: one.text for sighting, one in known(gallery).of_sightings(range(1, 10)).items()}


def test_a_store_without_an_outbox_has_no_identities(store: Store) -> None:
    assert store.identities() is None


def test_a_later_message_replaces_an_earlier_one_and_not_the_other_way(gallery: Gallery) -> None:
    assert known(gallery).sizes().unanswered == 3 and known(gallery).sizes().heard is None
    keep(gallery, said(7, 2, 12, "taxi"), said(8, 3, 13))
    keep(gallery, said(9, 3, 14), said(6, 2, 99), said(10, 77, 1))  # 6 comes again, 77 is not here
    assert texts(gallery) == {2: "north:12 taxi", 3: "north:14 car 14"}
    sizes = known(gallery).sizes()
    assert (sizes.known, sizes.unanswered, sizes.heard) == (2, 1, 5000.0)
    keep(gallery, said(11, 1, 12, "taxi"))  # of one that was written before: it went on, and was sent then
    assert (known(gallery).sizes().known, known(gallery).sizes().unanswered) == (3, 1)


def test_a_later_resolver_counts_whatever_numbers_its_gallery_gives_and_so_does_another_region(
    gallery: Gallery,
) -> None:
    keep(gallery, said(700, 2, 12, epoch=3), said(701, 3, 13, epoch=4))
    keep(gallery, said(1, 2, 14, epoch=4), said(702, 3, 99, epoch=3))  # 702: of one that was replaced
    assert texts(gallery) == {2: "north:14 car 14", 3: "north:13 car 13"}
    keep(gallery, said(1, 2, 5, region="south"))
    assert texts(gallery)[2] == "south:5 car 5"


def test_a_vehicle_is_who_its_newest_known_sighting_is(gallery: Gallery) -> None:
    keep(gallery, said(1, 1, 12, "taxi"), said(2, 2, 13), said(3, 3, 12, "taxi"), said(4, 4, 12, "taxi"))
    assert {vehicle: one.text for vehicle, one in known(gallery).of_vehicles([1, 2, 3]).items()} == {
        1: "north:13 car 13 and 1 other", 2: "north:12 taxi"
    }  # fmt: skip
    before = [(one.id, one.vehicle) for vehicle in (1, 2) for one in gallery.sightings(vehicle)]
    assert before == [(1, 1), (2, 1), (3, 2), (4, 2)]  # whose they are here is decided here
    keep(gallery, said(5, 2, 14, region="south"))
    merge(gallery, 1, [2])
    found = known(gallery).of_vehicles([1])[1]
    assert (found.text, found.different) == ("north:12 taxi and 1 other", 2)


def test_an_identity_goes_with_its_sighting(gallery: Gallery) -> None:
    keep(gallery, *(said(number, number, 10 + number, "secret") for number in range(1, 5)))
    gallery.remove(1)
    assert texts(gallery) == {3: "north:13 secret", 4: "north:14 secret"}
    purge(gallery, 2001.0)
    gallery.remove_sightings([4])
    assert texts(gallery) == {}
    gallery.wipe()
    assert all(b"secret" not in file.read_bytes() for file in gallery.path.parent.iterdir())


def test_identities_are_in_a_backup_and_the_gallery_is_sound(gallery: Gallery, tmp_path: Path) -> None:
    keep(gallery, said(1, 1, 12, "taxi"))
    backed_up(gallery.path, tmp_path / "copy.db")
    for path in (gallery.path, tmp_path / "copy.db"):
        assert check_gallery(path) == []
        with read_gallery(path) as reader:
            assert texts(reader) == {1: "north:12 taxi"}
    assert sql(gallery, "SELECT value FROM meta WHERE key = 'schema'") == [("4",)]
