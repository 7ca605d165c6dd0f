"""Who may do what with a gallery in PostgreSQL, and that no message shows a password."""

import io
import logging
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import psycopg
import pytest
from made_gallery import enrolled, features, opened, sighting, sql, written
from real_postgres import PASSWORD, Server, postgres_server

from vreid.cli.main import main
from vreid.models.errors import GalleryDamaged, Refused, WrongModel
from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.gallery.postgres import schema
from vreid.runtime.gallery_place import DatabaseAddress, place_of

SECRET = "anns-s3cret"


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    """A gallery with one vehicle, which the database's superuser made."""
    made = postgres.new_place("r")
    with opened(made) as gallery:
        gallery.enrol("taxi", features(2))
        gallery.add_sighting(1, sighting(seen=1.7e9), 0.5)
    return made


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


def test_a_reader_reads_and_writes_nothing(user: Callable[[str], DatabaseAddress]) -> None:
    place = user("reader")
    with read_gallery(place) as gallery:
        assert gallery.search(features(1), 1)[0][0].name == "taxi" and gallery.stats().sightings == 1
        assert len(gallery.changes()) == 1 and gallery.sightings(1)
    with pytest.raises(Refused, match=r"this user may only read .* grant it the role .*_writer"):
        edit_gallery(place)
    for statement in (
        "DELETE FROM vehicles",
        "INSERT INTO settings VALUES ('a', 'b')",
        "SELECT make_month(1.7e9)",
        "SELECT drop_months(1e10)",
        "SELECT nextval('sighting_ids')",
        "CREATE TABLE mine (id int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(place, statement)


def test_a_writer_does_all_that_runs_and_edits_do_and_changes_no_table(user: Callable[[str], DatabaseAddress]) -> None:
    place = user("writer")
    with opened(place) as gallery:
        made = enrolled(gallery, 3, 5)
        gallery.add_sighting(made[0], sighting(seen=1.75e9), 0.5)  # in a month that has no table yet
        gallery.rename(made[0], "cab")
        gallery.remove(made[1])
        assert purge(gallery, 1.74e9).sightings == 1
        gallery.compact()
    assert sql(place, "SELECT DISTINCT tableoid::regclass::text FROM sightings") == [("sightings_2025_06",)]
    for statement in (
        "DROP TABLE vehicles",
        "TRUNCATE audit",
        "ALTER TABLE sightings DROP COLUMN plate",
        "DROP TABLE sightings_2025_06",
        "UPDATE meta SET value = 'bbbbbbbb' WHERE key = 'fingerprint'",
        "DELETE FROM changes",
        "UPDATE alembic_version SET version_num = '0'",
        "CREATE TABLE mine (id int)",
        "DROP FUNCTION make_month",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(place, statement)


def test_an_admin_owns_everything(user: Callable[[str], DatabaseAddress], place: DatabaseAddress) -> None:
    with opened(user("admin")) as gallery:
        gallery.rename(1, "cab")
    owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = current_schema()"
    assert sql(place, owners) == [(f"{place.gallery}_admin",)]


def test_who_has_no_role_sees_nothing_and_makes_nothing(postgres: Server, place: DatabaseAddress) -> None:
    name = f"{place.gallery}_eve"
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute(f"CREATE USER {name} PASSWORD '{SECRET}'".encode())
    for call in (read_gallery, edit_gallery):
        with pytest.raises(Refused, match=r"this user may not read the gallery .*_reader or .*_writer"):
            call(postgres.place(place.gallery, user=name, password=SECRET))
    new = postgres.place(f"{place.gallery}_new", user=name, password=SECRET)
    with pytest.raises(Refused, match=r"may not make the gallery .* takes CREATE on the database"):
        opened(new)
    with pytest.raises(Refused, match="there is no gallery"):
        read_gallery(new)


def made_and_used(postgres: Server, place: DatabaseAddress, user: str, may: str = "") -> DatabaseAddress:
    """A gallery that a new user, who may make schemas, has made, filled and purged."""
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute(f"CREATE USER {user} {may} PASSWORD '{SECRET}'".encode())
        connection.execute(f"GRANT CREATE ON DATABASE postgres TO {user}".encode())
    made = postgres.place(f"{user}_own", user=user, password=SECRET)
    with opened(made) as gallery:
        vehicle = gallery.enrol("taxi", features(1))[0]
        gallery.add_sighting(vehicle, sighting(seen=1.75e9), 0.5)
        purge(gallery, 1.8e9)
    return made


def test_one_who_may_make_schemas_but_no_roles_owns_the_gallery(postgres: Server, place: DatabaseAddress) -> None:
    own = made_and_used(postgres, place, f"{place.gallery}_dan")
    assert sql(own, "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, ?)", f"{own.gallery}_") == [(0,)]


def test_one_who_may_make_roles_and_is_no_superuser_makes_the_gallerys(
    postgres: Server, place: DatabaseAddress
) -> None:
    name = f"{place.gallery}_fay"
    made = made_and_used(postgres, place, name, "CREATEROLE")
    owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = current_schema()"
    assert sql(made, owners) == [(f"{made.gallery}_admin",)]
    with psycopg.connect(made.uri, autocommit=True) as connection:
        connection.execute(f"CREATE USER {name}_2 PASSWORD '{SECRET}'".encode())
        connection.execute(f"GRANT {made.gallery}_reader TO {name}_2".encode())
    with read_gallery(postgres.place(made.gallery, user=f"{name}_2", password=SECRET)) as gallery:
        assert gallery.stats().vehicles == 1


def test_a_gallery_of_another_model_or_a_newer_vreid_is_refused(place: DatabaseAddress) -> None:
    with pytest.raises(
        WrongModel, match=f"the gallery {place.name.replace('?', '.')} holds features of the model 'small'"
    ):
        opened(place, fingerprint="bbbbbbbb")
    sql(place, "UPDATE alembic_version SET version_num = '9999'")
    for call in (read_gallery, edit_gallery):
        with pytest.raises(Refused, match=r"tables of version 9999, and this vreid uses .*; use a newer vreid"):
            call(place)


NEXT = """
\"\"\"A version that is not there yet.\"\"\"

from alembic import op

revision = "9998"
down_revision = "VERSION"


def upgrade() -> None:
    op.execute("ALTER TABLE vehicles ADD COLUMN colour text")
"""


def test_only_its_admin_upgrades_an_older_gallery(
    user: Callable[[str], DatabaseAddress], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = schema.VERSION
    shutil.copytree(schema.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "v9998_colours.py").write_text(NEXT.replace("VERSION", now))
    monkeypatch.setattr(schema, "MIGRATIONS", tmp_path / "migrations")
    monkeypatch.setattr(schema, "VERSION", "9998")
    reader, writer, admin = (user(role) for role in ("reader", "writer", "admin"))
    for opening, place in ((read_gallery, reader), (edit_gallery, writer), (read_gallery, admin)):
        with pytest.raises(Refused, match=f"has tables of version {now}, .* let its admin upgrade it"):
            opening(place)
    edit_gallery(admin).close()
    with edit_gallery(writer) as gallery:
        assert gallery.rename(1, "cab") is not None
    assert sql(admin, "SELECT name, colour FROM vehicles") == [("cab", None)]
    assert sql(admin, "SELECT version_num FROM alembic_version") == [("9998",)]


@pytest.mark.parametrize("there", ["", "CREATE TABLE {0}.meta (a int)", "CREATE TABLE {0}.meta (key text, value text)"])
def test_a_schema_of_another_program_is_refused(postgres: Server, there: str) -> None:
    place = postgres.new_place("other")
    with psycopg.connect(place.uri, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {place.gallery}; {there.format(place.gallery)}".encode())
    with pytest.raises(Refused, match=r"is not a gallery of this vreid|is damaged"):
        opened(place).close()


def test_tables_that_were_changed_by_hand_are_a_sentence(place: DatabaseAddress) -> None:
    sql(place, "UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(Refused, match=r"is not a gallery of this vreid \(relation .* already exists\)"):
        edit_gallery(place).close()
    sql(place, f"UPDATE alembic_version SET version_num = '{schema.VERSION}'")
    sql(place, "INSERT INTO settings VALUES ('retention', 'a while'), ('last vehicle', 'one')")
    with edit_gallery(place) as gallery:
        for read in (gallery.retention, gallery.add_vehicle):
            with pytest.raises(GalleryDamaged, match="in its settings"):
                read()
    sql(place, "ALTER TABLE vehicles DROP COLUMN kind CASCADE")


def test_a_statement_that_does_not_fit_an_opened_gallery_is_no_refusal(place: DatabaseAddress) -> None:
    with read_gallery(place) as gallery:
        sql(place, "ALTER TABLE vehicles DROP COLUMN kind CASCADE")
        with pytest.raises(psycopg.errors.UndefinedColumn):  # our own mistake: no backup helps
            gallery.vehicles()


def test_an_address_with_an_option_that_is_not_one_is_corrected(place: DatabaseAddress) -> None:
    wrong = place_of(f"{place.uri}&nonsense=1&gallery={place.gallery}")
    with pytest.raises(Refused, match=r"nonsense.*correct it"):
        read_gallery(wrong)


def test_a_server_without_pgvector_is_said() -> None:
    with postgres_server() as server:
        server.start("extension_control_path=/nonexistent")
        with pytest.raises(Refused, match="has no pgvector; install it there"):
            opened(server.new_place("bare"))


def test_no_message_shows_a_password(
    postgres: Server, place: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    places = [
        place,
        postgres.place(place.gallery, password=PASSWORD + "x"),
        postgres.place("none", password=PASSWORD),
        postgres.place(place.gallery, database="nowhere"),
        postgres.place(place.gallery, hostaddr="127.0.0.1", port="1"),
        postgres.place(place.gallery, sslmode="nonsense"),
        postgres.place(place.gallery, nonsense="1"),
    ]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        for one in places:
            for words in (
                ["list"],
                ["check"],
                ["backup", "x.db"],
                ["show", "nobody"],
                ["stats", "--json"],
                ["list", "--nonsense"],
            ):
                with suppress(SystemExit):
                    main(["gallery", *words, "--gallery", written(one)])
    texts = said.getvalue() + caplog.text
    for one in places[1:]:
        with pytest.raises(Refused) as caught:
            read_gallery(one)
        texts += str(caught.value) + repr(one) + str(one)
    for secret in (PASSWORD, PASSWORD[:8], "s3cret"):
        assert secret not in texts
    assert "postgresql://postgres@/postgres" in texts and "password authentication failed" in texts
