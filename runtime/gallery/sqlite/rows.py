"""Records made of an SQLite gallery's rows, with each cell's type checked: SQLite keeps any type in any column."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vreid.runtime.gallery.records import Change, SightingRow, VehicleRow
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
