"""What is removed at a centre is wiped from its tables soon after, while the resolver goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_centre import box_of, centre_file, resolving, seen, settings_of, settled
from made_gallery import opened, sql
from made_outputs import until
from real_nats import NatsServer
from real_postgres import Server

from vreid.fleet.centre import wipe
from vreid.fleet.centre.wipe import Wiper
from vreid.fleet.sender import Sender
from vreid.runtime.gallery.index.table import index_file
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> DatabaseAddress:
    monkeypatch.setattr(wipe, "_SOON_S", 0.1)
    return postgres.new_place("wiped")


def vacuums(place: DatabaseAddress) -> int:
    """How often the tables were."""
    query = (
        "SELECT vacuum_count FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'prototypes'"
    )
    return int(sql(place, query)[0][0])


def test_what_a_box_has_removed_is_wiped(tmp_path: Path, server: NatsServer, place: DatabaseAddress) -> None:
    with box_of(tmp_path / "g.db") as box, resolving(centre_file(tmp_path, server, place)) as centre:
        assert until(lambda: vacuums(place) == 1)  # what another process may have left
        seen(box, range(3), 1)
        Sender(settings_of(server.url), box).send_all()
        assert settled(place, 3) and vacuums(place) == 1
        box.remove(2)
        Sender(settings_of(server.url), box).send_all()
        assert until(lambda: centre.status()["north"].counts.erased == 1)
        assert until(lambda: vacuums(place) >= 2)
        dead = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'prototypes'"
        assert until(lambda: sql(place, dead) == [(0,)])


@pytest.fixture
def wiper(place: DatabaseAddress) -> Iterator[Wiper]:
    made = Wiper(place)
    made.start()
    yield made
    made.close(30.0)
    assert not made._thread.is_alive()


def test_it_waits_for_nobody_takes_index_files_along_and_is_tried_again(
    place: DatabaseAddress, wiper: Wiper, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(place) as gallery, wiper.searched(gallery):
        index_file(gallery.path, "hnsw").touch()  # as another process keeps it
        with gallery.transaction():
            gallery.add_vehicle()
            assert until(lambda: vacuums(place) == 1)
        assert until(lambda: wiper.done == 1) and not index_file(gallery.path, "hnsw").exists()
        sql(place, f"ALTER SCHEMA {place.gallery} RENAME TO {place.gallery}_away")
        wiper.want()
        assert until(lambda: "is not wiped yet" in caplog.text) and "Traceback" not in caplog.text
        sql(place, f"ALTER SCHEMA {place.gallery}_away RENAME TO {place.gallery}")
        assert until(lambda: wiper.done == 2) and wiper.failure is None


def test_a_failure_that_nobody_expected_is_logged_and_it_goes_on(
    place: DatabaseAddress, wiper: Wiper, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(place):
        sql(place, "ALTER TABLE sightings RENAME TO kept; CREATE MATERIALIZED VIEW sightings AS SELECT 1")
        wiper.want()
        assert until(lambda: wiper.failure is not None)
        assert until(lambda: "cannot lock relation" in caplog.text and "Traceback" in caplog.text)
        sql(place, "DROP MATERIALIZED VIEW sightings; ALTER TABLE kept RENAME TO sightings")
        assert until(lambda: wiper.done == 1) and wiper.failure is None


def test_it_rests_and_touches_no_closed_gallery_however_often_the_region_opens_it(
    place: DatabaseAddress, wiper: Wiper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wipe, "_REST", 1_000_000)
    for _ in range(3):
        with opened(place) as gallery, wiper.searched(gallery):
            assert until(lambda: vacuums(place) == 1)
    assert until(lambda: wiper.done == 1) and vacuums(place) == 1 and not caplog.text
