"""What a gallery writes down of a vehicle: statements and their audit rows; the transaction is the caller's."""

import time
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import audit, listing, names, times
from vreid.runtime.gallery.names import Run
from vreid.runtime.records import Sighting, kind_name

COLUMNS = (
    "vehicle", "camera", "track", "first_time", "last_time", "first_frame", "last_frame", "score", "thumbnail", "run",
    "seen", "kind", "plate", "quality", "feature",
)  # fmt: skip
SIGHTING = f"INSERT INTO sightings ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


def new_id(run: Run, path: Path) -> int:
    """The id of the next vehicle, never used before. Raises Refused when there is none left."""
    row = run("SELECT seq FROM sqlite_sequence WHERE name = 'vehicles'").fetchone()
    vehicle = int(row[0] if row else 0) + 1
    if vehicle > names.LAST_ID:  # MOT text and its readers have 31 bits for an id
        raise Refused(f"the gallery {path} has given its last id, {names.LAST_ID}; begin a new one")
    return vehicle


def vehicle(run: Run, path: Path, who: str, name: str | None, picture: Image | None, kind: str | None) -> int:
    """A new vehicle; see `Gallery.add_vehicle`."""
    new, now = new_id(run, path), time.time()
    jpeg = None if picture is None else listing.thumbnail_of(picture)
    chosen = names.free(run, names.given(new)) if name is None else names.checked(run, name)
    run(
        "INSERT INTO vehicles (id, name, key, named, created, kind, pictured, thumbnail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        new, chosen, names.key_of(chosen), name is not None, now, kind, now if name is None and jpeg else None, jpeg,
    )  # fmt: skip
    audit.noted(run, who, "enrol", new, {"name": chosen})
    return new


def sighting(run: Run, vehicle: int, seen: Sighting, score: float, by: str) -> int:
    """A new sighting; see `Gallery.add_sighting`. One that does not say when it was gets this moment, which ages too.

    Whom nobody named came to be with the first sighting, and so did the picture, whenever that is processed.
    """
    moment = float(seen.seen)
    if not times.is_moment(moment):
        raise Refused(
            f"a sighting's time must be in seconds since 1970, from 0 to {times.LAST:.0f}, not {moment:g}; divide"
            " milliseconds by 1000 and nanoseconds by 1e9"
        )
    if not (abs(float(seen.first_time)) < times.LAST and abs(float(seen.last_time)) < times.LAST):
        raise Refused(
            "a sighting's first_time and last_time must be in seconds on its source's clock, below 10000000000; divide"
            " milliseconds by 1000 and nanoseconds by 1e9"
        )
    moment = moment or time.time()
    run(
        "UPDATE vehicles SET created = min(created, ?1), pictured = min(pictured, ?1) WHERE id = ?2 AND NOT named"
        " AND created > ?1 AND NOT EXISTS (SELECT 1 FROM sightings WHERE vehicle = ?2)",
        moment, vehicle,
    )  # fmt: skip
    row = run(
        SIGHTING, vehicle, nfc(seen.camera), int(seen.track), seen.first_time, seen.last_time, int(seen.first_frame),
        int(seen.last_frame), float(score), listing.thumbnail_of(seen.picture), by, moment,
        kind_name(seen.kind), seen.plate, float(seen.quality), np.asarray(seen.feature, np.float16).tobytes(),
    )  # fmt: skip
    return int(row.lastrowid or 0)


def rename(run: Run, who: str, vehicle: int, old: str, name: str) -> None:
    """Another name for `vehicle`, which is called `old`. Raises Refused when another vehicle has it."""
    (named,) = run("SELECT named FROM vehicles WHERE id = ?", vehicle).fetchone()
    new = names.checked(run, name, vehicle)
    if new == old and named:
        return
    run("UPDATE vehicles SET name = ?, key = ?, named = 1 WHERE id = ?", new, names.key_of(new), vehicle)
    audit.noted(run, who, "rename", vehicle, {"from": old, "to": new, "undo": {"name": old, "named": named}})


def remove(run: Run, who: str, vehicle: int) -> None:
    """Forget `vehicle` for good: rows, and what the audit kept of it; only that it was removed stays."""
    run("DELETE FROM prototypes WHERE vehicle = ?", vehicle)
    run("DELETE FROM vehicles WHERE id = ?", vehicle)
    audit.forget(run, vehicle)
    audit.noted(run, who, "remove", vehicle, {})
