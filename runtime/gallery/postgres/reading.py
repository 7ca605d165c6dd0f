"""What lists are made of: vehicles and sightings that a filter lets through, in order, a page at a time."""

import math
from collections.abc import Collection
from typing import Any

from vreid.models.errors import NotFound
from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.rows import INFO, half_of, sighting_info, sightings_where, vehicles_where
from vreid.runtime.gallery.records import EVERYTHING, Filter, Part, Place, SightingInfo, Vehicle
from vreid.runtime.records import Floats

_SEEN = (
    "coalesce((SELECT max(s.seen) FROM sightings s WHERE s.vehicle = v.id), -1e300)"  # who was never seen comes last
)
_SORTS = {  # by what, and whether that falls
    "id": (("v.id",), False),
    "name": (("v.key",), False),
    "created": (("v.created", "v.id"), True),
    "last-seen": ((_SEEN, "v.id"), True),
    "named-first": (("v.named::int", _SEEN, "v.id"), True),
    "sightings": (("-(SELECT count(*) FROM sightings s WHERE s.vehicle = v.id)", "v.id"), False),
}
_NEWEST = (1000, 5000)  # sightings, among which the vehicles that were seen last are looked for first


def vehicle_page(database: Database, only: Filter, thumbnails: bool, part: Part) -> list[Vehicle]:
    """See `Store.vehicles`."""
    few = only.ids or only.names or only.plates
    ids = None if few or part.sort != "last-seen" or part.limit is None else _newest_first(database, only, part)
    if ids is None:
        where, values = vehicles_where(only)
        by, falls = _SORTS[part.sort]
        if part.after is not None:
            where = f"{where} AND ({', '.join(by)}) {'<' if falls else '>'} ({', '.join(['%s'] * len(by))})"
            values = [*values, *part.after]
        order = ", ".join(f"{one} {'DESC' if falls else 'ASC'}" for one in by)
        ids = database.column(
            f"SELECT v.id FROM vehicles v WHERE {where} ORDER BY {order} LIMIT %s", *values, part.limit
        )
    picture = "coalesce(last.thumbnail, v.thumbnail)" if thumbnails else "NULL::bytea"
    rows = database.rows(
        f"""SELECT v.id, v.name, v.created, coalesce(v.kind, last.kind),
               (SELECT count(*) FROM prototypes p WHERE p.vehicle = v.id),
               (SELECT count(*) FROM sightings s WHERE s.vehicle = v.id),
               ARRAY(SELECT DISTINCT s.camera FROM sightings s WHERE s.vehicle = v.id ORDER BY s.camera),
               last.last_time, last.seen, last.camera, {picture}
        FROM unnest(%s::bigint[]) WITH ORDINALITY page (id, place) JOIN vehicles v ON v.id = page.id
        LEFT JOIN LATERAL
            (SELECT * FROM sightings s WHERE s.vehicle = v.id ORDER BY s.seen DESC, s.id DESC LIMIT 1) last ON true
        ORDER BY page.place""",
        ids,
    )
    cells: list[tuple[Any, ...]] = [(*row[:6], tuple(row[6]), *row[7:]) for row in rows]
    return [Vehicle(*row) for row in cells]


def place_of(database: Database, vehicle: int, sort: str) -> Place:
    """See `Store.place`."""
    row = database.row(f"SELECT {', '.join(_SORTS[sort][0])} FROM vehicles v WHERE v.id = %s", vehicle)
    if row is None:
        raise NotFound(f"there is no vehicle {vehicle}; the list of vehicles has all")
    return tuple(row)


def _newest_first(database: Database, only: Filter, part: Part) -> list[int] | None:
    """The ids of a page of those that were seen last, found among the newest sightings that are not newer than the place that it
    begins behind; None where too few pass in these."""
    limit = part.limit or 0
    begin = (math.inf, 0) if part.after is None else (float(part.after[0]), int(part.after[1]))
    for most in _NEWEST:
        query = "SELECT vehicle, seen FROM sightings WHERE seen <= %s ORDER BY seen DESC LIMIT %s"
        last, seen = dict[int, float](), -1.0
        for vehicle, seen in database.rows(query, begin[0], most):
            last.setdefault(vehicle, seen)
        where, values = vehicles_where(only)
        among = f"SELECT v.id, {_SEEN} FROM vehicles v WHERE v.id = ANY(%s::bigint[]) AND {where}"
        passing = database.rows(among, [*last], *values)
        # more may have been seen when the last of these was; and who was seen again has left this part of the list
        found = [(at, id_) for id_, at in passing if seen < at == last[id_] and (at, id_) < begin]
        if len(found) >= limit:
            return [id_ for _, id_ in sorted(found, reverse=True)[:limit]]
        if not found:
            break
    return None


def sightings_of(database: Database, vehicle: int, only: Filter = EVERYTHING) -> list[SightingInfo]:
    """See `Store.sightings`."""
    where, values = sightings_where(only)
    query = f"SELECT {INFO} FROM sightings s WHERE s.vehicle = %s AND {where} ORDER BY s.seen, s.id"
    return [sighting_info(row) for row in database.rows(query, vehicle, *values)]


def sighting_of(database: Database, sighting: int) -> SightingInfo | None:
    """See `Store.sighting`."""
    row = database.row(f"SELECT {INFO} FROM sightings s WHERE s.id = %s", sighting)
    return None if row is None else sighting_info(row)


def sightings_of_ids(database: Database, ids: Collection[int]) -> list[SightingInfo]:
    """See `Store.sightings_of_ids`."""
    query = f"SELECT {INFO} FROM sightings s WHERE s.id = ANY(%s::bigint[]) ORDER BY s.id"
    return [sighting_info(row) for row in database.rows(query, [*ids])]


def have_picture(database: Database, ids: Collection[int], jpeg: bytes) -> bool:
    """See `Store.have_picture`."""
    query = "SELECT 1 FROM sightings WHERE id = ANY(%s::bigint[]) AND thumbnail = %s LIMIT 1"
    return database.row(query, [*ids], jpeg) is not None


def latest_sightings(
    database: Database, only: Filter, before: tuple[float, int] | None, limit: int
) -> list[SightingInfo]:
    """See `Store.latest_sightings`."""
    where, values = sightings_where(only)
    if only.ids or only.names:
        vehicles, more = vehicles_where(Filter(ids=only.ids, names=only.names))
        where, values = f"{where} AND s.vehicle IN (SELECT v.id FROM vehicles v WHERE {vehicles})", [*values, *more]
    if before is not None:
        where, values = f"{where} AND (s.seen, s.id) < (%s, %s)", [*values, float(before[0]), before[1]]
    query = f"SELECT {INFO} FROM sightings s WHERE {where} ORDER BY s.seen DESC, s.id DESC LIMIT %s"
    return [sighting_info(row) for row in database.rows(query, *values, limit)]


def sightings_after(database: Database, sighting: int, limit: int) -> list[SightingInfo]:
    """See `Store.sightings_after`."""
    rows = database.rows(f"SELECT {INFO} FROM sightings s WHERE s.id > %s ORDER BY s.id LIMIT %s", sighting, limit)
    return [sighting_info(row) for row in rows]


def sighting_picture(database: Database, sighting: int) -> bytes | None:
    """See `Store.sighting_picture`."""
    return _cell(database.row("SELECT thumbnail FROM sightings WHERE id = %s", sighting))


def vehicle_picture(database: Database, vehicle: int) -> bytes | None:
    """See `Store.vehicle_picture`."""
    newest = "SELECT thumbnail FROM sightings WHERE vehicle = %s AND thumbnail IS NOT NULL ORDER BY seen DESC, id DESC LIMIT 1"
    own = "SELECT thumbnail FROM vehicles WHERE id = %s"
    return _cell(database.row(newest, vehicle)) or _cell(database.row(own, vehicle))


def sighting_feature(database: Database, sighting: int) -> Floats | None:
    """See `Store.sighting_feature`."""
    half = half_of(_cell(database.row("SELECT halfvec_send(feature) FROM sightings WHERE id = %s", sighting)))
    return None if half is None else half.astype("float32")


def values_of(database: Database, column: str) -> list[str]:
    """The values of a column of sightings that an index begins with, rising: one step of the index for each."""
    return database.column(
        f"""WITH RECURSIVE step (value) AS (SELECT min({column}) FROM sightings UNION ALL
            SELECT (SELECT min({column}) FROM sightings WHERE {column} > value) FROM step WHERE value IS NOT NULL)
            SELECT value FROM step WHERE value IS NOT NULL"""
    )


def _cell(row: Any) -> bytes | None:
    return None if row is None or row[0] is None else bytes(row[0])
