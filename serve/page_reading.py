"""What only the pages read of a gallery, within the cameras that a person may see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vreid.runtime.gallery import doubts
from vreid.runtime.gallery.records import Filter, PrototypeInfo
from vreid.serve import documents as doc
from vreid.serve.reading import Reading

_TURN, _MOST_TURNS = 500, 40  # rows of the audit that are read at once, and how often for one page


@dataclass(frozen=True)
class Album:
    """A vehicle's pictures of one camera, the newest first, and how many sightings there are of those that were read."""

    camera: str
    sightings: int
    pictures: list[doc.Sighting]
    prototypes: int = 0
    weight: float = 0.0  # sum of the qualities of the crops that the prototypes are made of


def change_of(reading: Reading, change: int) -> doc.Change | None:
    """One row of the audit, of what the person has done alone where they may not see all cameras."""
    with reading.access.reading() as gallery:
        found = gallery.changes(1, before=change + 1)
    if not found or found[0].id != change or (reading.person.cameras and found[0].who != reading.person.name):
        return None
    return reading.change_of(found[0])


def newest_change(reading: Reading, vehicle: int | None, verb: str) -> int | None:
    """The id of the newest change of a vehicle (None: of any) by this person."""
    with reading.access.reading() as gallery:
        found = gallery.changes(5, vehicle)
    own = [change.id for change in found if change.who == reading.person.name and change.verb == verb]
    return own[-1] if own else None


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
    """The doubtful sighting that is shown, the newest first, and how many wait with it."""

    doubt: doc.Doubt | None
    waiting: int
    following: int | None = None  # the sighting behind it
    views: tuple[str, ...] = ()  # the camera of each candidate's feature


def queue(reading: Reading, wanted: int | None) -> Queue:
    """The sighting `wanted` if it waits, else the first one."""
    with reading.access.reading() as gallery, gallery.reading() as store:
        rows = doubts.doubtful(gallery)[::-1]
        if reading.person.cameras:
            rows = [row for row in rows if reading.person.sees(row.candidates[0].cameras[1])]
            every = {one.vehicle for row in rows for one in row.candidates}
            shown = {*store.vehicle_ids(reading.allowed(Filter(ids=tuple(every))))} if every else set()
            rows = [
                replace(row, candidates=tuple(one for one in row.candidates if one.vehicle in shown)) for row in rows
            ]
            rows = [row for row in rows if row.candidates]
        if not rows:
            return Queue(None, 0)
        place = next((place for place, row in enumerate(rows) if row.sighting == wanted), 0)
        row = rows[place]
        names = store.names({one.vehicle for one in row.candidates})
    candidates = [
        doc.Candidate(vehicle=one.vehicle, name=names[one.vehicle], score=one.score, rate=one.rate)
        for one in row.candidates
    ]
    doubt = doc.Doubt(sighting=reading.sighting(row.sighting), at=row.at, candidates=candidates)
    following = rows[(place + 1) % len(rows)].sighting if len(rows) > 1 else None
    views = tuple(one.cameras[0] if reading.person.sees(one.cameras[0]) else "" for one in row.candidates)
    return Queue(doubt, len(rows), following, views)


def judged(reading: Reading) -> int:
    """How many pairs people have judged so far."""
    with reading.access.reading() as gallery:
        return len(doubts.judged(gallery))


def newest(reading: Reading, only: Filter, limit: int) -> list[doc.Sighting]:
    """The newest sightings."""
    return reading.sightings(only, None, limit).items


def cameras_of(reading: Reading) -> list[str]:
    """Cameras with sightings that the person may see."""
    with reading.access.reading() as gallery:
        return [camera for camera in gallery.cameras() if reading.person.sees(camera)]
