"""Everything that the gallery holds of one vehicle, and its pictures as files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vreid.runtime.gallery import audit
from vreid.runtime.gallery.audit import Change
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.listing import Vehicle
from vreid.runtime.gallery.sqlite.filter import EVERYTHING, Filter, sightings_where

_COLUMNS = (
    "s.id, s.camera, s.track, s.run, s.seen, s.first_time, s.last_time, s.kind, s.plate, s.quality, s.score,"
    " s.feature NOTNULL, s.thumbnail NOTNULL"
)


@dataclass(frozen=True)
class Stand:
    """One prototype: what it was made of. The weight is the sum of the qualities of `count` features."""

    id: int
    view: str
    weight: float
    count: int


@dataclass(frozen=True)
class Seen:
    """One sighting. `at` is its end in seconds since 1970; the times are on its source's own clock."""

    id: int
    camera: str
    track: int
    run: str
    at: float
    first_time: float
    last_time: float
    kind: str | None
    plate: str | None
    quality: float
    score: float
    feature: int  # 1: it keeps one, 0: it does not
    picture: int


@dataclass(frozen=True)
class Shown:
    """One vehicle with its prototypes by view, its sightings by time and what was done to it."""

    vehicle: Vehicle
    prototypes: list[Stand]
    sightings: list[Seen]
    changes: list[Change]


def shown(gallery: Gallery, vehicle: int, only: Filter = EVERYTHING) -> Shown:
    """What is known of `vehicle`; of its sightings those that `only` lets through."""
    gallery.name_of(vehicle)
    (whole,) = gallery.vehicles(thumbnails=False, only=Filter(ids=(vehicle,)))
    stands = gallery.run("SELECT id, view, weight, count FROM prototypes WHERE vehicle = ? ORDER BY view, id", vehicle)
    return Shown(
        whole,
        [Stand(*row) for row in stands],
        sightings(gallery, vehicle, only),
        audit.changes(gallery.run, vehicle=vehicle),
    )


def sightings(gallery: Gallery, vehicle: int, only: Filter = EVERYTHING) -> list[Seen]:
    """The sightings of `vehicle` that `only` lets through, by time."""
    where, values = sightings_where(only)
    query = f"SELECT {_COLUMNS} FROM sightings s WHERE s.vehicle = ? AND {where} ORDER BY s.seen, s.id"
    # SQLite's answers to NOTNULL are 0 and 1
    return [Seen(*row) for row in gallery.run(query, vehicle, *values)]


def pictures(gallery: Gallery, vehicle: int, only: Filter = EVERYTHING) -> Iterator[tuple[str, bytes]]:
    """(a file's name, JPEG) of the vehicle's enrolment and of its sightings, one after the other."""
    (own,) = gallery.run("SELECT thumbnail FROM vehicles WHERE id = ?", vehicle).fetchone()
    if own is not None:
        yield "enrolled.jpg", own
    where, values = sightings_where(only)
    for id_, camera, jpeg in gallery.run(
        f"SELECT s.id, s.camera, s.thumbnail FROM sightings s WHERE s.vehicle = ? AND {where}"
        " AND s.thumbnail NOTNULL ORDER BY s.seen, s.id",
        vehicle,
        *values,
    ):
        yield f"sighting-{id_:06d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', camera)[:80]}.jpg", jpeg
