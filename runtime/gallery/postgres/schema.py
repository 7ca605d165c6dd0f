"""The schema of a gallery in its database: whose features it holds, making it, and bringing it up to date."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg.errors import InsufficientPrivilege

from vreid.models.errors import Refused
from vreid.runtime.gallery.postgres.database import Database, turn_of
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery_place import DatabaseAddress

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION = "0003"  # the newest of migrations/versions
MIGRATIONS = Path(__file__).with_name("migrations")
_MOST_NUMBERS = 16000  # of a vector in pgvector


def about_of(database: Database) -> About | None:
    """Whose features the gallery holds; None: it is not there. Raises Refused where this user may not read it."""
    if not _is_there(database):
        return None
    gallery = database.address.gallery
    if not database.row("SELECT has_schema_privilege(%s, 'USAGE')", gallery)[0]:
        fix = f"let an owner grant it the role {gallery}_reader or {gallery}_writer"
        raise Refused(f"this user may not read the gallery {database.name}; {fix}")
    meta = dict(database.rows("SELECT key, value FROM meta"))
    try:
        return About(meta["fingerprint"], int(meta["dim"]), meta["model"])
    except (KeyError, ValueError) as error:
        raise Refused(
            f"the gallery {database.name} is damaged ({error} in its table meta); restore a backup"
        ) from error


def refuse_other_version(database: Database) -> None:
    """Raises Refused for tables of another version than this vreid's."""
    found = _version(database)
    if found != VERSION:
        fix = "use a newer vreid" if found > VERSION else "let its admin upgrade it by opening it for writing"
        raise Refused(
            f"the gallery {database.name} has tables of version {found}, and this vreid uses {VERSION}; {fix}"
        )


def create(address: DatabaseAddress, about: About) -> None:
    """Make an empty gallery, unless another process has made it just before. Raises Refused where this user may not."""
    if about.dim > _MOST_NUMBERS:
        raise Refused(
            f"a feature in PostgreSQL has at most {_MOST_NUMBERS} numbers, not {about.dim}; use a gallery in a file"
        )
    with _changed(address) as (database, migrate), _sentence_of_rights(address):
        if _is_there(database):
            return
        if database.row("SELECT 1 FROM pg_extension WHERE extname = 'vector'") is None:
            if database.row("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'") is None:
                raise Refused(
                    f"the server of the gallery {address.name} has no pgvector; install it there (docs/gallery.md)"
                )
            database.run("CREATE EXTENSION vector SCHEMA public")
        owner = _roles(database)
        database.run(f"CREATE SCHEMA {address.gallery}" + ("" if owner is None else f" AUTHORIZATION {owner}"))
        migrate(about.dim)
        facts = {
            "fingerprint": about.fingerprint,
            "dim": about.dim,
            "model": about.model,
            "identity": secrets.token_hex(16),
        }
        for key, value in facts.items():
            database.run("INSERT INTO meta VALUES (%s, %s)", key, str(value))


def upgrade(database: Database, about: About) -> None:
    """Bring the tables to the newest version, where that is newer and this user owns them."""
    owned = "SELECT pg_has_role(current_user, nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = %s"
    if _version(database) < VERSION and database.row(owned, database.address.gallery)[0]:
        with _changed(database.address) as (changing, migrate):
            if _version(changing) < VERSION:  # nobody else has done it meanwhile
                migrate(about.dim)


def _version(database: Database) -> str:
    row = database.row("SELECT version_num FROM alembic_version")
    return "none" if row is None else str(row[0])


def _is_there(database: Database) -> bool:
    query = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = 'meta'"
    return database.row(query, database.address.gallery) is not None


def _roles(database: Database) -> str | None:
    """Make the gallery's roles, where this user may; the one that is to own the gallery, None: this user."""
    names = [f"{database.address.gallery}_{part}" for part in ("reader", "writer", "admin")]
    if not database.row("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")[0]:
        return None
    for name in names:
        if database.row("SELECT 1 FROM pg_roles WHERE rolname = %s", name) is None:
            database.run(f"CREATE ROLE {name} NOLOGIN")
    # From 16 on who makes a role is a member of it that may grant it, and no more.
    is_16 = int(database.row("SHOW server_version_num")[0]) >= 160000
    if not database.row("SELECT pg_has_role(current_user, %s, %s)", names[-1], "SET" if is_16 else "MEMBER")[0]:
        database.run(f"GRANT {names[-1]} TO CURRENT_USER")
    return names[-1]


@contextmanager
def _sentence_of_rights(address: DatabaseAddress) -> Iterator[None]:
    """Who may not make a gallery hears what that takes: the roles that would let him use it are not there yet."""
    try:
        yield
    except Refused as refused:
        if not isinstance(refused.__cause__, InsufficientPrivilege):
            raise
        reason = refused.__cause__.diag.message_primary
        raise Refused(
            f"this user may not make the gallery {address.name} ({reason}); that takes CREATE on the database, and CREATE EXTENSION"
            " vector by its administrator before (docs/gallery.md)"
        ) from refused


@contextmanager
def _changed(address: DatabaseAddress) -> Iterator[tuple[Database, Callable[[int], None]]]:
    """A connection of its own, and what runs the missing migrations on it as the owner of the schema; one transaction."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    with closing(Database(address, True, opening=True)) as database, database.lent() as lent:
        engine = create_engine("postgresql+psycopg://", creator=lambda: lent, poolclass=StaticPool)
        with engine.begin() as connection:
            for turn in (address.gallery, ""):  # galleries are made one at a time: roles and the extension are shared
                database.row("SELECT pg_advisory_xact_lock(%s)", turn_of(turn))
            yield database, partial(_migrate, database, connection)


def _migrate(database: Database, connection: "Connection", dim: int) -> None:
    """Run the missing migrations as the owner of the schema, who this user is until the transaction ends."""
    from alembic import command
    from alembic.config import Config

    owner = database.row(
        "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = %s", database.address.gallery
    )[0]
    database.run(f"SET LOCAL ROLE {owner}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, gallery=database.address.gallery, dim=dim)
    try:
        command.upgrade(config, "head")
    except psycopg.Error as error:
        raise database.refusal(error) from error
