"""What pages and API show of the gallery, as documents; a person gets only what the cameras that they may see have seen."""

import base64
import math
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vreid.models.errors import NotFound
from vreid.runtime.gallery.doubts import Doubt, doubtful
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.identities import vehicle_of
from vreid.runtime.gallery.names import given
from vreid.runtime.gallery.records import EVERYTHING, Change, Filter, Part, SightingInfo
from vreid.runtime.gallery.records import Vehicle as VehicleRecord
from vreid.runtime.gallery.store import Store
from vreid.runtime.kept.folder import CLIP
from vreid.serve import documents
from vreid.serve.cursor import cursor_of, place_of
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.rights import Person

NEWEST = 200  # sightings of a vehicle in one document; /sightings?vehicle=ID has all


class MergedAway(NotFound):
    """A vehicle was merged into another one, which is there; `kept` is the id of that one."""

    def __init__(self, vehicle: int, kept: int) -> None:
        super().__init__(f"vehicle {vehicle} is a part of vehicle {kept} now; use that one")
        self.kept = kept


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
        part = Part(sort, limit + 1, None if cursor is None else place_of(sort, cursor))
        with self.access.reading() as gallery, gallery.reading() as store:
            found = store.vehicles(self.allowed(only), thumbnails=False, part=part)
            more = len(found) > limit
            following = cursor_of(sort, store.place(found[limit - 1].id, sort)) if more else None
            return documents.Page(items=[self.vehicle_of(one, gallery) for one in found[:limit]], next=following)

    def vehicle_of(self, one: VehicleRecord, gallery: Gallery) -> documents.Vehicle:
        """A vehicle as a document."""
        made = documents.Vehicle(
            id=one.id, name=one.name, named=one.name != given(one.id), kind=one.kind, created=one.created,
            prototypes=one.prototypes, sightings=one.sightings, cameras=list(one.cameras), last_at=one.last_at,
            last_camera=one.last_camera,
        )  # fmt: skip
        if not self.person.cameras:
            return made.model_copy(update={"centre": _centre_of(gallery, one.id)})
        seen = gallery.sightings(one.id, self.allowed(EVERYTHING))  # by time
        last = seen[-1] if seen else None
        prototypes = sum(self.person.sees(each.view) for each in gallery.prototypes(one.id))
        return made.model_copy(
            update={
                "prototypes": prototypes, "sightings": len(seen), "cameras": sorted({each.camera for each in seen}),
                "created": seen[0].at if seen else one.created, "last_at": last and last.at, "last_camera": last and last.camera,
                "centre": _centre_of(gallery, one.id, seen),
            }
        )  # fmt: skip

    def vehicle(self, vehicle: int) -> documents.VehicleDetails:
        """A vehicle, its newest sightings, the newest first, and its audit. Raises NotFound."""
        with self.access.reading() as gallery, gallery.reading() as store:
            found = store.vehicles(self.allowed(Filter(ids=(vehicle,))), thumbnails=False)
            if not found:
                if not self.person.cameras and (kept := _merged_into(store, vehicle)) is not None:
                    raise MergedAway(vehicle, kept)
                raise NotFound(f"there is no vehicle {vehicle}; the list of vehicles has all")
            seen = gallery.latest_sightings(self.allowed(Filter(ids=(vehicle,))), limit=NEWEST)
            changes = [] if self.person.cameras else store.changes(100, vehicle)
            shown = self.vehicle_of(found[0], gallery)
        return documents.VehicleDetails(
            vehicle=shown,
            sightings=self.sightings_of(seen, {vehicle: found[0].name}),
            changes=[self.change_of(change) for change in reversed(changes)],
        )

    def sightings(self, only: Filter, cursor: str | None, limit: int) -> documents.Page[documents.Sighting]:
        """A part of the sightings, the newest first."""
        at, _, number = (cursor or "").partition("~")
        before = (float(at), int(number)) if cursor else None
        with self.access.reading() as gallery, gallery.reading() as store:
            found = gallery.latest_sightings(self.allowed(only), before, limit + 1)
            names = store.names({one.vehicle for one in found})
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else f"{_decimal(last.at)}~{last.id}"
        return documents.Page(items=self.sightings_of(found[:limit], names), next=following)

    def sighting(self, sighting: int) -> documents.Sighting:
        """One sighting. Raises NotFound, also for one of a camera that the person may not see."""
        with self.access.reading() as gallery:
            found = self._seen(gallery, sighting)
            names = {found.vehicle: gallery.name_of(found.vehicle)}
        return self.sightings_of([found], names)[0]

    def sighting_picture(self, sighting: int) -> bytes:
        """Its JPEG. Raises NotFound."""
        with self.access.reading() as gallery:
            self._seen(gallery, sighting)
            found = gallery.sighting_picture(sighting)
        if found is None:
            raise NotFound(f"sighting {sighting} has no picture")
        return self.access.pictures.shown(found)

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
        return self.access.pictures.shown(found)

    def kept(self, sighting: int) -> bytes | Path:
        """What was kept of a sighting: the JPEG of a larger picture, or a clip's file. Raises NotFound, also for a clip that is to
        be blurred."""
        seen, reason = self.sighting(sighting), ""
        path, pictures = self.access.kept.find(seen.camera, seen.at, seen.track), self.access.pictures
        if path is not None and path.suffix == CLIP:
            if pictures.blur is None:
                return path
            reason = "; clips are not shown where pictures are blurred"
        elif path is not None:
            with suppress(FileNotFoundError):  # a purge took it meanwhile
                return pictures.shown(path.read_bytes())
        raise NotFound(f"nothing larger was kept of sighting {sighting}{reason}")

    def exported(self, seen: documents.Sighting, pictures: bool) -> documents.Sighting:
        """A line of an export, with its picture in base64 where that is requested."""
        if not pictures:
            return seen
        with self.access.reading() as gallery:
            found = gallery.sighting_picture(seen.id) if seen.picture else None
        jpeg = None if found is None else base64.b64encode(self.access.pictures.shown(found)).decode()
        return documents.Exported(**seen.model_dump(), jpeg=jpeg)

    def refuse_hidden(self, vehicles: Sequence[int], sightings: Sequence[int] = ()) -> None:
        """Raises NotFound for a vehicle or a sighting that no camera of the person has seen, which they may not change."""
        if not self.person.cameras:
            return
        with self.access.reading() as gallery:
            for vehicle in vehicles:
                if not gallery.latest_sightings(self.allowed(Filter(ids=(vehicle,))), limit=1):
                    raise NotFound(f"there is no vehicle {vehicle} that this token may see")
            for sighting in sightings:
                self._seen(gallery, sighting)

    def doubts(self, last: int) -> list[documents.Doubt]:
        """Doubtful sightings that nobody has judged, as they are shown: those that count for the thresholds first, the newest
        first."""
        return [self.shown(doubt) for doubt in self.waiting(last)]

    def shown(self, doubt: documents.Doubt) -> documents.Doubt:
        """One of `waiting` without the names of cameras that the person may not see."""
        cameras = [one.camera if self.person.sees(one.camera) else "" for one in doubt.candidates]
        pairs = zip(doubt.candidates, cameras, strict=True)
        return doubt.model_copy(update={"candidates": [one.model_copy(update={"camera": name}) for one, name in pairs]})

    def waiting(self, last: int) -> list[documents.Doubt]:
        """The same with the view of each candidate, whoever may see it: thresholds are found by these."""
        with self.access.reading() as gallery, gallery.reading() as store:
            rows = doubtful(gallery, None if self.person.cameras else last)[::-1]
            rows.sort(key=lambda row: not row.counts)
            if self.person.cameras:
                every = {one.vehicle for row in rows for one in row.candidates}
                seen = {*store.vehicle_ids(self.allowed(Filter(ids=tuple(every))))} if every else set()
                rows = [row for row in map(partial(self._visible, seen), rows) if row is not None][:last]
            sightings = [gallery.sighting(row.sighting) for row in rows]
            vehicles = {one.vehicle for row in rows for one in row.candidates} | {one.vehicle for one in sightings}
            names = store.names(vehicles)
        return [
            documents.Doubt(
                sighting=shown,
                at=row.at,
                candidates=[
                    documents.Candidate(
                        vehicle=one.vehicle, name=names[one.vehicle], score=one.score, rate=one.rate,
                        camera=one.cameras[0],
                    )
                    for one in row.candidates
                ],
                why=row.why,
                counts=row.counts,
            )
            for row, shown in zip(rows, self.sightings_of(sightings, names), strict=True)
        ]  # fmt: skip

    def _visible(self, seen: Set[int], row: Doubt) -> Doubt | None:
        """A doubt of a camera that the person may see, with those candidates that such cameras have `seen`; None: nothing of it."""
        candidates = tuple(one for one in row.candidates if one.vehicle in seen)
        sees = bool(candidates) and self.person.sees(candidates[0].cameras[1])
        return replace(row, candidates=candidates) if sees else None

    def changes(self, vehicle: int | None, cursor: str | None, limit: int) -> documents.Page[documents.Change]:
        """A part of the audit, the newest first."""
        before = int(cursor) if cursor else None
        with self.access.reading() as gallery:
            found = gallery.changes(limit + 1, vehicle, before=before)[::-1]
        following = str(found[limit - 1].id) if len(found) > limit else None
        return documents.Page(items=[self.change_of(change) for change in found[:limit]], next=following)

    def change(self, change: int) -> documents.Change | None:
        """One row of the audit; of what the person has done alone where they may not see all cameras."""
        with self.access.reading() as gallery:
            found = gallery.changes(1, before=change + 1)
        if not found or found[0].id != change or (self.person.cameras and found[0].who != self.person.name):
            return None
        return self.change_of(found[0])

    def _seen(self, gallery: Gallery, sighting: int) -> SightingInfo:
        found = gallery.sighting(sighting)
        if not self.person.sees(found.camera):
            raise NotFound(f"there is no sighting {sighting}")
        return found

    def sightings_of(self, rows: Sequence[SightingInfo], names: dict[int, str]) -> list[documents.Sighting]:
        """As documents, with the names of their vehicles; not within `access.reading`."""
        with self.access.reading() as gallery, gallery.reading() as store:
            known = store.identities()
            centres = {} if known is None else known.of_sightings([one.id for one in rows])
        return [
            documents.Sighting(
                id=one.id, vehicle=one.vehicle, name=names.get(one.vehicle, ""), camera=one.camera, track=one.track,
                run=one.run, at=one.at, seconds=max(0.0, one.last_time - one.first_time), kind=one.kind, plate=one.plate,
                zones=list(one.zones), quality=one.quality, score=one.score if math.isfinite(one.score) else None,
                picture=bool(one.picture),
                kept=self.access.kept.find(one.camera, one.at, one.track) is not None,
                centre=documents.Centre(**centres[one.id].summary) if one.id in centres else None,
            )
            for one in rows
        ]  # fmt: skip

    @staticmethod
    def change_of(change: Change) -> documents.Change:
        """As a document."""
        return documents.Change(
            id=change.id, at=change.at, who=change.who, verb=change.verb, vehicle=change.vehicle, detail=change.summary,
            undone=change.undone,
        )  # fmt: skip


def _centre_of(gallery: Gallery, vehicle: int, seen: Sequence[SightingInfo] | None = None) -> documents.Centre | None:
    """Which vehicle it is at the centre; `seen`: by these of its sightings alone, which are by time."""
    with gallery.reading() as store:
        known = store.identities()
        if known is None:
            return None
        if seen is None:
            found = known.of_vehicles([vehicle]).get(vehicle)
        else:
            every = known.of_sightings([one.id for one in seen])
            found = vehicle_of([every[one.id] for one in seen if one.id in every])
    return None if found is None else documents.Centre(**found.summary)


def _merged_into(store: Store, vehicle: int) -> int | None:
    """The vehicle that is there, and that this one is a part of by merges which nobody has taken back; None: by none."""
    while store.name_of(vehicle) is None:
        merges = [
            change.detail["vehicles"] for change in store.changes(vehicle=vehicle, verbs=["merge"]) if not change.undone
        ]
        if not merges or merges[-1][0] == vehicle:
            return None
        vehicle = merges[-1][0]
    return vehicle


def _decimal(number: float) -> str:
    """A number from 0 as `float` reads it again, without an exponent."""
    text = repr(number)
    return text if "e" not in text else f"{number:.20f}"
