"""What pages and API show of the gallery, as documents; a person gets only what the cameras that they may see have seen."""

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vreid.models.errors import BadInput, NotFound
from vreid.runtime.gallery import doubts
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.names import given
from vreid.runtime.gallery.records import Change, Filter, Part, SightingInfo
from vreid.runtime.gallery.records import Vehicle as VehicleRecord
from vreid.serve import documents
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.rights import Person

NEWEST = 200  # sightings of a vehicle in one document; /sightings?vehicle=ID has all


@dataclass(frozen=True)
class Reading:
    """The gallery as one person may see it."""

    access: GalleryAccess
    person: Person

    def allowed(self, only: Filter) -> Filter:
        """`only` within the cameras of the person. Raises NotFound where nothing is left."""
        if not self.person.cameras:
            return only
        cameras = tuple(camera for camera in only.cameras or self.person.cameras if self.person.sees(camera))
        if not cameras:
            raise NotFound("there is no such camera among those that this token may see")
        return replace(only, cameras=cameras)

    def vehicles(self, only: Filter, sort: str, cursor: str | None, limit: int) -> documents.Page[documents.Vehicle]:
        """A part of the vehicles."""
        skip = int(_position(cursor, 1)[0]) if cursor else 0
        with self.access.reading() as gallery:
            found = gallery.vehicles(thumbnails=False, only=self.allowed(only), part=Part(sort, limit + 1, skip))
        following = cursor_of(skip + limit) if len(found) > limit else None
        return documents.Page(items=[self.vehicle_of(one) for one in found[:limit]], next=following)

    def vehicle_of(self, one: VehicleRecord) -> documents.Vehicle:
        """A vehicle as a document."""
        cameras = [camera for camera in one.cameras if self.person.sees(camera)]
        last = one.last_camera if one.last_camera is None or self.person.sees(one.last_camera) else None
        return documents.Vehicle(
            id=one.id, name=one.name, named=one.name != given(one.id), kind=one.kind, created=one.created,
            prototypes=one.prototypes, sightings=one.sightings, cameras=cameras, last_at=one.last_at, last_camera=last,
        )  # fmt: skip

    def vehicle(self, vehicle: int) -> documents.VehicleDetails:
        """A vehicle, its newest sightings, the newest first, and its audit. Raises NotFound."""
        with self.access.reading() as gallery, gallery.reading() as store:
            found = store.vehicles(self.allowed(Filter(ids=(vehicle,))), thumbnails=False)
            if not found:
                raise NotFound(f"there is no vehicle {vehicle}; the list of vehicles has all")
            seen = gallery.latest_sightings(self.allowed(Filter(ids=(vehicle,))), limit=NEWEST)
            changes = [] if self.person.cameras else store.changes(100, vehicle)
        return documents.VehicleDetails(
            vehicle=self.vehicle_of(found[0]),
            sightings=self._sightings(seen, {vehicle: found[0].name}),
            changes=[_change(change) for change in reversed(changes)],
        )

    def sightings(self, only: Filter, cursor: str | None, limit: int) -> documents.Page[documents.Sighting]:
        """A part of the sightings, the newest first."""
        before = None
        if cursor:
            at, number = _position(cursor, 2)
            before = (at, int(number))
        with self.access.reading() as gallery, gallery.reading() as store:
            found = gallery.latest_sightings(self.allowed(only), before, limit + 1)
            names = store.names({one.vehicle for one in found})
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else cursor_of(last.at, last.id)
        return documents.Page(items=self._sightings(found[:limit], names), next=following)

    def sighting(self, sighting: int) -> documents.Sighting:
        """One sighting. Raises NotFound, also for one of a camera that the person may not see."""
        with self.access.reading() as gallery:
            found = self._seen(gallery, sighting)
            return self._sightings([found], {found.vehicle: gallery.name_of(found.vehicle)})[0]

    def sighting_picture(self, sighting: int) -> bytes:
        """Its JPEG. Raises NotFound."""
        with self.access.reading() as gallery:
            self._seen(gallery, sighting)
            found = gallery.sighting_picture(sighting)
        if found is None:
            raise NotFound(f"sighting {sighting} has no picture")
        return found

    def vehicle_picture(self, vehicle: int) -> bytes:
        """The JPEG of its newest sighting, or of its enrolment. Raises NotFound."""
        with self.access.reading() as gallery:
            if self.person.cameras:
                seen = gallery.latest_sightings(self.allowed(Filter(ids=(vehicle,))), limit=1)
                found = gallery.sighting_picture(seen[0].id) if seen else None
            else:
                found = gallery.vehicle_picture(vehicle)
        if found is None:
            raise NotFound(f"vehicle {vehicle} has no picture that this token may see")
        return found

    def doubts(self, last: int) -> list[documents.Doubt]:
        """The newest doubtful sightings that nobody has judged, the newest first."""
        with self.access.reading() as gallery, gallery.reading() as store:
            rows = doubts.doubtful(gallery, last)[::-1]
            seen = {row.sighting: gallery.sighting(row.sighting) for row in rows}
            vehicles = {one.vehicle for row in rows for one in row.candidates} | {one.vehicle for one in seen.values()}
            names = store.names(vehicles)
        return [
            documents.Doubt(
                sighting=self._sightings([seen[row.sighting]], names)[0],
                at=row.at,
                candidates=[
                    documents.Candidate(vehicle=one.vehicle, name=names[one.vehicle], score=one.score, rate=one.rate)
                    for one in row.candidates
                ],
            )
            for row in rows
            if self.person.sees(seen[row.sighting].camera)
        ]

    def changes(self, vehicle: int | None, cursor: str | None, limit: int) -> documents.Page[documents.Change]:
        """A part of the audit, the newest first."""
        before = int(_position(cursor, 1)[0]) if cursor else None
        with self.access.reading() as gallery:
            found = gallery.changes(limit + 1, vehicle, before=before)[::-1]
        following = cursor_of(found[limit - 1].id) if len(found) > limit else None
        return documents.Page(items=[_change(change) for change in found[:limit]], next=following)

    def _seen(self, gallery: Gallery, sighting: int) -> SightingInfo:
        found = gallery.sighting(sighting)
        if not self.person.sees(found.camera):
            raise NotFound(f"there is no sighting {sighting}")
        return found

    def _sightings(self, rows: Iterable[SightingInfo], names: dict[int, str]) -> list[documents.Sighting]:
        return [
            documents.Sighting(
                id=one.id, vehicle=one.vehicle, name=names.get(one.vehicle, ""), camera=one.camera, track=one.track,
                run=one.run, at=one.at, seconds=max(0.0, one.last_time - one.first_time), kind=one.kind, plate=one.plate,
                zones=list(one.zones), quality=one.quality, score=one.score if math.isfinite(one.score) else None,
                picture=bool(one.picture),
                kept=self.access.kept.find(one.camera, one.at, one.track) is not None,
            )
            for one in rows
        ]  # fmt: skip


def _change(change: Change) -> documents.Change:
    return documents.Change(
        id=change.id, at=change.at, who=change.who, verb=change.verb, vehicle=change.vehicle, detail=change.summary,
        undone=change.undone,
    )  # fmt: skip


def cursor_of(*position: float) -> str:
    """A position in a list, as a client hands it back."""
    return base64.urlsafe_b64encode(",".join(map(repr, position)).encode()).decode().rstrip("=")


def _position(cursor: str, numbers: int) -> Sequence[float]:
    """Raises BadInput for what `cursor_of` did not make."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        found = [float(part) for part in text.split(",")]
        if len(found) != numbers or not all(math.isfinite(each) and 0 <= each < 2**62 for each in found):
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise BadInput("this cursor is none; take `next` of the part before") from error
    return found
