"""Rows of the tables: the conditions that choose them, and the records that they become."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery.names import key_of
from vreid.runtime.gallery.records import Change, Filter, SightingInfo, SightingRow
from vreid.runtime.records import Floats

VEHICLE = "v.id, v.name, v.named, v.created, v.kind, v.pictured, v.thumbnail"
SIGHTING = (
    "s.camera, s.track, s.first_time, s.last_time, s.first_frame, s.last_frame, s.score, s.thumbnail, s.run, s.seen, s.kind,"
    " s.plate, s.quality, halfvec_send(s.feature), s.zones"
)
INFO = (
    "s.id, s.vehicle, s.camera, s.track, s.run, s.seen, s.first_time, s.last_time, s.kind, s.plate, s.quality, s.score,"
    " (s.feature IS NOT NULL)::int, (s.thumbnail IS NOT NULL)::int, s.zones"
)
_PLATE = "replace(replace(upper({}), ' ', ''), '-', '')"  # plates are read with and without spaces and hyphens
_HEADER = 4  # bytes before a vector's numbers, which are big-endian

Condition = tuple[str, list[Any]]  # SQL and its values


def vehicles_where(only: Filter) -> Condition:
    """A condition over a row `v` of vehicles."""
    parts, values = ["true"], list[Any]()
    if only.ids:
        parts.append("v.id = ANY(%s)")
        values.append([*only.ids])
    if only.names:
        parts.append("v.key LIKE ANY(%s)")
        values.append([_like(key_of(text)) for text in only.names])
    where, more = sightings_where(only, kinds=False)
    seen = "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND {})"
    if only.kinds:
        kinds = [*only.kinds]
        own = "v.kind = ANY(%s)" + (f" AND {seen.format(where)}" if more else "")
        parts.append(f"({own} OR {seen.format(f'{where} AND s.kind = ANY(%s)')})")
        values += [kinds, *more, *more, kinds]
    elif more:
        parts.append(seen.format(where))
        values += more
    return " AND ".join(parts), values


def sightings_where(only: Filter, kinds: bool = True) -> Condition:
    """A condition over a row `s` of sightings; ids and names are of vehicles and not looked at."""
    parts, values = ["true"], list[Any]()
    chosen = (("camera", [*map(nfc, only.cameras)]), ("kind", [*only.kinds] if kinds else []), ("run", [*only.runs]))
    for column, wanted in chosen:
        if wanted:
            parts.append(f"s.{column} = ANY(%s)")
            values.append(wanted)
    if only.zones:
        parts.append("s.zones && %s::text[]")
        values.append([*map(nfc, only.zones)])
    if only.plates:
        parts.append(f"s.plate IS NOT NULL AND {_PLATE.format('s.plate')} LIKE ANY(%s)")
        values.append([_like(re.sub("[ -]", "", _upper(text))) for text in only.plates])
    for sign, moment in ((">=", only.since), ("<", only.until)):
        if moment is not None:
            parts.append(f"s.seen {sign} %s")
            values.append(float(moment))
    return " AND ".join(parts), values


def _upper(text: str) -> str:
    """As the database has it for texts in the collation "C": of ASCII only."""
    return "".join(letter.upper() if letter.isascii() else letter for letter in text)


def _like(text: str) -> str:
    """A pattern of LIKE for one in which nothing but * and ? is special."""
    return re.sub(r"[%_\\]", r"\\\g<0>", text).replace("*", "%").replace("?", "_")


def numbers(feature: NDArray[Any] | None) -> list[float] | None:
    """A feature (D,) as a parameter, to be cast to vector or halfvec."""
    return None if feature is None else feature.astype(np.float64).tolist()


def features_of(blobs: Sequence[bytes], dim: int) -> Floats:
    """N results of vector_send -> (N, D)."""
    table = np.frombuffer(b"".join(blobs), np.uint8).reshape(-1, _HEADER + 4 * dim)
    return np.ascontiguousarray(table[:, _HEADER:]).view(">f4").astype(np.float32)


def half_of(blob: bytes | None) -> NDArray[np.float16] | None:
    """A result of halfvec_send (D,), or None."""
    return None if blob is None else np.frombuffer(blob[_HEADER:], ">f2").astype(np.float16)


def sighting_row(cells: Sequence[Any]) -> SightingRow:
    """A row of SIGHTING."""
    *rest, blob, zones = cells
    row: tuple[Any, ...] = (*rest, half_of(blob), tuple(zones or ()))
    return SightingRow(*row)


def sighting_info(cells: Sequence[Any]) -> SightingInfo:
    """A row of INFO."""
    row: tuple[Any, ...] = (*cells[:-1], tuple(cells[-1] or ()))
    return SightingInfo(*row)


def change_of(cells: Sequence[Any]) -> Change:
    """A row of the audit: id, time, who, verb, vehicle, detail, what undoing needs, undone."""
    *rest, detail, undo, undone = cells
    row: tuple[Any, ...] = (*rest, detail if undo is None else {**detail, "undo": undo}, undone)
    return Change(*row)


def json_text(detail: Mapping[str, Any], default: Any) -> str:
    """JSON that PostgreSQL can take apart: without NUL and without halves of characters, which it has no text for."""
    text = json.dumps(detail, default=default, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\u0000", r"\1\\ufffd", text)
    return text.encode("utf-8", "replace").decode()
