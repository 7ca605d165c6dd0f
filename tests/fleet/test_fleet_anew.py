"""A box whose gallery is made anew, or put back from a backup, under its old name: a real centre takes all that it sees."""

import shutil
import subprocess
from pathlib import Path

import pytest
from made_box import number_of
from made_centre import box_of, centre_file, given, resolving, seen, settings_of, settled, truth_of
from made_gallery import sql
from made_outputs import until
from real_nats import NatsServer
from real_postgres import Server, postgres_server

from vreid.fleet.sender import Sender
from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("anew")


def passed_on(gallery: Gallery, server: NatsServer) -> int:
    """Send and receive what waits; how many sightings have an identity then."""
    Sender(settings_of(server.url), gallery).send_all()
    with gallery.reading() as store:
        identities = store.identities()
        assert identities is not None
        return identities.sizes().known


def test_a_gallery_made_anew_loses_nothing_and_hears_nothing_of_the_old_one(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    with resolving(centre_file(tmp_path, server, place)) as centre:
        with box_of(tmp_path / "old.db") as gallery:
            seen(gallery, [1, 2, 3], 1)
            passed_on(gallery, server)
            old = [number_of(gallery.path, id_) for id_ in (1, 2, 3)]
        assert settled(place, 3)
        with edit_gallery(place) as here:
            here.remove(given(place)["box 0", old[0]])
        with box_of(tmp_path / "new.db") as gallery:
            truth = truth_of("box 0", gallery, seen(gallery, [11, 12, 13], 2))
            assert until(lambda: passed_on(gallery, server) == 3)
            with edit_gallery(place) as here:  # what is said of the old one's sightings removes none of the new one
                here.remove(given(place)["box 0", old[1]])
                assert until(lambda: centre.status()["north"].counts.identities == 8)
            passed_on(gallery, server)
            assert gallery.stats().sightings == 3
            gallery.remove(3)  # the box's own third vehicle, which is another one than the old one's
            passed_on(gallery, server)
        assert until(lambda: centre.status()["north"].counts.removed == 1)
        counts = centre.status()["north"].counts
    assert (counts.new, counts.again, counts.aside) == (6, 0, 0)
    left = given(place)
    assert left.keys() == {("box 0", old[2]), *[*truth][:2]}


def test_a_regions_gallery_made_anew_is_heard(tmp_path: Path, server: NatsServer, place: DatabaseAddress) -> None:
    file = centre_file(tmp_path, server, place)
    with box_of(tmp_path / "g.db") as gallery:
        for name in ("first", "second"):  # resolvers
            seen(gallery, [1], 1)
            with resolving(file):
                assert until(lambda: passed_on(gallery, server) >= 1)
                with edit_gallery(place) as here:
                    here.rename(1, name)
                assert until(lambda name=name: names(gallery, server)[1] == name)
        sql(place, f"DROP SCHEMA {place.gallery} CASCADE")
        with resolving(file):
            assert settled(place, 2)
            assert until(lambda: {*names(gallery, server).values()} & {"first", "second"} == set())


def test_a_regions_gallery_put_back_from_a_backup_under_its_centre_is_heard(tmp_path: Path, server: NatsServer) -> None:
    with postgres_server() as database, box_of(tmp_path / "g.db") as gallery:
        database.start()
        place, data, backup = database.new_place("anew"), database.folder / "data", database.folder / "backup"
        seen(gallery, [1], 1)
        with resolving(centre_file(tmp_path, server, place)):
            assert until(lambda: passed_on(gallery, server) == 1)
            database.kill()
            subprocess.run(["cp", "-a", data, backup], check=True)  # with its owner
            database.start()
            for name in ("first", "second", "third"):
                with edit_gallery(place) as here:
                    here.rename(1, name)
                assert until(lambda name=name: names(gallery, server)[1] == name)
            database.kill()
            shutil.rmtree(data)
            backup.rename(data)
            database.start()
            with edit_gallery(place) as here:
                here.rename(1, "fourth")
            assert until(lambda: names(gallery, server)[1] == "fourth")


def names(gallery: Gallery, server: NatsServer) -> dict[int, str]:
    """What the centre calls the vehicle of each sighting, after the box has heard what there is."""
    passed_on(gallery, server)
    with gallery.reading() as store:
        identities = store.identities()
        assert identities is not None
        return {id_: one.name for id_, one in identities.of_sightings(range(1, 99)).items()}


def test_a_gallery_put_back_from_a_backup_goes_on_with_other_numbers(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    path, backup = tmp_path / "g.db", tmp_path / "backup.db"
    with resolving(centre_file(tmp_path, server, place)) as centre:
        with box_of(path) as gallery:
            truth = truth_of("box 0", gallery, seen(gallery, [1, 2], 1))
            passed_on(gallery, server)
        shutil.copy(path, backup)
        with box_of(path) as gallery:
            lost = truth_of("box 0", gallery, seen(gallery, [3, 4], 2))
            passed_on(gallery, server)
        assert settled(place, 4)
        shutil.copy(backup, path)
        with box_of(path) as gallery:
            truth |= truth_of("box 0", gallery, seen(gallery, [15, 16], 3))
            passed_on(gallery, server)
            assert settled(place, 6)
            found = given(place)
            assert found.keys() == {*truth, *lost} and len({*found.values()}) == 6
            with edit_gallery(place) as here:
                for one in (*truth, *lost):
                    if (truth | lost)[one] in (1, 3):
                        here.remove(found[one])
            assert until(lambda: centre.status()["north"].counts.identities == 8)
            passed_on(gallery, server)
            assert {one.id for one in gallery.latest_sightings()} == {2, 3, 4}
        assert centre.status()["north"].counts.aside == 0
