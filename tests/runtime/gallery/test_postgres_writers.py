"""Many programs write to one gallery in PostgreSQL: ids and changes without gaps, no name twice, nothing half after a cut."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
from made_gallery import answers, compared, enrolled, features, opened, sighting, sql, written
from real_postgres import Server, database_connection

from vreid.models.errors import GalleryLocked, NameTaken, Refused
from vreid.runtime.gallery import edits, read_gallery
from vreid.runtime.gallery.postgres import database as connections
from vreid.runtime.gallery_place import DatabaseAddress

WRITER = """
import sys, numpy as np
from vreid.models.errors import NameTaken
from vreid.runtime.gallery import open_gallery
number = int(sys.argv[2])
random = np.random.default_rng(number)
with open_gallery(sys.argv[1], fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
    for step in range(12):
        vehicle, _ = gallery.enrol(None, random.normal(size=(2, 8)).astype(np.float32))
        print("enrolled", vehicle, flush=True)
        try:
            gallery.rename(vehicle, f"car {step}")
            print("renamed", step, flush=True)
        except NameTaken:
            pass
        if step % 3 == 2:
            try:
                with gallery.transaction():
                    gallery.enrol("never", random.normal(size=(1, 8)).astype(np.float32))
                    raise KeyError
            except KeyError:
                pass
"""


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("w")


def test_eight_processes_that_enrol_and_rename_at_once(place: DatabaseAddress) -> None:
    """They make the gallery at once, too."""
    words = [sys.executable, "-c", WRITER, written(place)]
    programs = [subprocess.Popen([*words, str(number)], stdout=subprocess.PIPE, text=True) for number in range(8)]
    lines = [line.split() for program in programs for line in program.communicate()[0].splitlines()]
    assert [program.returncode for program in programs] == [0] * 8
    ids = sorted(int(number) for word, number in lines if word == "enrolled")
    assert ids == list(range(1, 97))
    assert sorted(int(step) for word, step in lines if word == "renamed") == list(range(12))
    with read_gallery(place) as gallery:
        assert [one.id for one in gallery.vehicles()] == ids
        names = [one.name.casefold() for one in gallery.vehicles()]
        assert len({*names}) == 96 and {f"car {step}" for step in range(12)} < {*names}
        assert answers(gallery) == compared(gallery)
    changes = [number for (number,) in sql(place, "SELECT id FROM changes ORDER BY id")]
    assert changes == list(range(1, len(changes) + 1))


def test_the_index_of_one_writer_sees_what_the_other_wrote(place: DatabaseAddress) -> None:
    with opened(place) as one, opened(place) as two:
        for seed in range(4):
            enrolled(one, 3, seed)
            assert answers(two) == compared(two) == answers(one)
            enrolled(two, 3, 10 + seed)
            two.remove(1 + 6 * seed)
            assert answers(one) == compared(one) == answers(two)
        edits.merge(one, 2, [3])
        assert [one.name for one in two.vehicles() if one.id == 3] == []
        with pytest.raises(NameTaken):
            two.rename(4, one.name_of(2).upper())


def test_a_writer_waits_for_another_and_gives_up(place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOCK_S", 1)
    with opened(place) as one, opened(place) as two:
        with one.transaction():
            held = one.add_vehicle("held")
            with pytest.raises(GalleryLocked, match="is being written by another program"):
                two.add_vehicle()
            assert two.vehicles() == []
            waiting = threading.Thread(target=two.add_vehicle)
            waiting.start()
        waiting.join()
        assert [vehicle.id for vehicle in one.vehicles()] == [held, held + 1]


def test_a_reader_sees_one_moment_while_others_write_and_purge(place: DatabaseAddress) -> None:
    with opened(place) as writer, read_gallery(place) as reader:
        vehicle = writer.add_vehicle()
        writer.add_sighting(vehicle, sighting(seen=1.7e9), 0.5)
        with reader.reading() as store:
            assert store.size() == (1, 0)
            writer.add_sighting(vehicle, sighting(seen=1.7e9 + 1), 0.5)
            writer.add_sighting(vehicle, sighting(seen=1.8e9), 0.5)
            with writer.transaction() as rows:
                assert rows.delete_sightings(1.79e9) == 2
            assert store.stats().sightings == 1 and [one.at for one in store.sightings(vehicle)] == [1.7e9]
        assert [one.at for one in reader.sightings(vehicle)] == [1.8e9]
        with pytest.raises(Refused, match="opened for reading"):
            reader.rename(vehicle, "x")


def end_connections(place: DatabaseAddress) -> None:
    """The server ends every connection of a gallery, as when it is shut down."""
    with database_connection(place) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vreid'")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_cut_transaction_leaves_nothing_and_the_next_call_works(place: DatabaseAddress, depth: int) -> None:
    with opened(place) as gallery:
        gallery.enrol("kept", features(2))
        before = answers(gallery)
        with pytest.raises(Refused, match="there is no connection to the gallery"), ExitStack() as transactions:
            for _ in range(depth):
                transactions.enter_context(gallery.transaction())
            gallery.enrol("lost", features(1, 3))
            end_connections(place)
            gallery.enrol("lost too", features(1, 4))
        assert [one.name for one in gallery.vehicles()] == ["kept"] and answers(gallery) == before == compared(gallery)
        gallery.enrol("next", features(1, 5))
        assert [one.id for one in gallery.vehicles()] == [1, 2] and answers(gallery) == compared(gallery)


def test_a_change_whose_end_was_not_heard_of_says_so(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        with pytest.raises(Refused, match="look whether it is there"), gallery.transaction():
            gallery.add_vehicle("lost")
            end_connections(place)
        assert gallery.vehicles() == []


def test_a_connection_that_was_lost_while_nothing_was_under_way_is_made_again(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        gallery.enrol("kept", features(2))
        calls: list[Callable[[], object]] = [
            gallery.vehicles, lambda: answers(gallery), gallery.add_vehicle, gallery.wipe, lambda: gallery.details(1)
        ]  # fmt: skip
        for call in calls:
            end_connections(place)
            call()
        assert [one.id for one in gallery.vehicles()] == [1, 2]
        with pytest.raises(Refused, match="there is no connection"), gallery.reading():
            end_connections(place)
            gallery.vehicles()
        np.testing.assert_allclose([one.feature for one in gallery.prototypes(1)], features(2), rtol=1e-6)
