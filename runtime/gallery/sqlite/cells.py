"""Cells of another type than their column's, and text that is not UTF-8: SQLite keeps both and does not call it damage."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial

from vreid.runtime.gallery.records import Finding

NULL, DROP = "NULL", None  # what is done with a wrong cell: it is emptied, or its row is deleted
_NOW = "CAST(strftime('%s', 'now') AS REAL)"
# Each column's type, and what replaces a cell of another type; a cell may be NULL where NULL is that.
# A vehicle's placeholder name and key are found and replaced by the checks of names, which come after this one.
COLUMNS: dict[str, dict[str, tuple[str, str | None]]] = {
    "vehicles": {
        "name": ("text", "char(0) || id"), "created": ("real", _NOW), "kind": ("text", NULL), "thumbnail": ("blob", NULL),
        "key": ("text", "char(0) || id"), "named": ("integer", "1"), "pictured": ("real", NULL),
    },
    "prototypes": {
        "vehicle": ("integer", DROP), "view": ("text", DROP), "feature": ("blob", DROP), "weight": ("real", DROP),
        "count": ("integer", DROP),
    },
    "sightings": {
        "vehicle": ("integer", DROP), "camera": ("text", DROP), "track": ("integer", DROP), "first_time": ("real", DROP),
        "last_time": ("real", DROP), "first_frame": ("integer", DROP), "last_frame": ("integer", DROP),
        "score": ("real", DROP), "thumbnail": ("blob", NULL), "run": ("text", DROP), "seen": ("real", _NOW),
        "kind": ("text", NULL), "plate": ("text", NULL), "quality": ("real", DROP), "feature": ("blob", NULL),
    },
    "changes": {"prototype": ("integer", DROP), "mark": ("integer", DROP)},
    "audit": {
        "at": ("real", DROP), "who": ("text", DROP), "verb": ("text", DROP), "vehicle": ("integer", NULL),
        "detail": ("text", DROP), "undone": ("integer", DROP),
    },
}  # fmt: skip
_PREFIX = "cells of "


def wrong_cells(connection: sqlite3.Connection) -> Iterator[Finding]:
    """One finding for each row with such a cell."""
    connection.create_function("vreid_utf8", 1, _is_utf8, deterministic=True)
    for table, columns in COLUMNS.items():
        marks = ", ".join(_is_wrong(column, *rule) for column, rule in columns.items())
        some = " OR ".join(_is_wrong(column, *rule) for column, rule in columns.items())
        for id_, *wrong in connection.execute(f"SELECT id, {marks} FROM {table} WHERE {some}"):
            names = ", ".join(column for column, bad in zip(columns, wrong, strict=True) if bad)
            yield Finding(
                _PREFIX + table,
                id_,
                f"row {id_} of {table} has a value of the wrong type or text that is not UTF-8, in {names}",
            )


def _repair(table: str, connection: sqlite3.Connection, rows: list[int]) -> None:
    """Empty wrong cells that may be empty, and delete rows with others."""
    drop = " OR ".join(_is_wrong(column, *rule) for column, rule in COLUMNS[table].items() if rule[1] is DROP)
    put = [
        f"{column} = CASE WHEN {_is_wrong(column, *rule)} THEN {rule[1]} ELSE {column} END"
        for column, rule in COLUMNS[table].items()
        if rule[1] is not DROP
    ]
    for row in rows:
        if drop:
            connection.execute(f"DELETE FROM {table} WHERE id = ? AND ({drop})", (row,))
        if put:
            connection.execute(f"UPDATE {table} SET {', '.join(put)} WHERE id = ?", (row,))


REPAIRS: dict[str, Callable[[sqlite3.Connection, list[int]], None]] = {
    _PREFIX + table: partial(_repair, table) for table in COLUMNS
}
DONE = {
    _PREFIX + table: f"{{}} rows of {table} had values of the wrong type: the value was emptied, or the row deleted"
    for table in COLUMNS
}


def _is_wrong(column: str, kind: str, put: str | None) -> str:
    types = {"real": "'real', 'integer'"}.get(kind, f"'{kind}'") + (", 'null'" if put == NULL else "")
    wrong = f"typeof({column}) NOT IN ({types})"
    if kind == "text":
        wrong += f" OR typeof({column}) = 'text' AND NOT vreid_utf8(CAST({column} AS BLOB))"
    return f"({wrong})"


def _is_utf8(raw: bytes | None) -> bool:
    """SQLite calls this for every cell; NULL and an empty text come as None."""
    try:
        (raw or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
