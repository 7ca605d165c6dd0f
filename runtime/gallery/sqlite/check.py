"""Whether a gallery's file is sound, and repairing it: row by row where rows are wrong, into a new file where pages are.

A check reads only, and reads what a store would refuse; each finding is a sentence.
"""

import json
import math
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery import names
from vreid.runtime.gallery.doubt_rows import is_sound
from vreid.runtime.gallery.edits import can_be_read
from vreid.runtime.gallery.records import Change, Finding, is_clock, is_moment, is_quality, is_score
from vreid.runtime.gallery.sqlite.database import Database, as_writer, connect, sentences
from vreid.runtime.gallery.sqlite.recover import recovered
from vreid.runtime.gallery.sqlite.rows import DONE, REPAIRS, detail_of, wrong_cells, zones_of
from vreid.runtime.gallery.sqlite.schema import APPLICATION, SCHEMA, upgrade
from vreid.runtime.site_evidence import SITE_THRESHOLD, evidence_of

MOST = 20  # findings of one kind that are listed one by one
_UNIT, _HALF_UNIT = 1e-3, 1e-2  # how far the length of a float32 or float16 feature may be from 1


def check_gallery(path: Path) -> list[Finding]:
    """What is wrong with the gallery at `path`; empty: nothing. Raises Refused for a file that is not a gallery at all."""
    if not path.is_file():
        raise Refused(f"there is no gallery {path}; check the path")
    with closing(connect(path.resolve(), False)) as connection:
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError, MemoryError) as error:
            with path.open("rb") as file:
                header = file.read(72)
            if not header.startswith(b"SQLite format 3") or header[68:] != APPLICATION.to_bytes(4, "big"):
                raise Refused(f"{path} is not a gallery ({error}); name another file or restore a copy") from error
            return [Finding("page", None, f"the file is damaged: {error}")]
        if application != APPLICATION:
            raise Refused(f"{path} is not a vreid gallery; name another file")
        return findings(connection)


def findings(connection: sqlite3.Connection, most: int = MOST) -> list[Finding]:
    """What is wrong with an open database that calls itself a gallery; `most` of a kind, and then how many more."""
    pages = list(_pages(connection))
    if pages:  # rows cannot be trusted then
        return pages
    try:
        return _rows(connection, most)
    except (
        sqlite3.DatabaseError,
        UnicodeDecodeError,
    ) as error:  # text that is not UTF-8, which SQLite's own check passes over
        return [Finding("page", None, f"the file is damaged: {str(error).partition(' with text')[0]}")]


def _rows(connection: sqlite3.Connection, most: int) -> list[Finding]:
    meta = list(_meta(connection))
    if any(finding.kind in ("schema", "meta") for finding in meta):
        return meta
    if wrong := list(wrong_cells(connection)):  # the other checks cannot read them
        return [*meta, *_cut(iter(wrong), most)]
    dim = int(connection.execute("SELECT value FROM meta WHERE key = 'dim'").fetchone()[0])
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _orphans(connection),
        lambda: _names(connection),
        lambda: _numbers(connection),
        lambda: _prototypes(connection, dim),
        lambda: _sightings(connection, dim),
        lambda: _audit(connection, dim),
        lambda: _site_threshold(connection, dim),
    ]
    return meta + [finding for check in checks for finding in _cut(check(), most)]


def _pages(connection: sqlite3.Connection) -> Iterator[Finding]:
    """SQLite's own check of every page and index."""
    try:
        for (text,) in connection.execute(f"PRAGMA integrity_check({MOST})"):
            for line in text.splitlines():
                if line != "ok" and not line.startswith("***"):
                    yield Finding("page", None, f"the file is damaged: {line}")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        yield Finding("page", None, f"the file is damaged: {error}")


def _meta(connection: sqlite3.Connection) -> Iterator[Finding]:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    schema = meta.get("schema")
    if schema in ("1", "2", "3"):
        yield Finding("schema", None, f"the gallery is of schema {schema}, which an older vreid wrote")
    elif schema != str(SCHEMA):
        yield Finding("meta", None, f"the gallery says schema {schema}, and this vreid reads {SCHEMA}")
    for key in ("fingerprint", "dim", "model"):
        if not meta.get(key):
            yield Finding("meta", None, f"the gallery does not say its {key}")
    if meta.get("dim") and not (meta["dim"].isascii() and meta["dim"].isdigit() and int(meta["dim"]) > 0):
        yield Finding("meta", None, f"the gallery says that its features are {meta['dim']} long")
    if schema == str(SCHEMA) and "identity" not in meta:
        yield Finding("identity", None, "the gallery has no identity, by which indexes know it")
    if "retention" in meta and not _positive(meta["retention"]):
        yield Finding("retention", None, f"sightings are to be kept for '{meta['retention']}' seconds")


def _orphans(connection: sqlite3.Connection) -> Iterator[Finding]:
    query = """SELECT vehicle, sum(p), sum(s) FROM (SELECT vehicle, 1 AS p, 0 AS s FROM prototypes
               UNION ALL SELECT vehicle, 0, 1 FROM sightings)
               WHERE vehicle NOT IN (SELECT id FROM vehicles) GROUP BY vehicle"""
    for vehicle, prototypes, sightings in connection.execute(query):
        text = f"vehicle {vehicle} is lost, and {prototypes} prototypes and {sightings} sightings of it are left"
        yield Finding("orphan", vehicle, text)


def _names(connection: sqlite3.Connection) -> Iterator[Finding]:
    for id_, name, key in connection.execute("SELECT id, name, key FROM vehicles"):
        try:
            normal = names.printable(name if isinstance(name, str) else "")
        except Refused:
            yield Finding("name", id_, f"vehicle {id_} has a name that cannot be printed")
            continue
        if normal != name or key != names.key_of(name):
            yield Finding("key", id_, f"vehicle {id_} has a name that cannot be found, since it is not written in NFC")


def _numbers(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Ids are never given twice, so that the sequence is never behind them."""
    sequence = dict(connection.execute("SELECT name, seq FROM sqlite_sequence WHERE typeof(seq) = 'integer'"))
    for table in ("vehicles", "prototypes", "sightings", "changes", "audit"):
        (last,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        if sequence.get(table, 0) < last:
            yield Finding("sequence", None, f"the ids of {table} would be given again from {sequence.get(table, 0)} on")
        if table == "vehicles" and last > names.LAST_ID:
            yield Finding("id", last, f"vehicle {last} has an id above {names.LAST_ID}; remove it")
    (newest,) = connection.execute("SELECT max(prototype) FROM changes").fetchone()
    if (newest or 0) > sequence.get("prototypes", 0):
        yield Finding("changes", None, f"the log of changes names prototype {newest}, which never existed")


def _prototypes(connection: sqlite3.Connection, dim: int) -> Iterator[Finding]:
    for id_, vehicle, blob, weight, count in connection.execute(
        "SELECT id, vehicle, feature, weight, count FROM prototypes"
    ):
        wrong = _feature(blob, "<f4", dim, _UNIT)
        if wrong is None and not (isinstance(weight, float) and math.isfinite(weight) and weight > 0):
            wrong = f"a weight of {weight}"
        if wrong is None and not (isinstance(count, int) and count > 0):
            wrong = f"a count of {count}"
        if wrong is not None:
            yield Finding("prototype", id_, f"prototype {id_} of vehicle {vehicle} has {wrong}")


def _sightings(connection: sqlite3.Connection, dim: int) -> Iterator[Finding]:
    numbers = "first_time, last_time, score, quality"
    query = f"SELECT id, vehicle, feature, substr(thumbnail, 1, 2), seen, zones, {numbers} FROM sightings"
    for id_, vehicle, blob, begins, seen, zones, first, last, score, quality in connection.execute(query):
        wrong = None if blob is None else _feature(blob, "<f2", dim, _HALF_UNIT)
        if wrong is not None:
            yield Finding("sighting", id_, f"sighting {id_} of vehicle {vehicle} has {wrong}")
        if begins is not None and begins != b"\xff\xd8":
            yield Finding("picture", id_, f"sighting {id_} of vehicle {vehicle} has a picture that is not a JPEG")
        if not is_moment(seen):
            text = (
                f"sighting {id_} of vehicle {vehicle} was seen at '{seen}', which is not a time in seconds since 1970"
            )
            yield Finding("time", id_, text)
        if not (is_clock(first) and is_clock(last)):
            text = f"sighting {id_} of vehicle {vehicle} goes from '{first}' to '{last}' on its source's clock, not in seconds"
            yield Finding("clock", id_, text)
        if zones is not None and zones_of(zones) is None:
            yield Finding("zones", id_, f"sighting {id_} of vehicle {vehicle} has zones that are no list of names")
        if not is_score(score):
            text = f"sighting {id_} of vehicle {vehicle} has a score of {score}, which is not a cosine"
            yield Finding("score", id_, text)
        if not is_quality(quality):
            text = f"sighting {id_} of vehicle {vehicle} has a quality of {quality}, not from 0 to 1"
            yield Finding("quality", id_, text)
    for id_, created, pictured in connection.execute("SELECT id, created, pictured FROM vehicles"):
        if not (is_moment(created) and (pictured is None or is_moment(pictured))):
            text = f"vehicle {id_} was written down at '{created}', which is not a time in seconds since 1970"
            yield Finding("created", id_, text)


def _audit(connection: sqlite3.Connection, dim: int) -> Iterator[Finding]:
    for row in connection.execute("SELECT id, at, who, verb, vehicle, detail, undone, json_valid(detail) FROM audit"):
        id_, detail = row[0], detail_of(row[5]) if row[7] else None  # SQLite does not take all that Python does
        if not is_moment(row[1]):
            yield Finding("at", id_, f"change {id_} was made at '{row[1]}', which is not a time in seconds since 1970")
        if detail is None:
            yield Finding("audit", id_, f"change {id_} of the audit cannot be read")
            continue
        change = Change(id_, row[1], row[2], row[3], row[4], detail, row[6])
        if not is_sound(change):
            yield Finding("audit", id_, f"change {id_} of the audit holds an answer that cannot be read")
        if "undo" in detail and not can_be_read(change, dim):
            yield Finding("undo", id_, f"what undoing change {id_} needs is damaged")


def _site_threshold(connection: sqlite3.Connection, dim: int) -> Iterator[Finding]:
    for (text,) in connection.execute("SELECT value FROM meta WHERE key = ?", (SITE_THRESHOLD,)):
        try:
            evidence_of(text, dim)
        except Refused as refused:
            yield Finding("site threshold", None, str(refused).partition(";")[0])


def _feature(blob: object, kind: str, dim: int, tolerance: float) -> str | None:
    """What is wrong with a stored feature; None: nothing."""
    if not isinstance(blob, bytes) or len(blob) != dim * np.dtype(kind).itemsize:
        return "a feature of the wrong length"
    length = float(np.linalg.norm(np.frombuffer(blob, kind).astype(np.float64)))
    return None if abs(length - 1) <= tolerance else f"a feature of norm {length:.3g}, and not 1"


def _positive(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) > 0
    except ValueError:
        return False


def _cut(every: Iterator[Finding], most: int) -> Iterator[Finding]:
    """The findings of one check, cut where they are too many to be read, but never silently."""
    counts: dict[str, int] = {}
    for finding in every:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
        if counts[finding.kind] <= most:
            yield finding
    for kind, count in counts.items():
        if count > most:
            yield Finding(kind, None, f"{count - most:,} more of this kind ({kind})")


# Repairing


def repaired_rows(path: Path) -> tuple[list[str], set[int]]:
    """Repair the gallery at the absolute `path`; what was done, a sentence each, and the vehicles that lost a prototype.

    What cannot be known again is dropped and listed. A file with damaged pages is kept as PATH.damaged.
    Raises Refused for another writer, and where nothing can be read.
    """
    done = []
    if any(finding.kind == "page" for finding in check_gallery(path)):
        done += recovered(path)
    with as_writer(path), closing(Database(path, True)) as database:
        renamed = upgrade(database)
        if renamed is not None:
            done.append(f"the gallery is of schema {SCHEMA} now; older vreids cannot read it")
            done += [one.sentence for one in renamed]
        with sentences(path), database.transaction():
            broken = _repaired_pass(database.connection, done)
    return done, broken


def _repaired_pass(connection: sqlite3.Connection, done: list[str]) -> set[int]:
    """Put rows right; returns the vehicles that lost a prototype."""
    broken: set[int] = set()
    for _ in range(_PASSES):
        by_kind: dict[str, list[int]] = {}
        for finding in findings(connection, most=sys.maxsize):
            by_kind.setdefault(finding.kind, []).append(finding.row or 0)
        for kind, rows in sorted(by_kind.items()):
            if kind not in _REPAIRS:
                continue
            if kind in ("prototype", "cells of prototypes"):
                query = "SELECT vehicle FROM prototypes WHERE id = ? AND typeof(vehicle) = 'integer'"
                broken.update(*(vehicle for row in rows for vehicle in connection.execute(query, (row,))))
            _REPAIRS[kind](connection, rows)
            done.append(_DONE[kind].format(len(rows)))
        if not set(by_kind) & set(_REPAIRS):
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
        seq = "CASE WHEN typeof(seq) = 'integer' THEN max(seq, ?1) ELSE ?1 END"
        connection.execute(f"UPDATE sqlite_sequence SET seq = {seq} WHERE name = ?2", (last, table))


def _each(statement: str) -> Callable[[sqlite3.Connection, list[int]], None]:
    def run(connection: sqlite3.Connection, rows: list[int]) -> None:
        connection.executemany(statement, [(row,) for row in rows])

    return run


def _once(statement: str) -> Callable[[sqlite3.Connection, list[int]], None]:
    def run(connection: sqlite3.Connection, _: list[int]) -> None:
        connection.execute(statement)

    return run


_PASSES = 5  # repairing one thing may show another: a vehicle that is back may need the sequence put right
# what can only be milliseconds, microseconds or nanoseconds is divided; what is not a time at all becomes this moment
_IN_SECONDS = (
    "CASE WHEN typeof({0}) NOT IN ('real', 'integer') THEN CAST(strftime('%s', 'now') AS REAL)"
    " WHEN {0} >= 0 AND {0} < 1e10 THEN {0} WHEN {0} BETWEEN 1e11 AND 9.99e12 THEN {0} / 1e3"
    " WHEN {0} BETWEEN 1e14 AND 9.99e15 THEN {0} / 1e6 WHEN {0} BETWEEN 1e17 AND 9.99e18 THEN {0} / 1e9"
    " ELSE CAST(strftime('%s', 'now') AS REAL) END"
)
# the end of a sighting that is not a time gets the other one's, and both get 0 where neither is
_ON_CLOCK = "CASE WHEN {0} > -1e10 AND {0} < 1e10 THEN {0} WHEN {1} > -1e10 AND {1} < 1e10 THEN {1} ELSE 0.0 END"
_REPAIRS: dict[str, Callable[[sqlite3.Connection, list[int]], None]] = {
    **REPAIRS,
    "undo": _each("UPDATE audit SET detail = json_remove(detail, '$.undo') WHERE id = ?"),
    "orphan": _adopt,
    "name": _name,
    "key": _key,
    "sequence": _sequences,
    "changes": _once(
        "DELETE FROM changes WHERE prototype > (SELECT seq FROM sqlite_sequence WHERE name = 'prototypes')"
    ),
    "identity": _once("INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))))"),
    "retention": _once("DELETE FROM meta WHERE key = 'retention'"),
    "site threshold": _once(f"DELETE FROM meta WHERE key = '{SITE_THRESHOLD}'"),
    "prototype": _each("DELETE FROM prototypes WHERE id = ?"),
    "sighting": _each("UPDATE sightings SET feature = NULL WHERE id = ?"),
    "picture": _each("UPDATE sightings SET thumbnail = NULL WHERE id = ?"),
    "time": _each(f"UPDATE sightings SET seen = {_IN_SECONDS.format('seen')} WHERE id = ?"),
    "clock": _each(
        f"UPDATE sightings SET first_time = {_ON_CLOCK.format('first_time', 'last_time')},"
        f" last_time = {_ON_CLOCK.format('last_time', 'first_time')} WHERE id = ?"
    ),
    "zones": _each("UPDATE sightings SET zones = NULL WHERE id = ?"),
    "score": _each("UPDATE sightings SET score = -9e999 WHERE id = ?"),
    "quality": _each("UPDATE sightings SET quality = 0.0 WHERE id = ?"),
    "at": _each(f"UPDATE audit SET at = {_IN_SECONDS.format('at')} WHERE id = ?"),
    "created": _each(
        f"UPDATE vehicles SET created = {_IN_SECONDS.format('created')},"
        f" pictured = CASE WHEN pictured NOTNULL THEN {_IN_SECONDS.format('pictured')} END WHERE id = ?"
    ),
    "audit": _each(f"UPDATE audit SET detail = '{json.dumps({'lost': True})}' WHERE id = ?"),
}
_DONE = {
    **DONE,
    "undo": "{} changes can no longer be undone, for what that needs was damaged",
    "orphan": "{} lost vehicles are back under their ids, without their names",
    "name": "{} vehicles have a name after their id now",
    "sequence": "no id will be given again",
    "changes": "the log of changes is cut to what there was",
    "identity": "the gallery has a new identity, and indexes are built again",
    "retention": "sightings are kept for ever; set a span with 'vreid gallery retain'",
    "site threshold": "this site's threshold is forgotten, and learnt anew from the manifest's on",
    "prototype": "{} prototypes whose feature was not valid are dropped",
    "sighting": "{} sightings stay without their feature, which was not valid",
    "picture": "{} sightings stay without their picture, which was not valid",
    "key": "{} vehicles have their name in NFC now, and can be found by it",
    "time": "{} sightings had no time in seconds: milliseconds and nanoseconds are divided, others get this moment",
    "clock": "{} sightings had no times in seconds on their source's clock: begin and end are one, or 0",
    "zones": "{} sightings stay without their zones, which were no list of names",
    "score": "{} sightings stay without their score, which was not a cosine",
    "quality": "{} sightings have a quality of 0 now, since it was not from 0 to 1",
    "at": "{} changes had no time in seconds: milliseconds and nanoseconds are divided, others get this moment",
    "created": "{} vehicles had no time in seconds: milliseconds and nanoseconds are divided, others get this moment",
    "audit": "{} changes of the audit say only that they were",
}
