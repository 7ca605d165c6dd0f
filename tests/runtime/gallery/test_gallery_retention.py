"""What is purged is gone, from the tables and from the bytes of the disk; what somebody enrolled stays."""

from pathlib import Path

import pytest
from made_gallery import features, noise, opened, sighted, sighting, sql

from vreid.cli.gallery_reading import moment_of
from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edits, maintenance
from vreid.runtime.gallery.edits import undo
from vreid.runtime.gallery_place import GalleryPlace

OLD, NEW, FAR = 1000.0, 2000.0, 1e11  # FAR: after the enrolments of this test


def seen(gallery: Gallery, vehicle: int, at: float) -> int:
    return sighted(gallery, vehicle, sighting(int(at) + vehicle, seen=at))


def filled(place: GalleryPlace) -> Gallery:
    """taxi: enrolled, seen long ago; 2: seen long ago; 3: seen long ago and lately; van: enrolled, never seen."""
    gallery = opened(place)
    seen(gallery, gallery.add_vehicle("taxi", noise(1)), OLD)
    seen(gallery, gallery.add_vehicle(None, noise(2)), OLD)
    three = gallery.add_vehicle(None, noise(3))
    seen(gallery, three, OLD)
    seen(gallery, three, NEW)
    gallery.add_prototype(gallery.add_vehicle("van", noise(4)), "enrolled", features(1, 4)[0])
    sql(place, "UPDATE vehicles SET created = 900")
    return gallery


def test_a_purge_deletes_old_sightings_and_who_is_nobody(place: GalleryPlace) -> None:
    with filled(place) as gallery:
        assert maintenance.purge(gallery, 500.0) == maintenance.Purged(0, 0, 0)
        assert maintenance.purge(gallery, OLD + 1) == maintenance.Purged(3, 1, 1, change=5)
        assert {v.name: v.sightings for v in gallery.vehicles()} == {"taxi": 0, "vehicle-0003": 1, "van": 0}
        pictures = sql(place, "SELECT name FROM vehicles WHERE thumbnail IS NOT NULL ORDER BY id")
        assert pictures == [("taxi",), ("van",)]  # of whom nobody enrolled, not even the first picture stays
        assert 2 not in {hit.vehicle for hit in gallery.search(features(1, 1002), 9)[0]}
        assert maintenance.purge(gallery, OLD + 1, vehicles=True) == maintenance.Purged(0, 2, 0, change=6)
        assert [vehicle.id for vehicle in gallery.vehicles()] == [3]
        purges = [change.summary for change in gallery.changes() if change.verb == "purge"]
        assert purges[0] == {"before": OLD + 1, "sightings": 3, "removed": 1, "pictures": 1}
        assert len(purges) == 2


def test_deleted_pictures_are_no_longer_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with filled(path) as gallery:
        gone = [row[0] for row in sql(gallery, "SELECT thumbnail FROM sightings WHERE seen = ?", OLD)]
        (kept,) = sql(gallery, "SELECT thumbnail FROM sightings WHERE seen = ?", NEW)[0]
        gallery.wipe()

        def on_disk(jpeg: bytes) -> bool:
            return any(jpeg[-200:-140] in file.read_bytes() for file in tmp_path.iterdir())

        assert all(on_disk(jpeg) for jpeg in gone)
        maintenance.purge(gallery, OLD + 1)
        assert not any(on_disk(jpeg) for jpeg in gone)
        assert on_disk(kept)
        size = path.stat().st_size
        gallery.compact()
        assert path.stat().st_size <= size
        assert not any(on_disk(jpeg) for jpeg in gone)


def test_what_undoing_kept_is_purged_too(place: GalleryPlace) -> None:
    with filled(place) as gallery:
        done = edits.merge(gallery, 1, [2])
        maintenance.purge(gallery, FAR)
        assert gallery.changes()[-2].undo_data is None
        with pytest.raises(Refused, match="can no longer be undone"):
            undo(gallery, done.change)


def test_a_merge_is_undone_around_what_was_purged(place: GalleryPlace) -> None:
    with filled(place) as gallery:
        done = edits.merge(gallery, 1, [3])
        maintenance.purge(gallery, OLD + 1)
        with pytest.raises(Refused, match=r"\(purge\), is final"):
            undo(gallery)
        undo(gallery, done.change)
        assert {v.name: v.sightings for v in gallery.vehicles()} == {"taxi": 0, "vehicle-0003": 1, "van": 0}


def test_enrolments_of_runs_do_not_fill_the_audit_for_ever(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        gallery.add_vehicle("taxi")
        gallery.who = "run:live"
        seen(gallery, gallery.add_vehicle(), OLD)
        maintenance.purge(gallery, FAR)
        assert [(change.verb, change.vehicle) for change in gallery.changes()] == [
            ("enrol", 1),
            ("purge", None),
        ]


def test_a_gallery_knows_how_long_it_keeps_sightings(place: GalleryPlace) -> None:
    with filled(place) as gallery:
        assert gallery.retention() is None
        assert maintenance.purge_due(gallery, NEW) is None
        maintenance.retain(gallery, 600.0)
        with pytest.raises(Refused, match="at least 60 s"):
            maintenance.retain(gallery, 1.0)
        with pytest.raises(Refused, match="at least 60 s"):
            maintenance.retain(gallery, float("nan"))
    with opened(place) as gallery:
        assert gallery.stats().retention == 600.0
        assert (gallery.stats().oldest, gallery.stats().newest) == (OLD, NEW)
        done = maintenance.purge_due(gallery, NEW)
        assert done is not None
        assert done.sightings == 3
        maintenance.retain(gallery, None)
        assert gallery.stats().retention is None
        with gallery.transaction():  # a run's own: the log is emptied later
            maintenance.purge(gallery, NEW + 1)
    with opened(place, write=False) as reader, pytest.raises(Refused, match="for reading"):
        maintenance.purge(reader, FAR)


def test_moments_as_people_write_them() -> None:
    assert moment_of("2h", now=10000.0) == 2800.0
    assert moment_of("1970-01-02T00:00:00Z") == 86400.0
    assert moment_of("1970-01-02T01:00:00+01:00") == 86400.0
    assert moment_of("2026-11-22 08:15") - moment_of("2026-11-22") == 8.25 * 3600
    for bad in ("", "soon", "2026-13-01", "-2h", "2026-11-22T25:00"):
        with pytest.raises(Refused, match="is not a time"):
            moment_of(bad)


def test_sightings_without_a_time_get_this_moment(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle()
        gallery.add_sighting(vehicle, sighting(), 0.9)
        gallery.add_sighting(vehicle, sighting(seen=5.0), 0.9)
        then, now = [one.at for one in gallery.sightings(vehicle)]
        assert now > 1.7e9
        assert then == 5.0
