"""Who may do what with what a gallery keeps of boxes, and that a gallery of an older vreid gets it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from made_gallery import features, opened, sighted, sighting, sql
from real_postgres import Server

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, edits, read_gallery
from vreid.runtime.gallery.inbox import Box, BoxSighting, Inbox
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.gallery.postgres import schema
from vreid.runtime.gallery_place import DatabaseAddress

SECRET = "anns-s3cret"


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("ir")


@pytest.fixture
def user(postgres: Server, place: DatabaseAddress) -> Callable[[str], DatabaseAddress]:
    """The gallery's address for a user of its own who has this role of the gallery."""

    def granted(role: str) -> DatabaseAddress:
        name = f"{place.gallery}_ann_{role}"
        with psycopg.connect(place.uri, autocommit=True) as connection:
            connection.execute(f"CREATE USER {name} PASSWORD '{SECRET}'".encode())
            connection.execute(f"GRANT {place.gallery}_{role} TO {name}".encode())
        return postgres.place(place.gallery, user=name, password=SECRET)

    return granted


def inbox_of(gallery: Gallery) -> Inbox:
    with gallery.reading() as store:
        inbox = store.inbox()
    assert inbox is not None
    return inbox


def in_statistics(place: DatabaseAddress) -> set[str]:
    """The columns about vehicles of which the server keeps examples of values."""
    query = "SELECT DISTINCT attname FROM pg_stats WHERE schemaname = current_schema() AND tablename <> 'meta'"
    return {name for (name,) in sql(place, query)}


def resolved(gallery: Gallery) -> None:
    """All that a resolver does, but for what waits afterwards: a merge, and the removal of one of three vehicles."""
    inbox = inbox_of(gallery)
    epoch = inbox.take_lease("resolver", 1000)
    assert epoch is not None
    with gallery.transaction():
        inbox.refuse_other_epoch(epoch)
        for number in (1, 2, 3):
            assert inbox.receive("a", number, number, number)
            vehicle = gallery.add_vehicle()
            here = sighted(gallery, vehicle, sighting(number, seen=1.7e9 + number))
            inbox.keep_sighting(BoxSighting("a", number, number, here))
        inbox.heard("a", 3, 1.7e9, 0.0)
    edits.merge(gallery, vehicle - 2, [vehicle - 1])
    gallery.remove(vehicle)
    with gallery.transaction() as store:
        proposals = store.proposals()
        assert proposals is not None and proposals.propose(vehicle - 2, "south", 7, 0.9)
        assert not proposals.propose(vehicle - 2, "south", 7, 0.9) and not proposals.propose(vehicle, "south", 7, 0.9)
        assert proposals.withdraw(vehicle - 2, "south", 7) and proposals.count_open() == 0
    inbox.drop_identities([(one, 4000) for one in inbox.identities(1)])
    inbox.put_picture("0" * 64, b"")
    inbox.release_lease(epoch)


def test_a_writer_resolves_and_changes_no_table(place: DatabaseAddress, user: Callable[[str], DatabaseAddress]) -> None:
    opened(place).close()
    writer = user("writer")
    with opened(writer) as gallery:
        resolved(gallery)
        inbox = inbox_of(gallery)
        assert [(one.sighting, one.vehicle) for one in inbox.identities(10)] == [(2, 1), (3, None)]
        assert [one.sighting for one in inbox.removals(10)] == [3]
        inbox.drop_removals(inbox.removals(10))
        assert purge(gallery, 1.8e9).sightings == 2 and inbox.forget_received(4e9) == 6
        gallery.compact()
        gallery.wipe()
    for statement in (
        "DROP TABLE received",
        "TRUNCATE box_sightings",
        "TRUNCATE proposals",
        "ALTER TABLE lease DROP COLUMN epoch",
        "DROP TRIGGER sighting_removed ON sightings",
        "ALTER TABLE sightings DISABLE TRIGGER ALL",
        "DROP FUNCTION note_removed() CASCADE",
        "CREATE OR REPLACE FUNCTION note_renamed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(writer, statement)


def test_a_reader_only_reads(place: DatabaseAddress, user: Callable[[str], DatabaseAddress]) -> None:
    with opened(place) as gallery:
        resolved(gallery)
    reader = user("reader")
    with read_gallery(reader) as gallery:
        inbox = inbox_of(gallery)
        assert inbox.boxes() == [Box("a", 3, 1.7e9, 0.0)] and inbox.sighting("a", 3) == BoxSighting(
            "a", 3, 3, None, gone=True
        )
        assert inbox.waiting() == {"identities": 2, "pictures": 0, "removals": 1} and len(inbox.removals(10)) == 1
        for call in (lambda: inbox.take_lease("me", 10), lambda: inbox.receive("a", 9, 9, 9)):
            with pytest.raises(Refused, match="opened for reading"):
                call()
    for statement in (
        "UPDATE lease SET epoch = epoch + 1",
        "INSERT INTO received VALUES ('a', 9, 9, 9)",
        "UPDATE box_sightings SET removed = false",
        "DELETE FROM identities",
        "DELETE FROM removals",
        "DELETE FROM proposals",
        "UPDATE proposals SET state = 'same'",
        "INSERT INTO boxes VALUES ('b', 1, 1, 1)",
        "SELECT nextval('identities_id_seq')",
        "SELECT purge_sightings(1e10)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(reader, statement)


def test_a_user_with_rights_on_the_older_tables_only_goes_on_writing(place: DatabaseAddress) -> None:
    """Where there are no roles, an owner has granted rights table by table: the triggers write with the owner's own."""
    with opened(place) as gallery:
        resolved(gallery)
    name = f"{place.gallery}_eve"
    with psycopg.connect(place.uri, autocommit=True, options=f"-c search_path={place.gallery},public") as connection:
        connection.execute(f"CREATE USER {name}; GRANT USAGE ON SCHEMA {place.gallery} TO {name}".encode())
        connection.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON vehicles, sightings, prototypes TO {name}".encode()
        )
        connection.execute(f"SET ROLE {name}".encode())
        connection.execute("UPDATE vehicles SET name = 'cab', key = 'cab' WHERE id = 1")
        connection.execute("DELETE FROM sightings WHERE id = 2")
    with opened(place) as gallery:
        waiting = {one.sighting: one.name for one in inbox_of(gallery).identities(10)}
    assert waiting == {1: "cab", 2: None, 3: None}


def test_a_gallery_of_the_first_version_is_upgraded_by_its_admin(
    place: DatabaseAddress, user: Callable[[str], DatabaseAddress], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as older:
        shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
        for path in (tmp_path / "migrations" / "versions").glob("v*.py"):
            if not path.name.startswith("v0001"):
                path.unlink()
        older.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
        older.setattr(schema, "VERSION", "0001")
        with opened(place) as gallery:
            gallery.enrol("taxi", features(2))
            gallery.keep_site_threshold("{}")
            for moment in (1.7e9, 1.75e9):
                gallery.add_sighting(1, sighting(seen=moment, plate="AB 12"), 0.5)
    assert sql(place, "SELECT to_regclass('received')") == [(None,)]
    sql(place, "ANALYZE")
    assert {"name", "plate", "feature", "value", "replace"} <= in_statistics(place)
    writer, admin = user("writer"), user("admin")
    with pytest.raises(Refused, match=r"has tables of version 0001, .* let its admin upgrade it"):
        opened(writer)
    opened(admin).close()
    assert sql(admin, "SELECT version_num FROM alembic_version") == [(schema.VERSION,)]
    owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = current_schema()"
    assert sql(place, owners) == [(f"{place.gallery}_admin",)]
    with edit_gallery(writer) as gallery:
        assert purge(gallery, 1.74e9).sightings == 1
        inbox = inbox_of(gallery)
        gallery.add_sighting(1, sighting(seen=1.77e9, plate="AB 12"), 0.5)  # in a month that has no table yet
        assert inbox.receive("a", 1, 1, 1)
        inbox.keep_sighting(BoxSighting("a", 1, 1, 2))
        gallery.rename(1, "cab")
        assert [(one.sighting, one.vehicle, one.name) for one in inbox.identities(10)] == [(1, 1, "cab")]
    sql(place, "ANALYZE")
    assert {"kind", "created", "camera"} <= in_statistics(place)
    assert in_statistics(place).isdisjoint(
        {"name", "key", "thumbnail", "plate", "feature", "picture", "value", "replace"}
    )
