"""How long sightings are kept: a span in the gallery's meta table, and the purge that carries it out."""

import logging
import sqlite3
import time
from dataclasses import dataclass

from vreid.models.errors import GalleryFull, Refused
from vreid.runtime.gallery import audit
from vreid.runtime.gallery.gallery import Gallery

KEY = "retention"
SHORTEST_S = 60.0
_log = logging.getLogger("vreid.gallery")


@dataclass(frozen=True)
class Purged:
    """What a purge deleted; `pictures` are enrolment pictures of vehicles that stay."""

    sightings: int
    vehicles: int
    pictures: int


def purge(gallery: Gallery, before: float, vehicles: bool = False) -> Purged:
    """Delete the sightings that ended before `before` (seconds since 1970), and what is left of nobody.

    A vehicle that nobody has named goes with its last sighting; with `vehicles` a named one that has none left goes too
    if it was written down before `before`. A vehicle that stays loses the picture that a run took when it met it first,
    when that is older; one that somebody gave stays. Prototypes of vehicles that stay are kept. What undoing older
    changes needs is forgotten.
    Deleted bytes are overwritten, in the file here and in the write-ahead log as soon as no reader needs it.
    """
    with gallery.transaction():
        gone = gallery.run("DELETE FROM sightings WHERE seen < ?", before).rowcount
        rows = gallery.run(
            "SELECT id FROM vehicles WHERE (NOT named OR ?) AND created < ? AND id NOT IN (SELECT vehicle FROM sightings)",
            vehicles, before,
        ).fetchall()  # fmt: skip
        for (vehicle,) in rows:
            gallery.run("DELETE FROM prototypes WHERE vehicle = ?", vehicle)
            gallery.run("DELETE FROM vehicles WHERE id = ?", vehicle)
        bare = "UPDATE vehicles SET thumbnail = NULL, pictured = NULL WHERE thumbnail NOTNULL AND pictured < ?"
        pictures = gallery.run(bare, before).rowcount
        audit.trim(gallery.run, before)
        done = Purged(gone, len(rows), pictures)
        if gone or rows or pictures:
            detail = {"before": before, "sightings": gone, "removed": len(rows), "pictures": pictures}
            audit.noted(gallery.run, gallery.who, "purge", None, detail)
    wipe(gallery)
    return done


def retain(gallery: Gallery, seconds: float | None) -> None:
    """Keep sightings for that long from now on; None: for ever. Nothing is deleted before the next purge."""
    if seconds is not None and not seconds >= SHORTEST_S:
        raise Refused(
            f"sightings cannot be kept for {seconds:g} s only; keep them for at least {SHORTEST_S:g} s, or 'off'"
        )
    with gallery.transaction():
        gallery.run("DELETE FROM meta WHERE key = ?", KEY)
        if seconds is not None:
            gallery.run("INSERT INTO meta VALUES (?, ?)", KEY, str(seconds))
        audit.noted(gallery.run, gallery.who, "retain", None, {"seconds": seconds})


def retention(gallery: Gallery) -> float | None:
    """For how many seconds sightings are kept; None: for ever."""
    row = gallery.run("SELECT value FROM meta WHERE key = ?", KEY).fetchone()
    try:
        return None if row is None else float(row[0])
    except ValueError as error:
        fix = "set it with 'vreid gallery retain'"
        raise Refused(
            f"the gallery {gallery.path} keeps sightings for '{row[0]}', which is no number; {fix}"
        ) from error


def purge_due(gallery: Gallery, now: float | None = None) -> Purged | None:
    """Purge as the gallery's own retention says; None where it keeps everything. For a live run, every hour or so."""
    span = retention(gallery)
    return None if span is None else purge(gallery, (time.time() if now is None else now) - span)


def compact(gallery: Gallery) -> None:
    """Give the room of what was deleted back to the disk; takes as long as copying the gallery, and as much room.

    Where there is none the file stays as large as it was, with zeros in the place of what was deleted, and this is said.
    """
    try:
        gallery.run("VACUUM")
    except GalleryFull:
        _log.warning("there is no room to make the file smaller: the gallery %s keeps its size", gallery.path)
    wipe(gallery)


def wipe(gallery: Gallery) -> None:
    """Empty the write-ahead log, which still holds what was deleted; a reader may put that off until the next time."""
    try:
        gallery.run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except Refused as error:  # inside of an outer transaction, which still may be taken back
        if not isinstance(error.__cause__, sqlite3.OperationalError):
            raise
