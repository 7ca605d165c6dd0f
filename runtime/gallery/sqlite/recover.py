"""What can still be read of a gallery whose pages are damaged, in a new file; the damaged one is kept."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.models.files import sync_folder
from vreid.runtime.gallery.sqlite.database import Database, as_writer, sentences
from vreid.runtime.gallery.sqlite.numbers import TABLE, Numbers
from vreid.runtime.gallery.sqlite.schema import about_of, create, fill_keys, fill_named

STEP = 256  # rows that are read at once where nothing is wrong
_GUESS = 1 << 16  # how many rows are tried where it is not known how many there were
_TABLES = ("vehicles", "prototypes", "sightings", "audit")  # `changes` is for indexes, which do not know the new file


def recovered(path: Path) -> list[str]:
    """Put a new gallery with every row that can be read in the place of the one at `path`; sentences on what was done.

    The damaged file, with its write-ahead log, becomes PATH.damaged. Raises Refused for another writer, where a
    PATH.damaged is there already, and where not even the embedding space can be read.
    """
    damaged, temporary = path.with_name(path.name + ".damaged"), path.with_name(path.name + ".new")
    if damaged.exists():
        raise Refused(f"{damaged} is there already; move it away first")
    with as_writer(path):
        try:
            _clean_up(temporary)  # of a repair that was killed
            source = _padded(path, temporary.with_name(temporary.name + ".padded"))
            with closing(Database(source, False, called=path)) as old:
                old.connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # such a row is still a row
                create(temporary, about_of(old, old=True))
                with sentences(path), closing(Database(temporary, True, called=path)) as new:
                    new.run("PRAGMA foreign_keys = OFF")  # a row whose vehicle is lost is kept
                    lost = _copied(old.connection, new)
                    new.row("PRAGMA wal_checkpoint(TRUNCATE)")
            _set_aside(path, damaged)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            _clean_up(temporary)
    missing = ", ".join(f"{count} of {table}" for table, count in lost.items() if count) or "none that it knew of"
    return [
        f"the gallery was copied to a new file; rows that could not be read: {missing}; the damaged file is {damaged.name}"
    ]


def _clean_up(temporary: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        temporary.with_name(temporary.name + ending).unlink(missing_ok=True)
        temporary.with_name(temporary.name + ".padded" + ending).unlink(missing_ok=True)


def _set_aside(path: Path, damaged: Path) -> None:
    """The damaged file gets a second name, so that whoever is killed here leaves a gallery at `path`; its log moves.

    The log goes before the new file comes, since SQLite would take it for that one's.
    """
    try:
        os.link(path, damaged)
    except OSError:  # a card's file system, which has no links
        shutil.copy2(path, damaged)
    log = path.with_name(path.name + "-wal")
    if log.exists():
        log.replace(damaged.with_name(damaged.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)


def _padded(path: Path, copy: Path) -> Path:
    """`path`, or a copy filled with zeros where it is shorter than its header has it, which SQLite does not read at all."""
    with path.open("rb") as file:
        header = file.read(32)
    page, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    length = (65536 if page == 1 else page) * pages
    if path.stat().st_size >= length:
        return path
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.truncate(length)
    if path.with_name(path.name + "-wal").exists():
        shutil.copyfile(path.with_name(path.name + "-wal"), copy.with_name(copy.name + "-wal"))
    return copy


def _copied(old: sqlite3.Connection, new: Database) -> dict[str, int]:
    """Copy every row that can be read; how many cannot be, by table: ids on pages that cannot be read count too."""
    lost = {}
    new.run("BEGIN")
    new.run("DROP INDEX vehicles_key")  # of keys that are made when all names are there
    for key, value in old.execute("SELECT key, value FROM meta WHERE key NOT IN ('schema', 'identity')"):
        new.run("INSERT OR IGNORE INTO meta VALUES (?, ?)", key, value)
    for table in _TABLES:
        there = {row[1] for row in old.execute(f"PRAGMA table_info({table})")}
        columns = [row[1] for row in new.rows(f"PRAGMA table_info({table})") if row[1] in there]
        if not columns:  # a table that schema 1 does not have
            continue
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE id"
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        bad: list[int] = []
        last = _last(old, table)
        for row in _rows(old, table, query, last, bad):
            new.run(insert, *row)
        if not new.row("SELECT 1 FROM sqlite_sequence WHERE name = ?", table):
            new.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 0)", table)
        new.run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", last, table)
        lost[table] = len(bad)
    _copy_numbers(old, new)
    there = {row[1] for row in old.execute("PRAGMA table_info(vehicles)")}
    if "named" not in there:
        fill_named(new)
    fill_keys(new)
    new.run("COMMIT")
    return lost


def _copy_numbers(old: sqlite3.Connection, new: Database) -> None:
    """By which a centre knows what is here, so that what it says of that is understood; the outbox itself is made anew."""
    try:
        rows = old.execute(f"SELECT id, sighting, vehicle, base FROM {TABLE}").fetchall()
    except sqlite3.DatabaseError:  # there is none, or it is damaged
        return
    Numbers(new).make()
    for row in rows:
        new.run(f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?)", *row)


def _rows(old: sqlite3.Connection, table: str, query: str, last: int, bad: list[int]) -> Iterator[tuple[Any, ...]]:
    """The rows with ids up to `last` that can be read; `bad` gets the ids that cannot."""
    start = 1
    while start <= last:
        ranges = [(start, min(start + STEP - 1, last))]
        while ranges:
            low, high = ranges.pop()
            try:
                rows = old.execute(f"{query} BETWEEN ? AND ?", (low, high)).fetchall()
            except (sqlite3.DatabaseError, UnicodeDecodeError):
                if low == high:
                    yield from _one(old, query, low, bad)
                elif high - low == STEP - 1 and not any(_readable(old, query, id_) for id_ in range(low, high + 1, 32)):
                    bad += range(low, high + 1)  # a page that leads to many: trying each id would take hours
                else:
                    middle = (low + high) // 2
                    ranges += [(middle + 1, high), (low, middle)]
            else:
                yield from rows
                # a damaged id that is too high ends a walk through a page early, without an error
                there = {row[0] for row in rows}
                for id_ in [] if len(there) > high - low else range(low, high + 1):
                    if id_ not in there:
                        yield from _one(old, query, id_, bad)
        start += STEP
        try:  # ids may have large gaps
            (higher,) = old.execute(f"SELECT min(id) FROM {table} WHERE id >= ?", (start,)).fetchone()
            start = max(start, last + 1 if higher is None else higher)
        except sqlite3.DatabaseError:
            pass


def _one(old: sqlite3.Connection, query: str, id_: int, bad: list[int]) -> list[tuple[Any, ...]]:
    """One row, without a look at the next, which may be damaged."""
    try:
        return old.execute(f"{query} = ?", (id_,)).fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        bad.append(id_)
        return []


def _readable(old: sqlite3.Connection, query: str, id_: int) -> bool:
    try:
        old.execute(f"{query} = ?", (id_,)).fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return True


def _last(old: sqlite3.Connection, table: str) -> int:
    """The last id that the table ever gave, as far as it can be read."""
    known = []
    for query in (f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'", f"SELECT max(id) FROM {table}"):
        try:
            row = old.execute(query).fetchone()
            known.append(int((row or (0,))[0] or 0))
        except (sqlite3.DatabaseError, ValueError):
            continue
    return max(known, default=_GUESS)
