"""Opening a gallery in a PostgreSQL database, for reading or writing; it is made or upgraded where that is asked for."""

from contextlib import ExitStack, suppress

from vreid.models.errors import NotFound, Refused
from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.schema import about_of, create, refuse_other_version, upgrade
from vreid.runtime.gallery.postgres.store import PostgresStore
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.store import refuse_other_model
from vreid.runtime.gallery_place import DatabaseAddress, made_path_of


def open_postgres(address: DatabaseAddress, write: bool, about: About | None) -> PostgresStore:
    """See `vreid.runtime.gallery.store.open_store`. A refused opening leaves nothing behind."""
    with ExitStack() as opened:
        database = Database(address, write, opening=True)
        opened.callback(database.close)
        found = about_of(database)
        if found is None:
            if not write or about is None:
                raise NotFound(
                    f"there is no gallery {address}; 'vreid centre run', a run or 'vreid gallery enrol' makes one"
                )
            create(address, about)
            found = about_of(database) or about
        refuse_other_model(found, about or found, address.name)
        if write:
            upgrade(database, found)
        refuse_other_version(database)
        if write and not database.row("SELECT has_table_privilege('vehicles', 'INSERT')")[0]:
            role = f"{address.gallery}_writer"
            raise Refused(f"this user may only read the gallery {address}; let an owner grant it the role {role}")
        with suppress(OSError):  # without it no index and no picture is kept
            made_path_of(address)
        database.opening = False
        opened.pop_all()
    return PostgresStore(database, found, write)
