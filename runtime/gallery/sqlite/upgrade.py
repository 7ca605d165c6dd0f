"""From schema 1 or 2 to 3: what an older vreid wrote, in one transaction; and how a reader sees schema 2."""

import logging
import sqlite3
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import audit, names
from vreid.runtime.gallery.sqlite import database

LOG = logging.getLogger("vreid")
GIVEN = "vehicle-[0-9][0-9][0-9][0-9]*"  # an SQL GLOB: whom nobody named, as schemas 1 and 2 guessed
_COLUMNS = (
    "ALTER TABLE vehicles ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN seen REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN plate TEXT",
    "ALTER TABLE sightings ADD COLUMN quality REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN feature BLOB",
    "CREATE INDEX sightings_at ON sightings (seen)",
)
_NAMES = (
    "ALTER TABLE vehicles ADD COLUMN key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE vehicles ADD COLUMN named INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vehicles ADD COLUMN pictured REAL",
)
# `created` was the time of the processing; of whom nobody named it is that of the first sighting, if there is one left
_WHOM = (
    f"UPDATE vehicles SET named = name NOT GLOB '{GIVEN}'",
    "UPDATE vehicles SET created = min(created, coalesce((SELECT min(seen) FROM sightings WHERE vehicle = vehicles.id),"
    " created)) WHERE NOT named",
    "UPDATE vehicles SET pictured = CASE WHEN named THEN (SELECT min(seen) FROM sightings s WHERE s.vehicle = vehicles.id"
    " AND s.thumbnail = vehicles.thumbnail) ELSE created END WHERE thumbnail NOTNULL",
)


@dataclass(frozen=True)
class Renamed:
    """A vehicle whose name is another one's but for Unicode's forms or case, and got a number."""

    vehicle: int
    old: str
    new: str


def upgraded(connection: sqlite3.Connection, path: Path) -> list[Renamed] | None:
    """Upgrade the open gallery at `path` if it is of schema 1 or 2; the caller holds the writer's lock. None: it was not.

    Sightings of schema 1 had no clock time. They get the last that they can have, when the file last changed: filters may
    take them for younger than they are, but no retention deletes them too early, and none keeps them for ever.
    """
    with database.spoken(path):
        schema = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if schema not in (("1",), ("2",)):
            return None
        beside = path.with_name(path.name + "-wal")  # made empty by opening the gallery
        written = [path, beside] if beside.exists() and beside.stat().st_size else [path]
        latest = max(file.stat().st_mtime for file in written)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema == ("1",):
                for statement in (*_COLUMNS, *_statements(database.LOG)):
                    connection.execute(statement)
                connection.execute("UPDATE sightings SET seen = ?", (latest,))
            for statement in _NAMES:
                connection.execute(statement)
            whom_somebody_named(connection)
            renamed = keyed(connection)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(database.SCHEMA),))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    for one in renamed:
        LOG.warning("%s: %s", path, sentence_of(one))
    return renamed


def was_named(name: str) -> bool:
    """Whether somebody named a vehicle, as schemas 1 and 2 guessed."""
    return not fnmatchcase(name, GIVEN)


def was_pictured(name: str, created: float, thumbnail: object) -> float | None:
    """When a run took the picture, as schemas 1 and 2 let one guess; None for a picture that somebody gave, and for none."""
    return None if thumbnail is None or was_named(name) else created


def sentence_of(one: Renamed) -> str:
    """What happened to a name, for a person."""
    return f"vehicle {one.vehicle} '{one.old}' is called '{one.new}' now, for another vehicle has the same name but for case"


def whom_somebody_named(connection: sqlite3.Connection) -> None:
    """Fill the columns of schema 3 from those of an older one."""
    for statement in _WHOM:
        connection.execute(statement)


def keyed(connection: sqlite3.Connection) -> list[Renamed]:
    """Write every name in NFC with its key, and make the index of the keys; inside of a transaction.

    Of vehicles whose names are equal but for case the one with the lowest id keeps it, the others get the first of name-2,
    name-3, ... that no vehicle has. Each is in the audit.
    """
    rows = [(int(id_), str(name)) for id_, name in connection.execute("SELECT id, name FROM vehicles ORDER BY id")]
    taken = {names.key_of(name) for _, name in rows}
    used: set[str] = set()
    new: dict[int, str] = {}
    renamed = []
    for id_, name in rows:
        normal = chosen = nfc(name)
        number = 1
        while names.key_of(chosen) in (used if number == 1 else used | taken):
            number += 1
            chosen = f"{normal}-{number}"
        if number > 1:
            renamed.append(Renamed(id_, name, chosen))
        used.add(names.key_of(chosen))
        new[id_] = chosen
    changed = {id_: new[id_] for id_, name in rows if new[id_] != name}
    for id_ in changed:  # out of the way first: one may take a name that another gives up
        connection.execute("UPDATE vehicles SET name = char(0) || id WHERE id = ?", (id_,))
    for id_, name in changed.items():
        connection.execute("UPDATE vehicles SET name = ? WHERE id = ?", (name, id_))
    connection.executemany("UPDATE vehicles SET key = ? WHERE id = ?", [(names.key_of(new[id_]), id_) for id_ in new])
    connection.execute(database.KEYS)
    for one in renamed:
        detail = {"from": one.old, "to": one.new, "reason": "upgrade"}
        audit.noted(lambda sql, *values: connection.execute(sql, values), "vreid", "renumber", one.vehicle, detail)
    return renamed


def seen_as_new(connection: sqlite3.Connection, path: Path) -> None:
    """Let a reader of a gallery of schema 2 see the columns of schema 3, made as it reads; the file stays as it is."""
    with database.spoken(path):
        if connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() != ("2",):
            return
        connection.create_function("vreid_key", 1, names.key_of, deterministic=True)
        connection.execute("PRAGMA query_only = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(
            "CREATE TEMP VIEW vehicles AS SELECT id, name, vreid_key(name) AS key, created, kind, thumbnail,"
            f" name NOT GLOB '{GIVEN}' AS named, NULL AS pictured FROM main.vehicles"
        )
        connection.execute("PRAGMA query_only = ON")


def _statements(script: str) -> list[str]:
    """A script's statements, one by one: `executescript` would commit the transaction."""
    found, part = [], ""
    for piece in script.split(";"):
        part += piece + ";"
        if sqlite3.complete_statement(part):
            if part.strip(" \n;"):
                found.append(part)
            part = ""
    return found
