"""What only the pages read of a gallery, within the cameras that a person may see."""

from collections.abc import Sequence
from dataclasses import dataclass

from vreid.runtime.gallery.doubt_rows import ANSWERS, is_sound, pairs_said_by
from vreid.runtime.gallery.records import PrototypeInfo
from vreid.serve import documents as doc
from vreid.serve.reading import Reading

MOST_WAITING = 200  # doubtful sightings that are read for one page
_TURN, _MOST_TURNS = 500, 40  # rows of the audit that are read at once, and how often for one page


@dataclass(frozen=True)
class Album:
    """A vehicle's pictures of one camera, the newest first, and how many sightings there are of those that were read."""

    camera: str
    sightings: int
    pictures: list[doc.Sighting]
    prototypes: int = 0
    weight: float = 0.0  # sum of the qualities of the crops that the prototypes are made of


def audit(reading: Reading, vehicle: int | None, before: int | None, limit: int, runs: bool) -> doc.Page[doc.Change]:
    """A part of the audit, the newest first, from before the change of that id on; what runs wrote is passed over without `runs`.
    `next` of the part is where the following one begins."""
    found: list[doc.Change] = []
    with reading.access.reading() as gallery:
        for _ in range(_MOST_TURNS):
            rows = gallery.changes(_TURN, vehicle, before=before)[::-1]
            found += [reading.change_of(row) for row in rows if runs or not row.who.startswith("run:")]
            before = rows[-1].id if len(rows) == _TURN else None
            if before is None or len(found) > limit:
                break
    more = found[limit - 1].id if len(found) > limit else before
    return doc.Page(items=found[:limit], next=None if more is None else str(more))


def views(reading: Reading, vehicle: int) -> list[PrototypeInfo]:
    """What the vehicle is found by, in the views of cameras that the person may see."""
    with reading.access.reading() as gallery:
        found = gallery.prototypes(vehicle)
    return [PrototypeInfo(one.id, one.view, one.weight, one.count) for one in found if reading.person.sees(one.view)]


def albums(sightings: Sequence[doc.Sighting], prototypes: Sequence[PrototypeInfo], most: int) -> list[Album]:
    """Sightings, the newest first, by camera with at most so many pictures; a view without sightings has an album too."""
    cameras = sorted({one.camera for one in sightings} | {one.view for one in prototypes})
    found = []
    for camera in cameras:
        own = [one for one in sightings if one.camera == camera]
        of_view = [one for one in prototypes if one.view == camera]
        pictures = [one for one in own if one.picture][:most]
        found.append(Album(camera, len(own), pictures, len(of_view), sum(one.weight for one in of_view)))
    return found


@dataclass(frozen=True)
class Queue:
    """The doubtful sighting that is shown, and how many wait with it, at most MOST_WAITING; those that count for the thresholds
    come first, the newest first."""

    doubt: doc.Doubt | None
    waiting: int
    following: int | None = None  # the sighting behind it


def queue(reading: Reading, wanted: int | None) -> Queue:
    """The sighting `wanted` if it waits, else the first one; with the views of all candidates, as `Reading.waiting` has them."""
    found = reading.waiting(MOST_WAITING)
    if not found:
        return Queue(None, 0)
    place = next((place for place, one in enumerate(found) if one.sighting.id == wanted), 0)
    following = found[(place + 1) % len(found)].sighting.id if len(found) > 1 else None
    return Queue(found[place], len(found), following)


@dataclass(frozen=True)
class Answered:
    """How many doubtful sightings people have answered for, and how many judged pairs of these count for the thresholds."""

    sightings: int
    pairs: int


def answered(reading: Reading) -> Answered:
    """What people have said of doubtful sightings; without what merges and splits say."""
    with reading.access.reading() as gallery, gallery.reading() as store:
        said = [change for change in store.changes(verbs=ANSWERS) if not change.undone]
    return Answered(len(said), sum(len(pairs_said_by(change)) for change in said if is_sound(change)))
