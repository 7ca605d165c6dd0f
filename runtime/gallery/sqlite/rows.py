"""Rows of the tables: the conditions that choose them, the records and arrays that they become, and cells of the wrong type."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery.names import key_of
from vreid.runtime.gallery.records import Change, FeatureRows, Filter, Finding, SightingInfo, SightingRow, VehicleRow
from vreid.runtime.gallery.sqlite.database import Database, damaged
from vreid.runtime.records import Floats, Ints

_T = TypeVar("_T")
_CELLS = {int, float, str, bytes, bool, NoneType}


def record_of(path: Path, kind: type[_T], cells: Sequence[Any]) -> _T:
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
    return record_of(path, VehicleRow, (*cells[:2], bool(cells[2]) if cells[2] in (0, 1) else cells[2], *cells[3:]))


def sighting_row(path: Path, cells: Sequence[Any], dim: int) -> SightingRow:
    """A sighting with its feature (dim,) or none. Raises GalleryDamaged for a cell of another type or length."""
    *rest, blob, zones = cells
    feature = None if blob is None else half_feature(path, blob, dim)
    return record_of(path, SightingRow, (*rest, feature, zones_in(path, zones)))


def half_feature(path: Path, blob: object, dim: int) -> NDArray[np.float16]:
    """A sighting's feature (dim,). Raises GalleryDamaged for one of another length."""
    if not (isinstance(blob, bytes) and len(blob) == 2 * dim):
        raise damaged(path, "a sighting's feature of the wrong length")
    return np.frombuffer(blob, "<f2")


def sighting_info(path: Path, cells: Sequence[Any]) -> SightingInfo:
    """A sighting; SQLite gives 0 or 1 for whether it has a feature and a picture. Raises GalleryDamaged as `record_of` does."""
    return record_of(path, SightingInfo, (*cells[:-1], zones_in(path, cells[-1])))


def zones_in(path: Path, cell: object) -> tuple[str, ...]:
    """The zones that a sighting crossed. Raises GalleryDamaged for a cell that `zones_text` does not write."""
    zones = () if cell is None else zones_of(cell)
    if zones is None:
        raise damaged(path, "a sighting's zones that are no list of names")
    return zones


def zones_of(cell: object) -> tuple[str, ...] | None:
    """The names that `zones_text` wrote; None for what it does not write."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else None
    except (ValueError, RecursionError):
        return None
    return tuple(found) if isinstance(found, list) and found and all(isinstance(one, str) for one in found) else None


def zones_text(zones: Sequence[str]) -> str | None:
    """As a sighting's row keeps them; the C++ writes the same bytes."""
    return json.dumps([*zones], ensure_ascii=False, separators=(",", ":")) if zones else None


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
    return record_of(path, Change, (*row[:5], detail, row[6]))


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
CELL_RULES: dict[str, dict[str, tuple[str, str | None]]] = {
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
        "zones": ("text", NULL),
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
    for table, columns in CELL_RULES.items():
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
    drop = " OR ".join(_is_wrong(column, *rule) for column, rule in CELL_RULES[table].items() if rule[1] is DROP)
    put = [
        f"{column} = CASE WHEN {_is_wrong(column, *rule)} THEN {rule[1]} ELSE {column} END"
        for column, rule in CELL_RULES[table].items()
        if rule[1] is not DROP
    ]
    for row in rows:
        if drop:
            connection.execute(f"DELETE FROM {table} WHERE id = ? AND ({drop})", (row,))
        if put:
            connection.execute(f"UPDATE {table} SET {', '.join(put)} WHERE id = ?", (row,))


REPAIRS: dict[str, Callable[[sqlite3.Connection, list[int]], None]] = {
    _PREFIX + table: partial(_repair, table) for table in CELL_RULES
}
DONE = {
    _PREFIX + table: f"{{}} rows of {table} had values of the wrong type: the value was emptied, or the row deleted"
    for table in CELL_RULES
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


# the lists of zones that there are, one step of the index for each, and of them those that name one of some
WITH_ZONE = """WITH RECURSIVE list (text) AS (SELECT min(zones) FROM sightings WHERE zones NOTNULL UNION ALL
    SELECT (SELECT min(zones) FROM sightings WHERE zones > text) FROM list WHERE text NOTNULL)
    SELECT text FROM list WHERE EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(text) THEN text END) WHERE value IN ({}))"""
_BARE = "replace(replace(upper({}), ' ', ''), '-', '')"  # plates are read with and without spaces and hyphens
_PLATE, _PATTERN = _BARE.format("s.plate"), _BARE.format("?")
_LIKE = f"{_PLATE} GLOB {_PATTERN}"
_BETWEEN = f" AND {_PLATE} >= {_PATTERN} AND {_PLATE} < {_PATTERN} || char(1114111)"  # for the index

Condition = tuple[str, list[Any]]  # SQL and its values


def vehicles_where(only: Filter) -> Condition:
    """A condition over a row `v` of vehicles."""
    parts, values = ["1"], list[Any]()
    if only.ids:
        parts.append(f"v.id IN ({', '.join('?' * len(only.ids))})")
        values += only.ids
    if only.names:
        parts.append(_any("v.key GLOB ?", only.names))
        values += [_glob(key_of(text)) for text in only.names]
    lead = "" if only.plates else "zones" if only.zones else "camera" if only.cameras else "kind"
    where, more = sightings_where(replace(only, kinds=()), lead)
    seen = "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND {})"
    if only.plates:  # few have them
        seen = "v.id IN (SELECT s.vehicle FROM sightings s WHERE {})"
    if only.kinds:
        marks = ", ".join("?" * len(only.kinds))
        own = f"v.kind IN ({marks})" + (f" AND {seen.format(where)}" if more else "")
        of_kind = f"{where} AND {_by('kind', lead)} IN ({marks})"
        parts.append(f"({own} OR {seen.format(of_kind)})")
        values += [*only.kinds, *more, *more, *only.kinds]
    elif more:
        parts.append(seen.format(where))
        values += more
    return " AND ".join(parts), values


def sightings_where(only: Filter, lead: str = "") -> Condition:
    """A condition over a row `s` of sightings; ids and names are of vehicles and not looked at.

    Of the columns that many rows have in common an index is used for `lead` only, where the caller's query has one that begins
    with it, or with the vehicle and it; the others are compared in that index.
    """
    parts, values = ["1"], list[Any]()
    for column, wanted in (("camera", only.cameras), ("kind", only.kinds), ("run", only.runs)):
        if wanted:
            parts.append(f"{_by(column, lead)} IN ({', '.join('?' * len(wanted))})")
            values += [nfc(text) for text in wanted] if column == "camera" else wanted
    if only.zones:
        parts.append(f"{_by('zones', lead)} IN ({WITH_ZONE.format(', '.join('?' * len(only.zones)))})")
        values += [nfc(text) for text in only.zones]
    if only.plates:
        starts = [re.split(r"[*?]", text)[0] for text in only.plates]
        parts += ["s.plate NOTNULL", "(" + " OR ".join(_LIKE + (_BETWEEN if start else "") for start in starts) + ")"]
        for text, start in zip(only.plates, starts, strict=True):
            values += [_glob(text), start, start] if start else [_glob(text)]
    for sign, moment in ((">=", only.since), ("<", only.until)):
        if moment is not None:
            parts.append(f"{'+' if only.plates else ''}s.seen {sign} ?")
            values.append(moment)
    return " AND ".join(parts), values


def _by(column: str, lead: str) -> str:
    """SQLite uses no index for a column with a sign."""
    return f"s.{column}" if column == lead else f"+s.{column}"


def _any(condition: str, values: tuple[str, ...]) -> str:
    return "(" + " OR ".join([condition] * len(values)) + ")"


def _glob(text: str) -> str:
    """A pattern in which nothing but * and ? is special."""
    return text.replace("[", "[[]")


_PAGE = 1 << 13  # prototypes at a time: 16 MB of 512-d features
_NONE: Ints = np.empty(0, np.int64)
_FEATURES = "SELECT id, vehicle, feature FROM prototypes"


class PrototypeFeatures:
    """What one connection sees."""

    def __init__(self, database: Database, dim: int) -> None:
        self.name, self.path, self.dim = str(database.path), database.path, dim
        self._database = database

    def reader(self) -> "PrototypeFeatures":
        return PrototypeFeatures(Database(self.path, False), self.dim)

    def close(self) -> None:
        self._database.close()

    @property
    def in_transaction(self) -> bool:
        return self._database.connection.in_transaction

    def reading(self) -> AbstractContextManager[None]:
        return self._database.reading()

    def count(self) -> int:
        return int(self._database.row("SELECT count(*) FROM prototypes")[0])

    def vehicle_ids(self, only: Filter) -> list[int]:
        where, values = vehicles_where(only)
        return self._database.column(f"SELECT v.id FROM vehicles v WHERE {where} ORDER BY v.id", *values)

    def of(self, prototypes: Ints) -> FeatureRows:
        some = f"{_FEATURES} WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        parts = list(self._pages(some, json.dumps(prototypes.tolist())))
        if not parts:
            return _NONE, _NONE, np.empty((0, self.dim), np.float32)
        ids, vehicles, features = zip(*parts, strict=True)
        return np.concatenate(ids), np.concatenate(vehicles), np.concatenate(features)

    def of_vehicles(self, vehicles: Ints) -> Iterator[tuple[Ints, Floats, NDArray[np.object_]]]:
        query = "SELECT vehicle, feature, view FROM prototypes WHERE vehicle IN (SELECT value FROM json_each(?)) ORDER BY vehicle"
        for page in self._database.pages(_PAGE, query, json.dumps(vehicles.tolist())):
            owners, blobs, views = zip(*page, strict=True)
            if {*map(type, owners)} != {int} or {*map(type, views)} != {str}:
                raise damaged(self.path, "a prototype whose vehicle is not a number or whose view is not text")
            yield np.array(owners, np.int64), stored_features(blobs, self.dim, self.path), np.array(views, object)

    def pages(self) -> Iterator[FeatureRows]:
        last = -1
        while pages := list(self._pages(f"{_FEATURES} WHERE id > ? ORDER BY id LIMIT ?", last, _PAGE)):
            last = int(pages[-1][0][-1])
            yield from pages

    def last_change(self) -> int:
        return self._database.last_id("changes")

    def changes(self, after: int, last: int) -> Ints:
        log = self._database.rows("SELECT id, prototype FROM changes WHERE id > ? AND id <= ?", after, last)
        return np.array([*log], np.int64).reshape(-1, 2)

    def stamp_of(self, change: int) -> tuple[str, int] | None:
        identity = self._database.row("SELECT value FROM meta WHERE key = 'identity'")
        mark = self._database.row("SELECT mark FROM changes WHERE id = ?", change)
        return None if identity is None or mark is None else (identity[0], mark[0])

    def _pages(self, query: str, *values: Any) -> Iterator[FeatureRows]:
        for page in self._database.pages(_PAGE, query, *values):
            ids, vehicles, blobs = zip(*page, strict=True)
            if set(map(type, vehicles)) != {int}:
                raise damaged(self.path, "a prototype whose vehicle is not a number")
            yield np.array(ids, np.int64), np.array(vehicles, np.int64), stored_features(blobs, self.dim, self.path)


def stored_features(blobs: Sequence[bytes], dim: int, path: Path) -> Floats:
    """N stored features of the gallery at `path` -> (N, D). Raises GalleryDamaged for one of another length."""
    if not set(map(type, blobs)) <= {bytes} or not set(map(len, blobs)) <= {4 * dim}:
        raise damaged(path, "a feature of the wrong length")
    return np.frombuffer(bytearray().join(blobs), np.dtype("<f4")).reshape(-1, dim).astype(np.float32, copy=False)
