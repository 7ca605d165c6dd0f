"""Mends what `check` found: row by row where rows are wrong, into a new file where pages are."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from vreid.runtime.gallery import names
from vreid.runtime.gallery.sqlite.check import checked, findings
from vreid.runtime.gallery.sqlite.database import Database, locked, sentences
from vreid.runtime.gallery.sqlite.recover import recovered
from vreid.runtime.gallery.sqlite.schema import SCHEMA, upgrade


def repaired_rows(path: Path) -> tuple[list[str], set[int]]:
    """Mend the gallery at the absolute `path`; what was done, a sentence each, and the vehicles that lost a prototype.

    What cannot be known again is dropped and listed. A file with damaged pages is kept as PATH.damaged.
    Raises Refused for another writer, and where nothing can be read.
    """
    done = []
    if any(finding.kind == "page" for finding in checked(path)):
        done += recovered(path)
    with locked(path), closing(Database(path, True)) as database:
        renamed = upgrade(database)
        if renamed is not None:
            done.append(f"the gallery is of schema {SCHEMA} now; older vreids cannot read it")
            done += [one.sentence for one in renamed]
        with sentences(path), database.transaction():
            broken = _mended(database.connection, done)
    return done, broken


def _mended(connection: sqlite3.Connection, done: list[str]) -> set[int]:
    """Put rows right; returns the vehicles that lost a prototype."""
    broken: set[int] = set()
    for _ in range(_PASSES):
        by_kind: dict[str, list[int]] = {}
        for finding in findings(connection, most=sys.maxsize):
            by_kind.setdefault(finding.kind, []).append(finding.row or 0)
        for kind, rows in sorted(by_kind.items()):
            if kind not in _MEND:
                continue
            if kind == "prototype":
                for row in rows:
                    broken.update(connection.execute("SELECT vehicle FROM prototypes WHERE id = ?", (row,)).fetchone())
            _MEND[kind](connection, rows)
            done.append(_SAID[kind].format(len(rows)))
        if not set(by_kind) & set(_MEND):
            break
    return broken


def _adopt(connection: sqlite3.Connection, rows: list[int]) -> None:
    for vehicle in rows:
        name = names.free(names.given(vehicle), partial(_holder, connection))
        (seen,) = connection.execute("SELECT min(seen) FROM sightings WHERE vehicle = ?", (vehicle,)).fetchone()
        # it may have been one that somebody named, and no purge deletes that
        cells = (vehicle, name, names.key_of(name), seen or 0.0)
        connection.execute("INSERT INTO vehicles (id, name, key, named, created) VALUES (?, ?, ?, 1, ?)", cells)


def _name(connection: sqlite3.Connection, rows: list[int]) -> None:
    for vehicle in rows:
        name = names.free(names.given(vehicle), partial(_holder, connection))
        cells = (name, names.key_of(name), vehicle)
        connection.execute("UPDATE vehicles SET name = ?, key = ? WHERE id = ?", cells)


def _key(connection: sqlite3.Connection, rows: list[int]) -> None:
    """Names in NFC with their keys; one that another vehicle has gets a number."""
    connection.executemany("UPDATE vehicles SET key = char(0) || id WHERE id = ?", [(row,) for row in rows])
    for vehicle in rows:
        (old,) = connection.execute("SELECT name FROM vehicles WHERE id = ?", (vehicle,)).fetchone()
        name = names.free(names.printable(old), partial(_holder, connection))
        cells = (name, names.key_of(name), vehicle)
        connection.execute("UPDATE vehicles SET name = ?, key = ? WHERE id = ?", cells)


def _holder(connection: sqlite3.Connection, key: str) -> object:
    """Who is called by a name of that key; None: nobody."""
    return connection.execute("SELECT id FROM vehicles WHERE key = ?", (key,)).fetchone()


def _sequences(connection: sqlite3.Connection, _: list[int]) -> None:
    for table in ("vehicles", "prototypes", "sightings", "changes", "audit"):
        (last,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        if not connection.execute("SELECT 1 FROM sqlite_sequence WHERE name = ?", (table,)).fetchone():
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", (table,))
        connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table))


def _each(statement: str) -> Callable[[sqlite3.Connection, list[int]], None]:
    def run(connection: sqlite3.Connection, rows: list[int]) -> None:
        connection.executemany(statement, [(row,) for row in rows])

    return run


def _once(statement: str) -> Callable[[sqlite3.Connection, list[int]], None]:
    def run(connection: sqlite3.Connection, _: list[int]) -> None:
        connection.execute(statement)

    return run


_PASSES = 3  # mending one thing may show another: a vehicle that is back may need the sequence put right
# what can only be milliseconds, microseconds or nanoseconds is divided; what is no time at all becomes this moment
_IN_SECONDS = (
    "CASE WHEN typeof({0}) NOT IN ('real', 'integer') THEN CAST(strftime('%s', 'now') AS REAL)"
    " WHEN {0} >= 0 AND {0} < 1e10 THEN {0} WHEN {0} BETWEEN 1e11 AND 9.99e12 THEN {0} / 1e3"
    " WHEN {0} BETWEEN 1e14 AND 9.99e15 THEN {0} / 1e6 WHEN {0} BETWEEN 1e17 AND 9.99e18 THEN {0} / 1e9"
    " ELSE CAST(strftime('%s', 'now') AS REAL) END"
)
_MEND = {
    "orphan": _adopt,
    "name": _name,
    "key": _key,
    "sequence": _sequences,
    "changes": _once(
        "DELETE FROM changes WHERE prototype > (SELECT seq FROM sqlite_sequence WHERE name = 'prototypes')"
    ),
    "identity": _once("INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))))"),
    "retention": _once("DELETE FROM meta WHERE key = 'retention'"),
    "prototype": _each("DELETE FROM prototypes WHERE id = ?"),
    "sighting": _each("UPDATE sightings SET feature = NULL WHERE id = ?"),
    "picture": _each("UPDATE sightings SET thumbnail = NULL WHERE id = ?"),
    "time": _each(f"UPDATE sightings SET seen = {_IN_SECONDS.format('seen')} WHERE id = ?"),
    "created": _each(
        f"UPDATE vehicles SET created = {_IN_SECONDS.format('created')},"
        f" pictured = CASE WHEN pictured NOTNULL THEN {_IN_SECONDS.format('pictured')} END WHERE id = ?"
    ),
    "audit": _each(f"UPDATE audit SET detail = '{json.dumps({'lost': True})}' WHERE id = ?"),
}
_SAID = {
    "orphan": "{} lost vehicles are back under their ids, without their names",
    "name": "{} vehicles have a name after their id now",
    "sequence": "no id will be given again",
    "changes": "the log of changes is cut to what there was",
    "identity": "the gallery has a new identity, and indexes are built again",
    "retention": "sightings are kept for ever; set a span with 'vreid gallery retain'",
    "prototype": "{} prototypes that were no features are dropped",
    "sighting": "{} sightings stay without their feature, which was none",
    "picture": "{} sightings stay without their picture, which was none",
    "key": "{} vehicles have their name in NFC now, and can be found by it",
    "time": "{} sightings had no time in seconds: milliseconds and nanoseconds are divided, others get this moment",
    "created": "{} vehicles had no time in seconds: milliseconds and nanoseconds are divided, others get this moment",
    "audit": "{} changes of the audit say only that they were",
}
