"""Sightings in PostgreSQL lie in a table for each month: made when the first comes, searched across, and dropped when it is old."""

from datetime import datetime, timezone

import pytest
from made_gallery import opened, sighting, sql
from real_postgres import Server, database_connection

from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery_place import DatabaseAddress

TABLES = "SELECT relname FROM pg_class JOIN pg_inherits ON oid = inhrelid WHERE inhparent = 'sightings'::regclass ORDER BY relname"
FILLED = "SELECT tableoid::regclass::text, seen FROM sightings ORDER BY seen"


def at(year: int, month: int, day: int = 15) -> float:
    return datetime(year, month, day, tzinfo=timezone.utc).timestamp()


MOMENTS = [5.0, at(2025, 12, 31), at(2026, 1, 1), at(2026, 1, 31), at(2026, 3, 1), at(2240, 1, 1)]


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("p")


def fill(gallery: Gallery) -> None:
    vehicle = gallery.add_vehicle("taxi")
    for number, moment in enumerate(MOMENTS):
        gallery.add_sighting(vehicle, sighting(seen=moment, camera=f"camera {number % 2}"), 0.5)


def test_a_month_has_a_table_and_odd_times_share_one(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        fill(gallery)
    assert sql(place, FILLED) == [
        ("sightings_other", 5.0), ("sightings_2025_12", MOMENTS[1]), ("sightings_2026_01", MOMENTS[2]),
        ("sightings_2026_01", MOMENTS[3]), ("sightings_2026_03", MOMENTS[4]), ("sightings_other", MOMENTS[5]),
    ]  # fmt: skip


def test_a_track_that_goes_on_past_midnight_moves_into_the_next_month(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        vehicle = gallery.add_vehicle()
        gallery.add_sighting(vehicle, sighting(seen=at(2026, 2) - 15 * 86400), 0.5)
        gallery.extend_sighting(vehicle, sighting(seen=at(2026, 2), last_time=90.0), 0.5)
        [one] = gallery.sightings(vehicle)
        assert (one.id, one.at, one.last_time) == (1, at(2026, 2), 90.0)
    assert sql(place, FILLED) == [("sightings_2026_02", at(2026, 2))]


def test_filters_and_pages_go_across_months(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        fill(gallery)
        span = Filter(since=at(2025, 12, 1), until=at(2026, 1, 31))
        assert [one.at for one in gallery.sightings(1, span)] == MOMENTS[1:3]
        assert [one.at for one in gallery.sightings(1, Filter(cameras=("camera 1",)))] == MOMENTS[1::2]
        first = gallery.latest_sightings(limit=4)
        rest = gallery.latest_sightings(before=(first[-1].at, first[-1].id), limit=4)
        assert [one.at for one in first + rest] == MOMENTS[::-1]
        assert gallery.details(1).vehicle.last_at == MOMENTS[-1]
        assert gallery.stats().cameras == 2


def test_a_purge_drops_whole_months_and_deletes_the_rest(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        fill(gallery)
        assert purge(gallery, at(2026, 1, 2)).sightings == 3
        assert [one.at for one in gallery.sightings(1)] == MOMENTS[3:]
        assert sql(place, TABLES) == [("sightings_2026_01",), ("sightings_2026_03",), ("sightings_other",)]
        with pytest.raises(KeyError), gallery.transaction():
            purge(gallery, at(2026, 3))
            raise KeyError
        assert [one.at for one in gallery.sightings(1)] == MOMENTS[3:]
        assert purge(gallery, at(2026, 2, 1)).sightings == 1
        assert sql(place, TABLES) == [("sightings_2026_03",), ("sightings_other",)]


def test_while_somebody_reads_nothing_waits_and_tables_come_and_go_later(place: DatabaseAddress) -> None:
    """Making and dropping a table needs a moment in which nobody reads: until then rows lie in the shared one, or are deleted."""
    with opened(place) as gallery, read_gallery(place) as reader:
        fill(gallery)
        with reader.reading() as store:
            store.latest_sightings()
            gallery.add_sighting(1, sighting(seen=at(2026, 5)), 0.5)
            assert purge(gallery, at(2026, 1)).sightings == 3
        assert ("sightings_other", at(2026, 5)) in sql(place, FILLED)
        assert ("sightings_2025_12",) in sql(place, TABLES)
        gallery.add_sighting(1, sighting(seen=at(2026, 5, 16)), 0.5)
        assert sql(place, FILLED)[-3:-1] == [("sightings_2026_05", at(2026, 5)), ("sightings_2026_05", at(2026, 5, 16))]
        assert purge(gallery, at(2026, 1)).sightings == 0
        assert ("sightings_2025_12",) not in sql(place, TABLES)


def test_a_search_by_time_reads_only_the_months_that_it_needs(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        fill(gallery)
    with database_connection(place) as connection:
        plan = connection.execute(
            "EXPLAIN SELECT * FROM sightings WHERE seen >= 1767225600 AND seen < 1769904000"
        ).fetchall()
    assert "sightings_2026_01" in str(plan) and "sightings_2025_12" not in str(plan)
