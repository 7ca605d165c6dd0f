"""How long sightings are kept: a span that the gallery holds, and the purge that carries it out."""

import time
from dataclasses import dataclass

from vreid.models.errors import Refused
from vreid.runtime.gallery.gallery import Gallery

SHORTEST_S = 60.0


@dataclass(frozen=True)
class Purged:
    """What a purge deleted; `pictures` are enrolment pictures of vehicles that stay."""

    sightings: int
    vehicles: int
    pictures: int


def purge(gallery: Gallery, before: float, vehicles: bool = False) -> Purged:
    """Delete the sightings that ended before `before` (seconds since 1970), and vehicles of which nothing is left.

    A vehicle that nobody has named goes with its last sighting; with `vehicles` a named one that has none left goes too
    if it was written down before `before`. A vehicle that stays loses the picture that a run took when it met it first,
    when that is older; one that somebody gave stays. Prototypes of vehicles that stay are kept. What undoing older
    changes needs is deleted.
    Deleted bytes are overwritten, in the file here and in the write-ahead log as soon as no reader needs it.
    """
    with gallery.transaction() as store:
        sightings = store.delete_sightings(before)
        gone = store.vehicles_without_sightings(before, named=vehicles)
        for vehicle in gone:
            store.delete_vehicle(vehicle)
        pictures = store.delete_run_pictures(before)
        store.trim_changes(before)
        if sightings or gone or pictures:
            detail = {"before": before, "sightings": sightings, "removed": len(gone), "pictures": pictures}
            store.add_change(gallery.who, "purge", None, detail)
    gallery.wipe()
    return Purged(sightings, len(gone), pictures)


def retain(gallery: Gallery, seconds: float | None) -> None:
    """Keep sightings for that long from now on; None: for ever. Nothing is deleted before the next purge."""
    if seconds is not None and not seconds >= SHORTEST_S:
        raise Refused(
            f"sightings cannot be kept for {seconds:g} s only; keep them for at least {SHORTEST_S:g} s, or 'off'"
        )
    with gallery.transaction() as store:
        store.set_retention(seconds)
        store.add_change(gallery.who, "retain", None, {"seconds": seconds})


def purge_due(gallery: Gallery, now: float | None = None) -> Purged | None:
    """Purge by the gallery's own retention; None where it keeps everything. For a live run, every hour or so."""
    span = gallery.retention()
    return None if span is None else purge(gallery, (time.time() if now is None else now) - span)
