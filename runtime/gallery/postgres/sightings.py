"""The rows of sightings: written, moved to another vehicle, deleted by age, and read whole."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.rows import SIGHTING, numbers, sighting_row, sightings_where
from vreid.runtime.gallery.records import Filter, SightingPicture, SightingRow
from vreid.runtime.topology import Span

_FIELDS = tuple(field.name for field in fields(SightingRow))
_PAGE = 1000  # rows with pictures at a time


def add_sighting(database: Database, vehicle: int, row: SightingRow) -> int:
    """See `Store.add_sighting`."""
    database.row("SELECT make_month(%s)", float(row.seen))
    cells = [getattr(row, name) for name in _FIELDS[:-2]]
    marks = ", ".join(["%s"] * (1 + len(cells)))
    inserted = database.row(
        f"INSERT INTO sightings (vehicle, {', '.join(_FIELDS)}) VALUES ({marks}, %s::float8[]::halfvec, %s::text[])"
        " RETURNING id",
        vehicle, *cells, numbers(row.feature), [*row.zones] or None,
    )  # fmt: skip
    return int(inserted[0])


def extend_sighting(database: Database, vehicle: int, row: SightingRow) -> bool:
    """See `Store.extend_sighting`."""
    database.row("SELECT make_month(%s)", float(row.seen))
    found = database.run(
        "UPDATE sightings SET seen = %s, last_time = %s, last_frame = %s, zones = %s::text[] WHERE id ="
        " (SELECT max(id) FROM sightings WHERE vehicle = %s AND camera = %s AND track = %s AND run = %s AND first_time = %s)",
        row.seen, row.last_time, row.last_frame, [*row.zones] or None, vehicle, row.camera, row.track, row.run,
        row.first_time,
    )  # fmt: skip
    return found > 0


def begin_with(database: Database, vehicle: int, moment: float) -> None:
    """See `Store.begin_with`."""
    database.run(
        "UPDATE vehicles v SET created = %s, pictured = CASE WHEN pictured > %s THEN %s ELSE pictured END"
        " WHERE id = %s AND NOT named AND created > %s AND NOT EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id)",
        moment, moment, moment, vehicle, moment,
    )  # fmt: skip


def sighting_rows(database: Database, vehicle: int) -> Iterator[SightingRow]:
    """See `Store.sighting_rows`."""
    query = (
        f"SELECT s.id, {SIGHTING} FROM sightings s WHERE s.vehicle = %(vehicle)s AND s.id > %(last)s"
        " ORDER BY s.id LIMIT %(size)s"
    )
    for page in database.pages(_PAGE, query, {"vehicle": vehicle}):
        yield from (sighting_row(cells[1:]) for cells in page)


def pictures(database: Database, vehicle: int, only: Filter, most: int | None) -> Iterator[SightingPicture]:
    """See `Store.pictures`."""
    where, values = sightings_where(only)
    ids = database.column(
        f"SELECT s.id FROM sightings s WHERE s.vehicle = %s AND {where} AND s.thumbnail IS NOT NULL"
        " ORDER BY s.id DESC LIMIT %s",
        vehicle, *values, most,
    )  # fmt: skip
    for id_ in ids:
        row = database.row(
            "SELECT id, camera, seen, thumbnail FROM sightings WHERE id = %s AND thumbnail IS NOT NULL", id_
        )
        if row is not None:
            yield SightingPicture(*row)


def move_sightings(database: Database, old: int, new: int, ids: Sequence[int] | None) -> None:
    """See `Store.move_sightings`."""
    if ids is None:
        database.run("UPDATE sightings SET vehicle = %s WHERE vehicle = %s", new, old)
    else:
        query = "UPDATE sightings SET vehicle = %s WHERE vehicle = %s AND id = ANY(%s::bigint[])"
        database.run(query, new, old, [*ids])


def delete_sightings(database: Database, before: float) -> int:
    """See `Store.delete_sightings`."""
    return int(database.row("SELECT purge_sightings(%s)", float(before))[0])


def seen_since(database: Database, since: float) -> list[tuple[int, Span]]:
    """See `Store.seen_since`."""
    rows = database.rows(
        "SELECT vehicle, id, camera, seen - (last_time - first_time), seen FROM sightings WHERE seen >= %s ORDER BY id",
        float(since),
    )
    return [(vehicle, Span(camera, -sighting, first, last)) for vehicle, sighting, camera, first, last in rows]


def vehicles_with_plates(database: Database, plates: Iterable[str] | None) -> set[int]:
    """See `Store.vehicles_with_plates`."""
    if plates is None:
        return set(database.column("SELECT DISTINCT vehicle FROM sightings WHERE plate IS NOT NULL"))
    return set(database.column("SELECT DISTINCT vehicle FROM sightings WHERE plate = ANY(%s::text[])", [*plates]))
