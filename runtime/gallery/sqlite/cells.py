"""Cells of the right type: records made of rows, and wrong cells found and repaired. SQLite keeps any type in any column."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vreid.runtime.gallery.records import Change, Finding, SightingRow, VehicleRow
from vreid.runtime.gallery.sqlite.database import damaged

T = TypeVar("T")
_CELLS = {int, float, str, bytes, bool, NoneType}


def record(path: Path, kind: type[T], cells: Sequence[Any]) -> T:
    """A record of the dataclass `kind` from `cells`, its fields in order. Raises GalleryDamaged for a cell of another type."""
    for (name, allowed), cell in zip(_fields(kind), cells, strict=True):  # type: ignore[arg-type]  # a class is hashable
        if allowed and type(cell) not in allowed:
            raise damaged(path, f"{_called(cell)} as the {name} of {kind.__name__} {cells[0]!r:.40}")
    return kind(*cells)


def typed(path: Path, cells: Sequence[Any], *kinds: type) -> tuple[Any, ...]:
    """`cells`, checked to be of these types. Raises GalleryDamaged for another."""
    for cell, kind in zip(cells, kinds, strict=True):
        if type(cell) is not kind and not (kind is float and type(cell) is int):
            raise damaged(path, f"{_called(cell)} in a column of {_called(kind())}")
    return tuple(cells)


def vehicle_row(path: Path, cells: Sequence[Any]) -> VehicleRow:
    """A vehicle; SQLite has 0 and 1 for `named`. Raises GalleryDamaged for a cell of another type."""
    return record(path, VehicleRow, (*cells[:2], bool(cells[2]) if cells[2] in (0, 1) else cells[2], *cells[3:]))


def sighting_row(path: Path, cells: Sequence[Any], dim: int) -> SightingRow:
    """A sighting with its feature (dim,) or none. Raises GalleryDamaged for a cell of another type or length."""
    blob = cells[-1]
    if blob is not None and not (isinstance(blob, bytes) and len(blob) == 2 * dim):
        raise damaged(path, "a sighting's feature of the wrong length")
    return record(path, SightingRow, (*cells[:-1], None if blob is None else np.frombuffer(blob, "<f2")))


def _called(cell: object) -> str:
    return {bytes: "bytes", str: "text", NoneType: "nothing"}.get(type(cell), "a number")


@cache
def _fields(kind: Any) -> list[tuple[str, frozenset[type]]]:
    """Each field's name and the types that its cell may have; empty: the field is not a cell, and is not checked."""
    fields = []
    for name, hint in get_type_hints(kind).items():
        kinds = frozenset(get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
        kinds = kinds if kinds <= _CELLS else frozenset()
        fields.append((name, kinds | {int} if float in kinds else kinds))
    return fields


def change_of(path: Path, row: Sequence[Any]) -> Change:
    """A row of the audit. Raises GalleryDamaged, which names the change, for a detail that cannot be read."""
    detail = detail_of(row[5])
    if detail is None:
        raise damaged(path, f"change {row[0]} of the audit cannot be read")
    return record(path, Change, (*row[:5], detail, row[6]))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not valid JSON")


def detail_of(text: object) -> dict[str, Any] | None:
    """The detail of a change; None where it is not valid JSON or not what a change writes."""
    try:
        detail = json.loads(text, parse_constant=_refuse_constant) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(detail, dict) or not isinstance(vehicles := detail.get("vehicles", []), list):
        return None
    return detail if all(type(vehicle) is int and abs(vehicle) < 1 << 63 for vehicle in vehicles) else None


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
