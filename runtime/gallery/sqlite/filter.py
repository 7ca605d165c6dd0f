"""Which vehicles and sightings are meant: by camera, time, kind, plate, run and name, as SQL conditions."""

from dataclasses import dataclass, replace
from typing import Any

from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery.names import Run, pattern_of

_BARE = "replace(replace(upper({}), ' ', ''), '-', '')"  # plates are read with and without spaces and hyphens


@dataclass(frozen=True)
class Filter:
    """What is let through: of several of one field any, of several fields all; empty is everything.

    `names` and `plates` are patterns with * and ?, in any case; nothing else is special. A vehicle passes when one sighting
    of its passes by camera, time, kind, plate and run at once; a vehicle that is itself of the kind passes by kind without.
    """

    ids: tuple[int, ...] = ()  # of vehicles
    cameras: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    plates: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    since: float | None = None  # seconds since 1970, included
    until: float | None = None  # excluded


EVERYTHING = Filter()
Condition = tuple[str, list[Any]]  # SQL and its values


def vehicles_where(only: Filter) -> Condition:
    """A condition over a row `v` of vehicles."""
    parts, values = ["1"], list[Any]()
    if only.ids:
        parts.append(f"v.id IN ({', '.join('?' * len(only.ids))})")
        values += only.ids
    if only.names:
        parts.append(_any("v.key GLOB ?", only.names))
        values += [pattern_of(text) for text in only.names]
    where, more = sightings_where(replace(only, kinds=()))
    seen = "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND {})"
    if only.kinds:
        marks = ", ".join("?" * len(only.kinds))
        alone = f"v.kind IN ({marks})" + (f" AND {seen.format(where)}" if more else "")
        parts.append(f"({alone} OR {seen.format(f'{where} AND s.kind IN ({marks})')})")
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
        values += [text.replace("[", "[[]") for text in only.plates]
    for sign, moment in ((">=", only.since), ("<", only.until)):
        if moment is not None:
            parts.append(f"s.seen {sign} ?")
            values.append(moment)
    return " AND ".join(parts), values


def allowed(run: Run, only: Filter) -> list[int] | None:
    """The vehicles that a search may find, by rising id; None: all of them."""
    if only == EVERYTHING:
        return None
    where, values = vehicles_where(only)
    return [row[0] for row in run(f"SELECT v.id FROM vehicles v WHERE {where} ORDER BY v.id", *values)]


def _any(condition: str, values: tuple[str, ...]) -> str:
    return "(" + " OR ".join([condition] * len(values)) + ")"
