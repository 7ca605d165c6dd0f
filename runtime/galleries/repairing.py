"""Mends what `checking` found: row by row where rows are wrong, into a new file where pages are."""

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from vreid.runtime.galleries import audit, checking, names, rebuilding, salvage, store
from vreid.runtime.galleries.upgrade import upgraded
from vreid.runtime.galleries.vehicles import Gallery
from vreid.runtime.gallery import edit_gallery


def repaired(path: Path) -> list[str]:
    """Mend the gallery at `path`; what was done, a sentence each.

    What cannot be known again is dropped and said. A file with damaged pages stays beside the new one as
    PATH.damaged. Raises Refused for another writer, and where nothing can be read.
    """
    path = path.resolve()
    done = []
    if any(finding.kind == "page" for finding in checking.checked(path)):
        done += salvage.salvaged(path)
    lock = store.locked(path)
    try:
        with closing(store.connected(path, True)) as connection:
            if upgraded(connection, path):
                done.append(f"the gallery is of schema {store.SCHEMA} now; older vreids cannot read it")
            with store.spoken(path):
                connection.execute("BEGIN IMMEDIATE")
                try:
                    broken = _mended(connection, done)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
    finally:
        store.unlocked(path, lock)
    with edit_gallery(path) as gallery, gallery.transaction():
        done += [_taught(gallery, vehicle) for vehicle in sorted(broken)]
        if done:
            audit.noted(gallery.run, gallery.who, "repair", None, {"done": done})
    return done


def _mended(connection: sqlite3.Connection, done: list[str]) -> set[int]:
    """Put rows right; returns the vehicles that lost a prototype."""
    broken: set[int] = set()
    for _ in range(_PASSES):
        by_kind: dict[str, list[int]] = {}
        for finding in checking.findings(connection, most=sys.maxsize):
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


def _taught(gallery: Gallery, vehicle: int) -> str:
    """A vehicle that lost a prototype learns again what its sightings know."""
    if gallery.prototypes(vehicle):
        return f"vehicle {vehicle} is left with the prototypes that were sound"
    count = rebuilding.rebuild(gallery, vehicle)
    if count:
        return f"vehicle {vehicle} has {count} prototypes made from its sightings"
    return f"vehicle {vehicle} has no prototype left and cannot be found; enrol it again"


def _adopt(connection: sqlite3.Connection, rows: list[int]) -> None:
    for vehicle in rows:
        name = names.free(lambda statement, *values: connection.execute(statement, values), names.given(vehicle))
        (seen,) = connection.execute("SELECT min(seen) FROM sightings WHERE vehicle = ?", (vehicle,)).fetchone()
        connection.execute("INSERT INTO vehicles (id, name, created) VALUES (?, ?, ?)", (vehicle, name, seen or 0.0))


def _name(connection: sqlite3.Connection, rows: list[int]) -> None:
    for vehicle in rows:
        name = names.free(lambda statement, *values: connection.execute(statement, values), names.given(vehicle))
        connection.execute("UPDATE vehicles SET name = ? WHERE id = ?", (name, vehicle))


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
_MEND = {
    "orphan": _adopt,
    "name": _name,
    "sequence": _sequences,
    "changes": _once(
        "DELETE FROM changes WHERE prototype > (SELECT seq FROM sqlite_sequence WHERE name = 'prototypes')"
    ),
    "identity": _once("INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))))"),
    "retention": _once("DELETE FROM meta WHERE key = 'retention'"),
    "prototype": _each("DELETE FROM prototypes WHERE id = ?"),
    "sighting": _each("UPDATE sightings SET feature = NULL WHERE id = ?"),
    "picture": _each("UPDATE sightings SET thumbnail = NULL WHERE id = ?"),
    "time": _each("UPDATE sightings SET seen = CAST(strftime('%s', 'now') AS REAL) WHERE id = ?"),
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
    "time": "{} sightings that had no time get this moment",
    "audit": "{} changes of the audit say only that they were",
}
