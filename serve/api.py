"""The REST API under /api/v1: what the pages can do, for programs."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, StreamingResponse

from vreid.models.errors import BadInput, NotFound
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery.records import EVERYTHING, Filter
from vreid.runtime.gallery.requests import (
    Calibrate,
    Confirm,
    Edit,
    Enrol,
    Merge,
    Purge,
    Reject,
    Remove,
    Rename,
    Split,
    Undo,
)
from vreid.serve import documents as doc
from vreid.serve.choice import Choice, Cursor, Limit, Sort
from vreid.serve.events import events_of
from vreid.serve.health import health_of
from vreid.serve.persons import Administering, Editing, Looking, Served
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.searching import Found
from vreid.serve.service import Service
from vreid.serve.uploads import MOST_BYTES, read_upload

JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "A JPEG."}}
PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
_ERRORS = {
    401: "No token, or one that is not known.",
    403: "The token may not do this.",
    404: "It is not there.",
    409: "It contradicts what is there.",
    413: "Too large.",
    422: "The request is not valid.",
    429: "Too many requests; see Retry-After.",
    503: "The gallery cannot be written or searched now; try again.",
}
api = APIRouter(
    prefix="/api/v1",
    responses={status: {**PROBLEM, "model": doc.Problem, "description": text} for status, text in _ERRORS.items()},
)
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$",
           description="The same key with the same request again gives the first answer and does nothing; with another one 422."),
]  # fmt: skip
VehicleId = doc.Number


def done(service: Service, person: Person, edit: Edit, key: str | None) -> doc.Done:
    """Have an edit done in the person's name; it is on the disk when this returns."""
    own = None if key is None else f"{person.name}:{key}"
    return doc.Done(done=service.access.edit(edit, person.name, own))


# Vehicles


@api.get("/vehicles", tags=["vehicles"], summary="Vehicles, a part at a time")
def vehicles(
    service: Served,
    person: Looking,
    wanted: Choice,
    sort: Sort = "named-first",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Vehicle]:
    return Reading(service.access, person).vehicles(wanted.filter(), sort, cursor, limit)


@api.get("/vehicles/{vehicle}", tags=["vehicles"], summary="A vehicle with its newest sightings")
def vehicle(service: Served, person: Looking, vehicle: VehicleId) -> doc.VehicleDetails:
    return Reading(service.access, person).vehicle(vehicle)


@api.get(
    "/vehicles/{vehicle}/picture",
    tags=["vehicles"],
    summary="Its newest picture",
    responses=JPEG,
    response_class=Response,
)
def vehicle_picture(service: Served, person: Looking, vehicle: VehicleId) -> Response:
    return _jpeg(Reading(service.access, person).vehicle_picture(vehicle))


@api.post("/vehicles", tags=["vehicles"], summary="Enrol a vehicle by pictures of it", status_code=201)
def enrol(
    service: Served,
    person: Editing,
    pictures: Annotated[list[UploadFile], File(max_length=16, description="Crops of one vehicle: JPEG, PNG, WebP.")],
    name: Annotated[str | None, Form(min_length=1, max_length=200)] = None,
    kind: Annotated[doc.Kind | None, Form()] = None,
    key: Key = None,
) -> doc.Done:
    images = [read_upload(_content(one)) for one in pictures]
    features = np.stack([service.searcher.feature_of(image) for image in images])
    thumbnail = thumbnail_of(images[0])
    edit = Enrol(
        name=name,
        kind=kind,
        features=base64.b64encode(features.astype("<f4").tobytes()).decode(),
        picture=None if thumbnail is None else base64.b64encode(thumbnail).decode(),
    )
    return done(service, person, edit, key)


@api.patch("/vehicles/{vehicle}", tags=["edits"], summary="Name a vehicle")
def rename(service: Served, person: Editing, vehicle: VehicleId, body: doc.Renaming, key: Key = None) -> doc.Done:
    return done(service, person, Rename(vehicle=f"id={vehicle}", name=body.name), key)


@api.delete("/vehicles/{vehicle}", tags=["edits"], summary="Forget a vehicle for good")
def remove(service: Served, person: Administering, vehicle: VehicleId, key: Key = None) -> doc.Done:
    return done(service, person, Remove(vehicle=f"id={vehicle}"), key)


@api.post("/merge", tags=["edits"], summary="Make one vehicle of several; the first stays")
def merge(service: Served, person: Editing, body: doc.Merging, key: Key = None) -> doc.Done:
    return done(service, person, Merge(vehicles=tuple(f"id={one}" for one in body.vehicles)), key)


@api.post("/vehicles/{vehicle}/split", tags=["edits"], summary="Make a new vehicle of some sightings of one")
def split(service: Served, person: Editing, vehicle: VehicleId, body: doc.Splitting, key: Key = None) -> doc.Done:
    edit = Split(vehicle=f"id={vehicle}", sightings=tuple(body.sightings), name=body.name)
    return done(service, person, edit, key)


@api.post("/undo", tags=["edits"], summary="Take a change back")
def undo(service: Served, person: Editing, body: doc.Undoing, key: Key = None) -> doc.Done:
    return done(service, person, Undo(change=body.change), key)


# Sightings


@api.get("/sightings", tags=["sightings"], summary="Sightings, the newest first, a part at a time")
def sightings(
    service: Served,
    person: Looking,
    wanted: Choice,
    vehicle: Annotated[VehicleId | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Sighting]:
    return Reading(service.access, person).sightings(wanted.filter(vehicle), cursor, limit)


@api.get("/sightings/{sighting}", tags=["sightings"], summary="A sighting")
def sighting(service: Served, person: Looking, sighting: VehicleId) -> doc.Sighting:
    return Reading(service.access, person).sighting(sighting)


@api.get(
    "/sightings/{sighting}/picture", tags=["sightings"], summary="Its picture", responses=JPEG, response_class=Response
)
def sighting_picture(service: Served, person: Looking, sighting: VehicleId) -> Response:
    return _jpeg(Reading(service.access, person).sighting_picture(sighting))


@api.get(
    "/sightings/{sighting}/kept", tags=["sightings"], summary="What was kept of it: a crop, the frame, or a clip",
    responses={200: {"content": {"image/jpeg": {}, "video/mp4": {}}}}, response_class=FileResponse,
)  # fmt: skip
def sighting_kept(service: Served, person: Looking, sighting: VehicleId) -> FileResponse:
    found = Reading(service.access, person).sighting(sighting)
    path = service.access.kept.find(found.camera, found.at, found.track)
    if path is None:
        raise NotFound(f"nothing larger was kept of sighting {sighting}")
    return FileResponse(path, media_type={".jpg": "image/jpeg", ".mp4": "video/mp4"}[path.suffix])


@api.get("/sightings/{sighting}/similar", tags=["search"], summary="Vehicles like the one of a sighting")
def similar(
    service: Served, person: Looking, sighting: VehicleId, k: Annotated[int, Query(ge=1, le=100)] = 10
) -> doc.SearchAnswer:
    return answer_of(service, similar_to(service, person, sighting, k))


# Search


@api.post("/search", tags=["search"], summary="Find a vehicle by a picture of it")
def search(
    service: Served,
    person: Looking,
    picture: Annotated[UploadFile, File(description="A crop of the vehicle: JPEG, PNG, WebP; it is not kept.")],
    k: Annotated[int, Form(ge=1, le=100)] = 10,
    kind: Annotated[doc.Kind | None, Form()] = None,
    camera: Annotated[str, Form(max_length=200, description="That took it, if it is one of the site's.")] = "",
) -> doc.SearchAnswer:
    image = read_upload(_content(picture))
    only = Reading(service.access, person).allowed(EVERYTHING if kind is None else Filter(kinds=(kind,)))
    return answer_of(service, service.searcher.search(service.searcher.feature_of(image), camera, k, only))


@api.post("/search/feature", tags=["search"], summary="Find a vehicle by a feature of the gallery's model")
def search_feature(service: Served, person: Looking, body: doc.FeatureSearch) -> doc.SearchAnswer:
    if len(body.feature) != service.access.about.dim:
        raise BadInput(f"a feature of this gallery has {service.access.about.dim} numbers, not {len(body.feature)}")
    only = Reading(service.access, person).allowed(EVERYTHING if body.kind is None else Filter(kinds=(body.kind,)))
    feature = np.asarray(body.feature, np.float32)
    return answer_of(service, service.searcher.search(feature, body.camera, body.k, only))


def similar_to(service: Service, person: Person, sighting: int, k: int) -> Found:
    """Vehicles like the one of a sighting; it is compared as its camera would. Raises NotFound."""
    reading = Reading(service.access, person)
    seen = reading.sighting(sighting)
    with service.access.reading() as gallery:
        feature = gallery.sighting_feature(sighting)
    if feature is None:
        feature = service.searcher.feature_of(read_upload(reading.sighting_picture(sighting)))
    return service.searcher.search(feature, seen.camera, k, reading.allowed(EVERYTHING))


def answer_of(service: Service, found: Found) -> doc.SearchAnswer:
    """What a search has come to, as a document."""
    level = found.level
    return doc.SearchAnswer(
        answer=found.answer,
        threshold=doc.Threshold(
            value=level.threshold,
            origin=level.origin,
            false_match_rate=service.searcher.false_match_rate,
            pairs=level.pairs,
        ),
        vehicles=[doc.FoundVehicle.model_validate(one) for one in found.vehicles],
    )


# Doubtful sightings


@api.get("/doubtful", tags=["doubtful"], summary="Doubtful sightings that nobody has judged, the newest first")
def doubtful(service: Served, person: Looking, limit: Limit = 50) -> list[doc.Doubt]:
    return Reading(service.access, person).doubts(limit)


@api.post("/doubtful/{sighting}", tags=["doubtful"], summary="Say whose a sighting is")
def judge(service: Served, person: Editing, sighting: VehicleId, body: doc.Judgement, key: Key = None) -> doc.Done:
    if not body.same and body.vehicle is not None:
        raise BadInput("'vehicle' says whose it is; leave it out where 'same' is false")
    vehicle = None if body.vehicle is None else f"id={body.vehicle}"
    edit: Edit = Confirm(sighting=sighting, vehicle=vehicle) if body.same else Reject(sighting=sighting)
    return done(service, person, edit, key)


@api.post(
    "/calibrate", tags=["doubtful"], summary="Let the thresholds rest on what was judged too, from the next run on"
)
def calibrate(service: Served, person: Administering, key: Key = None) -> doc.Done:
    return done(service, person, Calibrate(), key)


# The run, the audit, the export


@api.get("/health", tags=["run"], summary="The run and its cameras, as they are now")
def health(service: Served, person: Looking) -> doc.Health:
    return health_of(service, person)


@api.get("/cameras", tags=["run"], summary="The cameras of the run and of the gallery")
def cameras(service: Served, person: Looking) -> list[str]:
    with service.access.reading() as gallery:
        known = gallery.cameras()
    running = [camera.name for camera in health_of(service, person).cameras]
    return sorted({camera for camera in (*known, *running) if person.sees(camera)})


@api.get(
    "/cameras/{camera}/picture", tags=["run"], summary="The newest picture of a camera, with boxes and ids",
    responses=JPEG, response_class=Response,
)  # fmt: skip
def camera_picture(service: Served, person: Looking, camera: str) -> Response:
    found = None if service.live is None or not person.sees(camera) else service.live.picture(camera)
    if found is None:
        raise NotFound("there is no live picture of such a camera here")
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@api.get("/changes", tags=["audit"], summary="Who changed what, the newest first")
def changes(
    service: Served,
    person: Administering,
    vehicle: Annotated[VehicleId | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Change]:
    return Reading(service.access, person).changes(vehicle, cursor, limit)


@api.post("/purge", tags=["audit"], summary="Forget sightings that ended before a moment, for good")
def purge(service: Served, person: Administering, body: doc.Purging, key: Key = None) -> doc.Done:
    return done(service, person, Purge(before=body.before), key)


@api.get(
    "/export", tags=["sightings"], summary="Sightings as JSON lines, the newest first", response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A Sighting a line."}},
)  # fmt: skip
def export(service: Served, person: Looking, wanted: Choice) -> StreamingResponse:
    reading, only = Reading(service.access, person), wanted.filter()
    reading.allowed(only)  # refused before the answer begins

    def lines() -> Iterator[str]:
        cursor = None
        while True:
            part = reading.sightings(only, cursor, 500)
            yield "".join(one.model_dump_json() + "\n" for one in part.items)
            if (cursor := part.next) is None:
                return

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@api.get(
    "/events", tags=["run"], summary="New sightings and changes as server-sent events", response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "event: sighting | change; data: the document."}},
)  # fmt: skip
async def events(
    request: Request,
    service: Served,
    person: Looking,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100, pattern=r"^\d{1,18}-\d{1,18}$")] = None,
) -> StreamingResponse:
    return StreamingResponse(
        events_of(Reading(service.access, person), last), media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


def _content(upload: UploadFile) -> bytes:
    content = upload.file.read(MOST_BYTES + 1)
    if not content:
        raise BadInput("a picture is missing, or is empty")
    return content


def _jpeg(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})
