"""A filter as SQL conditions."""

from dataclasses import replace
from typing import Any

from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery.names import key_of
from vreid.runtime.gallery.records import Filter

_BARE = "replace(replace(upper({}), ' ', ''), '-', '')"  # plates are read with and without spaces and hyphens

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
    where, more = sightings_where(replace(only, kinds=()))
    seen = "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND {})"
    if only.kinds:
        marks = ", ".join("?" * len(only.kinds))
        own = f"v.kind IN ({marks})" + (f" AND {seen.format(where)}" if more else "")
        parts.append(f"({own} OR {seen.format(f'{where} AND s.kind IN ({marks})')})")
        values += [*only.kinds, *more, *more, *only.kinds]
    elif more:
        parts.append(seen.format(where))
        values += more
    return " AND ".join(parts), values


def sightings_where(only: Filter) -> Condition:
    """A condition over a row `s` of sightings; ids and names are of vehicles and not looked at."""
    parts, values = ["1"], list[Any]()
    for column, wanted in (("camera", only.cameras), ("kind", only.kinds), ("run", only.runs)):
        if wanted:
            parts.append(f"s.{column} IN ({', '.join('?' * len(wanted))})")
            values += [nfc(text) for text in wanted] if column == "camera" else wanted
    if only.plates:
        parts.append(_any(f"{_BARE.format('s.plate')} GLOB {_BARE.format('?')}", only.plates))
        values += [_glob(text) for text in only.plates]
    for sign, moment in ((">=", only.since), ("<", only.until)):
        if moment is not None:
            parts.append(f"s.seen {sign} ?")
            values.append(moment)
    return " AND ".join(parts), values


def _any(condition: str, values: tuple[str, ...]) -> str:
    return "(" + " OR ".join([condition] * len(values)) + ")"


def _glob(text: str) -> str:
    """A pattern in which nothing but * and ? is special."""
    return text.replace("[", "[[]")
