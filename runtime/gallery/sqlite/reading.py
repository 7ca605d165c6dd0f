"""What lists are made of: vehicles, sightings and changes that a filter lets through, in order, a page at a time.

The first query of a page finds ids by what the indexes hold, and the second reads the rows of these.
"""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from vreid.models.errors import NotFound
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery.records import EVERYTHING, Filter, Part, Place, SightingInfo, Vehicle
from vreid.runtime.gallery.sqlite.database import Database
from vreid.runtime.gallery.sqlite.rows import (
    WITH_ZONE,
    Condition,
    half_feature,
    record_of,
    sighting_info,
    sightings_where,
    typed,
    vehicles_where,
)
from vreid.runtime.records import Floats

_SEEN = "ifnull((SELECT max(s.seen) FROM sightings s WHERE s.vehicle = v.id), -1e300)"  # who was never seen comes last
_SORTS = {  # by what, and whether that falls
    "id": (("v.id",), False),
    "name": (("v.key",), False),
    "created": (("v.created", "v.id"), True),
    "last-seen": ((_SEEN, "v.id"), True),
    "named-first": (("v.named", _SEEN, "v.id"), True),
    "sightings": (("-(SELECT count(*) FROM sightings WHERE vehicle = v.id)", "v.id"), False),
}
_KINDS = {"v.key": str, "v.created": float, _SEEN: float}  # the others are whole numbers
NEWEST = "SELECT id FROM sightings WHERE vehicle = v.id ORDER BY seen DESC, id DESC LIMIT 1"
_INFO = (
    "s.id, s.vehicle, s.camera, s.track, s.run, s.seen, s.first_time, s.last_time, s.kind, s.plate, s.quality, s.score,"
    " s.feature NOTNULL, s.thumbnail NOTNULL, s.zones"
)
_NEWEST = (1000, 5000)  # sightings, among which the vehicles that were seen last are looked for first
_FEW = 64  # values of a column that are each looked up by its index, and not all rows looked at by time


def vehicle_page(database: Database, only: Filter, thumbnails: bool, part: Part) -> list[Vehicle]:
    """See `Store.vehicles`."""
    few = only.ids or only.names or only.plates
    ids = None if few or part.sort != "last-seen" or part.limit is None else _newest_first(database, only, part)
    if ids is None:
        where, values = vehicles_where(only)
        by, falls = _SORTS[part.sort]
        if part.after is not None:
            where = f"{where} AND ({', '.join(by)}) {'<' if falls else '>'} ({', '.join('?' * len(by))})"
            values = [*values, *part.after]
        order = ", ".join(f"{one} {'DESC' if falls else 'ASC'}" for one in by)
        page = f"SELECT v.id FROM vehicles v WHERE {where} ORDER BY {order} LIMIT ?"
        ids = database.column(page, *values, -1 if part.limit is None else part.limit)
    picture = "coalesce(last.thumbnail, v.thumbnail)" if thumbnails else "NULL"
    rows = database.rows(
        f"""SELECT v.id, v.name, v.created, coalesce(v.kind, last.kind),
               (SELECT count(*) FROM prototypes WHERE vehicle = v.id),
               (SELECT count(*) FROM sightings WHERE vehicle = v.id),
               last.last_time, last.seen, last.camera, {picture}
        FROM json_each(?) page JOIN vehicles v ON v.id = page.value LEFT JOIN sightings last ON last.id = ({NEWEST})
        ORDER BY page.key""",
        json.dumps(ids),
    )
    found = [*rows]
    cameras: dict[int, list[str]] = {}
    pairs = database.rows(
        """WITH RECURSIVE step (vehicle, camera) AS (
               SELECT value, (SELECT min(camera) FROM sightings WHERE vehicle = value) FROM json_each(?) UNION ALL
               SELECT vehicle, (SELECT min(s.camera) FROM sightings s WHERE s.vehicle = step.vehicle AND s.camera > step.camera)
               FROM step WHERE camera NOTNULL)
           SELECT vehicle, camera FROM step WHERE camera NOTNULL ORDER BY vehicle, camera""",
        json.dumps(ids),
    )
    for vehicle, camera in (typed(database.path, pair, int, str) for pair in pairs):
        cameras.setdefault(vehicle, []).append(camera)
    with_cameras = ((*row[:6], tuple(cameras.get(row[0], ())), *row[6:]) for row in found)
    return [record_of(database.path, Vehicle, cells) for cells in with_cameras]


def place_of(database: Database, vehicle: int, sort: str) -> Place:
    """See `Store.place`."""
    row = database.row(f"SELECT {', '.join(_SORTS[sort][0])} FROM vehicles v WHERE v.id = ?", vehicle)
    if row is None:
        raise NotFound(f"there is no vehicle {vehicle}; the list of vehicles has all")
    return tuple(typed(database.path, row, *(_KINDS.get(one, int) for one in _SORTS[sort][0])))


def _newest_first(database: Database, only: Filter, part: Part) -> list[int] | None:
    """The ids of a page of those that were seen last, found among the newest sightings that are not newer than the place that it
    begins behind; None where too few pass in these."""
    limit = part.limit or 0
    begin = (math.inf, 0) if part.after is None else (float(part.after[0]), int(part.after[1]))
    for most in _NEWEST:
        rows = database.rows(
            "SELECT vehicle, seen FROM sightings WHERE seen <= ? ORDER BY seen DESC LIMIT ?", begin[0], most
        )
        last, seen = dict[int, float](), -1.0
        for row in rows:
            vehicle, seen = typed(database.path, row, int, float)
            last.setdefault(vehicle, seen)
        where, values = vehicles_where(only)
        among = f"SELECT v.id, {_SEEN} FROM vehicles v WHERE v.id IN (SELECT value FROM json_each(?)) AND {where}"
        passing = [typed(database.path, row, int, float) for row in database.rows(among, json.dumps([*last]), *values)]
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
    query = f"SELECT {_INFO} FROM sightings s WHERE s.vehicle = ? AND {where} ORDER BY s.seen, s.id"
    return [sighting_info(database.path, row) for row in database.rows(query, vehicle, *values)]


def sighting_of(database: Database, sighting: int) -> SightingInfo | None:
    """See `Store.sighting`."""
    row = database.row(f"SELECT {_INFO} FROM sightings s WHERE s.id = ?", sighting)
    return None if row is None else sighting_info(database.path, row)


def sightings_of_ids(database: Database, ids: Collection[int]) -> list[SightingInfo]:
    """See `Store.sightings_of_ids`."""
    query = f"SELECT {_INFO} FROM sightings s WHERE s.id IN (SELECT value FROM json_each(?)) ORDER BY s.id"
    return [sighting_info(database.path, row) for row in database.rows(query, json.dumps([*ids]))]


def have_picture(database: Database, ids: Collection[int], jpeg: bytes) -> bool:
    """See `Store.have_picture`."""
    query = "SELECT 1 FROM sightings WHERE id IN (SELECT value FROM json_each(?)) AND thumbnail = ? LIMIT 1"
    return database.row(query, json.dumps([*ids]), jpeg) is not None


def latest_sightings(
    database: Database, only: Filter, before: tuple[float, int] | None, limit: int
) -> list[SightingInfo]:
    """See `Store.latest_sightings`.

    The newest of each part are found by the index that the filter has for it, and the newest of all are read.
    """
    newest: list[tuple[Any, ...]] = []
    seen = "+s.seen" if only.plates else "s.seen"  # those of few plates are found by these, and then sorted
    for where, values in _parts(database, only):
        if before is not None:
            where, values = f"{where} AND ({seen}, s.id) < (?, ?)", [*values, *before]
        part = f"SELECT s.seen, s.id FROM sightings s WHERE {where} ORDER BY {seen} DESC, s.id DESC LIMIT ?"
        newest += (typed(database.path, row, float, int) for row in database.rows(part, *values, limit))
    ids = [id_ for _, id_ in sorted(newest, reverse=True)[:limit]]
    query = f"SELECT {_INFO} FROM json_each(?) page JOIN sightings s ON s.id = page.value ORDER BY page.key"
    return [sighting_info(database.path, row) for row in database.rows(query, json.dumps(ids))]


def sightings_after(database: Database, sighting: int, limit: int) -> list[SightingInfo]:
    """See `Store.sightings_after`."""
    rows = database.rows(f"SELECT {_INFO} FROM sightings s WHERE s.id > ? ORDER BY s.id LIMIT ?", sighting, limit)
    return [sighting_info(database.path, row) for row in rows]


def _parts(database: Database, only: Filter) -> Iterator[Condition]:
    """Conditions over a row `s` of sightings, no two of which are true of one row, and any of which `only` lets through."""
    vehicles: list[Any] | None = None
    if only.ids or only.names:
        where, values = vehicles_where(Filter(ids=only.ids, names=only.names))
        vehicles = database.column(f"SELECT v.id FROM vehicles v WHERE {where} LIMIT {_FEW + 1}", *values)
        if len(vehicles) > _FEW:
            more, ids = sightings_where(only)
            yield f"s.vehicle IN (SELECT v.id FROM vehicles v WHERE {where}) AND {more}", [*values, *ids]
            return
    column, chosen, rest = "vehicle", vehicles, only
    if vehicles is None and only.zones and not only.plates:
        lists = WITH_ZONE.format(", ".join("?" * len(only.zones)))
        column, chosen, rest = "zones", database.column(lists, *map(nfc, only.zones)), replace(only, zones=())
    elif vehicles is None and only.cameras and not only.plates:
        column, chosen, rest = "camera", sorted({*map(nfc, only.cameras)}), replace(only, cameras=())
    if chosen is None or len(chosen) > _FEW:
        yield sightings_where(only)
        return
    where, values = sightings_where(rest)
    for value in chosen:
        yield f"s.{column} = ? AND {where}", [value, *values]


def sighting_picture(database: Database, sighting: int) -> bytes | None:
    """See `Store.sighting_picture`."""
    return _blob(database, "SELECT thumbnail FROM sightings WHERE id = ?", sighting)


def vehicle_picture(database: Database, vehicle: int) -> bytes | None:
    """See `Store.vehicle_picture`."""
    newest = (
        "SELECT thumbnail FROM sightings WHERE vehicle = ? AND thumbnail NOTNULL ORDER BY seen DESC, id DESC LIMIT 1"
    )
    own = "SELECT thumbnail FROM vehicles WHERE id = ?"
    return _blob(database, newest, vehicle) or _blob(database, own, vehicle)


def sighting_feature(database: Database, sighting: int, dim: int) -> Floats | None:
    """See `Store.sighting_feature`."""
    blob = _blob(database, "SELECT feature FROM sightings WHERE id = ?", sighting)
    return None if blob is None else half_feature(database.path, blob, dim).astype(np.float32)


def _blob(database: Database, query: str, id_: int) -> bytes | None:
    row = database.row(query, id_)
    if row is None or row[0] is None:
        return None
    return bytes(typed(database.path, row, bytes)[0])


def values_of(database: Database, column: str) -> list[str]:
    """The values of a column of sightings that an index begins with, rising: one step of the index for each."""
    steps = f"""WITH RECURSIVE step (value) AS (SELECT min({column}) FROM sightings UNION ALL
                SELECT (SELECT min({column}) FROM sightings WHERE {column} > value) FROM step WHERE value NOTNULL)
                SELECT value FROM step WHERE value NOTNULL"""
    return [str(typed(database.path, row, str)[0]) for row in database.rows(steps)]
