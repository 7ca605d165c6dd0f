"""A clean-up in bulk: whom a rule finds, that nobody else goes, and what the audit keeps."""

from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_verbs import document, refused
from made_gallery import opened, sighted, sighting

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.clean import CleanRule, cleaned, unnamed
from vreid.runtime.gallery.edit_socket import EditServer, edited
from vreid.runtime.gallery.index.table import index_file
from vreid.runtime.gallery.maintenance import check_gallery, purge
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.requests import Clean, Remove
from vreid.runtime.gallery_place import GalleryPlace

HOUR = 1_760_000_000.0


def fill(place: GalleryPlace) -> None:
    """1: once, at the gate, poor. 2: twice, gate and yard. 3: once, at the gate, poor, but named. 4: once, at the yard, later.
    5: never seen."""
    with opened(place) as gallery:
        for vehicle in range(5):
            gallery.add_vehicle("taxi" if vehicle == 2 else None)
        sighted(gallery, 1, sighting(1, quality=0.1, seen=HOUR))
        sighted(gallery, 2, sighting(2, quality=0.1, seen=HOUR))
        sighted(gallery, 2, sighting(3, quality=0.6, seen=HOUR + 60, camera="yard"))
        sighted(gallery, 3, sighting(4, quality=0.1, seen=HOUR))
        sighted(gallery, 4, sighting(5, quality=0.3, seen=HOUR + 3600, camera="yard"))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    fill(tmp_path / "known.db")
    return tmp_path / "known.db"


@pytest.mark.parametrize(
    ("rule", "ids"),
    [
        (CleanRule(once=True), [1, 4]),
        (CleanRule(quality_below=0.2), [1]),
        (CleanRule(quality_below=0.7), [1, 2, 4]),
        (CleanRule(Filter(cameras=("gate",))), [1]),
        (CleanRule(Filter(cameras=("gate", "yard"))), [1, 2, 4]),
        (CleanRule(Filter(since=HOUR, until=HOUR + 61)), [1, 2]),
        (CleanRule(Filter(since=HOUR + 1)), [4]),
        (CleanRule(Filter(cameras=("yard",)), once=True, quality_below=0.3), []),
        (CleanRule(Filter(names=("vehicle-000[12]",))), []),
        (CleanRule(Filter(names=("vehicle-0002",))), [2]),
    ],
)
def test_a_rule_finds_who_nobody_named_and_whose_every_sighting_fits(
    place: GalleryPlace, rule: CleanRule, ids: list[int]
) -> None:
    fill(place)
    with opened(place) as gallery:
        assert [one.id for one in unnamed(gallery, rule)] == ids == [one.id for one in cleaned(gallery, rule)]
        left = [one.id for one in gallery.vehicles(thumbnails=False)]
        assert left == [vehicle for vehicle in range(1, 6) if vehicle not in ids]
        assert all(gallery.prototypes(vehicle) and gallery.sightings(vehicle) for vehicle in left if vehicle < 5)
        assert found_by_search(gallery) == {vehicle for vehicle in left if vehicle < 5}
        [*_, last] = gallery.changes()
        assert (last.verb, last.detail.get("removed")) == (("clean", len(ids)) if ids else ("enrol", None))
    assert not isinstance(place, Path) or check_gallery(place) == []


@pytest.mark.parametrize(
    "deleted",
    [
        lambda gallery: Remove(vehicle="id=1").apply(gallery),
        lambda gallery: Clean(rule=CleanRule(quality_below=0.2)).apply(gallery),
        lambda gallery: purge(gallery, HOUR + 1),
    ],
    ids=["remove", "clean", "purge"],
)
def test_neither_the_file_nor_an_index_file_holds_a_feature_of_who_is_deleted(
    db: Path, deleted: Callable[[Gallery], object]
) -> None:
    files = [index_file(db, "hnsw"), db.with_name("known.db.ivf.index.1.new")]  # the second one by a killed process
    with opened(db) as gallery:
        [feature] = [one.feature.tobytes() for one in gallery.prototypes(1)]
        for file in files:
            file.write_bytes(feature)
        purge(gallery, HOUR - 1)  # deletes nobody, so that the index is not made again for nothing
        assert all(feature in file.read_bytes() for file in (db, *files))
        deleted(gallery)
        assert not any(feature in file.read_bytes() for file in db.parent.iterdir())
    assert not any(file.exists() for file in files)


def found_by_search(gallery: Gallery) -> set[int]:
    return {hit.vehicle for seed in range(1, 6) for hit in gallery.search(sighting(seed).feature[None], 10)[0]}


def test_a_rule_that_everybody_fits_is_none(db: Path) -> None:
    with opened(db) as gallery, pytest.raises(Refused, match="say which vehicles are to go"):
        cleaned(gallery, CleanRule())


@pytest.mark.parametrize("quality", [float("nan"), float("inf"), -float("inf"), 5.0, -1.0])
def test_a_quality_that_is_none_finds_nobody(db: Path, quality: float, capsys: pytest.CaptureFixture[str]) -> None:
    rule = CleanRule(quality_below=quality)
    with opened(db) as gallery, EditServer(gallery, lambda request, who: request.apply(gallery).result):
        for call in (lambda: unnamed(gallery, rule), lambda: cleaned(gallery, rule)):
            with pytest.raises(Refused, match="a quality is from 0 to 1"):
                call()
        with pytest.raises(Refused):
            edited(db, Clean(rule=rule))
    assert "a quality is from 0 to 1" in refused(capsys, "clean", "--gallery", db, "--quality-below", quality, "--yes")
    with read_gallery(db) as gallery:
        assert gallery.size()[0] == 5
    assert "0 or more, not -1" in refused(capsys, "doubtful", "--gallery", db, "--last", "-1")


def test_the_run_that_writes_cleans_for_another_program(db: Path) -> None:
    rule = CleanRule(Filter(cameras=("gate",), since=HOUR - 1), once=True, quality_below=0.2)
    with opened(db) as gallery, EditServer(gallery, lambda request, who: request.apply(gallery).result):
        done = edited(db, Clean(rule=rule))
        assert [one["id"] for one in done["vehicles"]] == [1] and done["removed"]
        assert gallery.size()[0] == 4
        with pytest.raises(Refused, match="say which vehicles"):
            edited(db, Clean(rule=CleanRule()))


def test_the_verb_lists_first_and_removes_when_it_may(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "say which vehicles" in refused(capsys, "clean", "--gallery", db)
    with opened(db):  # a run that holds it is not disturbed by a list
        listed = document(capsys, "clean", "--gallery", db, "--once", "--camera", "gate")
    assert (listed["removed"], [one["id"] for one in listed["vehicles"]]) == (False, [1])
    with read_gallery(db) as gallery:
        assert gallery.size()[0] == 5
    done = document(capsys, "clean", "--gallery", db, "--once", "--camera", "gate", "--yes")
    assert (done["removed"], [one["id"] for one in done["vehicles"]]) == (True, [1])
    [last] = document(capsys, "audit", "--gallery", db, "--last", "1")["changes"]
    assert (last["verb"], last["detail"]["removed"]) == ("clean", 1)
    assert last["detail"]["rule"] == {"once": True, "quality_below": None, "cameras": ["gate"]}
    names = str(document(capsys, "audit", "--gallery", db, "--last", "0"))
    assert "vehicle-0001" not in names and "vehicle-0002" in names  # what is removed has no name left
