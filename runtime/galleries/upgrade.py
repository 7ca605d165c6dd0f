"""From schema 1 to 2: what an older vreid wrote, in one transaction."""

import sqlite3
from pathlib import Path

from vreid.runtime.galleries import store

_COLUMNS = (
    "ALTER TABLE vehicles ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN seen REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN plate TEXT",
    "ALTER TABLE sightings ADD COLUMN quality REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN feature BLOB",
    "CREATE INDEX sightings_at ON sightings (seen)",
)


def upgraded(connection: sqlite3.Connection, path: Path) -> bool:
    """Upgrade the open gallery at `path` if it is of schema 1; the caller holds the writer's lock. Says whether it was.

    Sightings had no clock time. They get the last that they can have, when the file last changed: filters may take
    them for younger than they are, but no retention deletes them too early, and none keeps them for ever.
    """
    with store.spoken(path):
        if connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() != ("1",):
            return False
        beside = path.with_name(path.name + "-wal")  # made empty by opening the gallery
        written = [path, beside] if beside.exists() and beside.stat().st_size else [path]
        latest = max(file.stat().st_mtime for file in written)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in (*_COLUMNS, *_statements(store.LOG)):
                connection.execute(statement)
            connection.execute("UPDATE sightings SET seen = ?", (latest,))
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(store.SCHEMA),))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return True


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
