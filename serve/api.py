"""The REST API under /api/v1: what is read. What pages can do, programs can; api_search.py finds, api_edits.py writes."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from vreid.models.errors import NotFound
from vreid.serve import documents as doc
from vreid.serve.cameras import cameras_of
from vreid.serve.choice import ChangeCursor, Choice, Limit, SightingCursor, Sort, VehicleCursor
from vreid.serve.events import events_of
from vreid.serve.health import health_of
from vreid.serve.persons import Administering, Looking, Served
from vreid.serve.reading import Reading
from vreid.serve.routes import JPEG, READ, ApiRoute, answers
from vreid.serve.streams import begun

reading = APIRouter(prefix="/api/v1", route_class=ApiRoute)
VehicleId = Annotated[doc.Number, Path(description="The id of a vehicle.")]
SightingId = Annotated[doc.Number, Path(description="The id of a sighting.")]
CameraName = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^/]+$", examples=["gate"])]
OfVehicle = Annotated[doc.Number | None, Query(description="Only of this vehicle.")]


@reading.get("/vehicles", tags=["vehicles"], summary="Vehicles, a part at a time", responses=answers(READ))
def vehicles(
    service: Served,
    person: Looking,
    wanted: Choice,
    sort: Sort = "named-first",
    cursor: VehicleCursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Vehicle]:
    return Reading(service.access, person).vehicles(wanted.filter(), sort, cursor, limit)


@reading.get(
    "/vehicles/{vehicle}",
    tags=["vehicles"],
    summary="A vehicle with its newest sightings",
    responses=answers(READ),
)
def vehicle(service: Served, person: Looking, vehicle: VehicleId) -> doc.VehicleDetails:
    return Reading(service.access, person).vehicle(vehicle)


@reading.get(
    "/vehicles/{vehicle}/picture", tags=["vehicles"], summary="Its newest picture", response_class=Response,
    responses=answers(READ, _200={**JPEG, "description": "A JPEG of at most 160 x 160 pixels."}),
)  # fmt: skip
def vehicle_picture(service: Served, person: Looking, vehicle: VehicleId) -> Response:
    return jpeg(Reading(service.access, person).vehicle_picture(vehicle), "private, no-cache")


@reading.get(
    "/sightings",
    tags=["sightings"],
    summary="Sightings, the newest first, a part at a time",
    responses=answers(READ),
)
def sightings(
    service: Served,
    person: Looking,
    wanted: Choice,
    vehicle: OfVehicle = None,
    cursor: SightingCursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Sighting]:
    return Reading(service.access, person).sightings(wanted.filter(vehicle), cursor, limit)


@reading.get("/sightings/{sighting}", tags=["sightings"], summary="A sighting", responses=answers(READ))
def sighting(service: Served, person: Looking, sighting: SightingId) -> doc.Sighting:
    return Reading(service.access, person).sighting(sighting)


@reading.get(
    "/sightings/{sighting}/picture", tags=["sightings"], summary="Its picture", response_class=Response,
    responses=answers(READ, _200={**JPEG, "description": "A JPEG of at most 160 x 160 pixels."}),
)  # fmt: skip
def sighting_picture(service: Served, person: Looking, sighting: SightingId) -> Response:
    return jpeg(Reading(service.access, person).sighting_picture(sighting), "private, max-age=300")


@reading.get(
    "/sightings/{sighting}/kept", tags=["sightings"], summary="What was kept of it: a crop, the frame, or a clip",
    response_class=Response,
    responses=answers(
        READ,
        _200={"content": {**JPEG["content"], "video/mp4": {}}, "description": "A JPEG or an MP4."},
        _206={"content": {"video/mp4": {}}, "description": "A range of an MP4."},
        _416={"description": "There is no such range."},
    ),
)  # fmt: skip
def sighting_kept(service: Served, person: Looking, sighting: SightingId) -> Response:
    found, cache = Reading(service.access, person).kept(sighting), "private, max-age=300"
    if isinstance(found, bytes):
        return jpeg(found, cache)
    return FileResponse(found, media_type="video/mp4", headers={"Cache-Control": cache})


@reading.get(
    "/export", tags=["sightings"], summary="Sightings as JSON lines, the newest first", response_class=StreamingResponse,
    responses=answers(
        READ[1:], _200={"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "A Sighting a line."}
    ),
)  # fmt: skip
def export(
    service: Served,
    person: Looking,
    wanted: Choice,
    vehicle: OfVehicle = None,
    pictures: Annotated[bool, Query(description="With `jpeg` in each line: the picture in base64, blurred.")] = False,
) -> StreamingResponse:
    mine, only = Reading(service.access, person), wanted.filter(vehicle)

    def lines() -> Iterator[str]:
        cursor = None
        while True:
            part = mine.sightings(only, cursor, 500)
            yield "".join(mine.exported(one, pictures).model_dump_json() + "\n" for one in part.items)
            if (cursor := part.next) is None:
                return

    parts = lines()
    parts = chain([next(parts)], parts)  # what is refused is refused before the answer begins
    headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="sightings.jsonl"'}
    return StreamingResponse(parts, media_type="application/x-ndjson", headers=headers)


@reading.get(
    "/doubtful",
    tags=["doubtful"],
    summary="Doubtful sightings that nobody has judged: those that count for the thresholds first, the newest first",
    responses=answers(READ),
)
def doubtful(service: Served, person: Looking, limit: Limit = 50) -> list[doc.Doubt]:
    return Reading(service.access, person).doubts(limit)


# The run and the audit


@reading.get("/health", tags=["run"], summary="The run and its cameras, as they are now", responses=answers(READ))
def health(service: Served, person: Looking) -> doc.Health:
    return health_of(service, person)


@reading.get(
    "/cameras",
    tags=["run"],
    summary="Cameras of the run, of live pictures, of the gallery",
    responses=answers(READ),
)
def cameras(service: Served, person: Looking) -> list[str]:
    return cameras_of(service, person)


@reading.get(
    "/cameras/{camera}/picture", tags=["run"], summary="The newest picture of a camera, with boxes and ids",
    response_class=Response, responses=answers(READ, _200={**JPEG, "description": "A JPEG."}),
)  # fmt: skip
def camera_picture(service: Served, person: Looking, camera: CameraName) -> Response:
    found = None if service.live is None or not person.sees(camera) else service.live.picture(camera)
    if found is None:
        raise NotFound("there is no live picture of such a camera here; GET /api/v1/cameras lists them")
    return jpeg(found, "no-store")


@reading.get("/changes", tags=["audit"], summary="Who changed what, the newest first", responses=answers(READ))
def changes(
    service: Served,
    person: Administering,
    vehicle: OfVehicle = None,
    cursor: ChangeCursor = None,
    limit: Limit = 50,
) -> doc.Page[doc.Change]:
    return Reading(service.access, person).changes(vehicle, cursor, limit)


@reading.get(
    "/events", tags=["run"], summary="New sightings and changes as server-sent events", response_class=StreamingResponse,
    responses=answers(
        READ[1:],
        _200={
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "event: sighting | change | missed; data: the document as JSON.",
        },
    ),
)  # fmt: skip
async def events(
    service: Served,
    person: Looking,
    last: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=40, pattern=r"^[0-9]{1,18}-[0-9]{1,18}$")
    ] = None,
) -> StreamingResponse:
    texts = await begun(events_of(service, person, last))
    return StreamingResponse(
        texts, media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )  # fmt: skip


def jpeg(content: bytes, cache: str) -> Response:
    """A JPEG as an answer, with what may be done with copies of it."""
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": cache})
