"""Live pictures: tiles of all cameras, one camera, the streams; and how the cameras are."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from vreid.models.errors import NotFound
from vreid.runtime.gallery.records import Filter
from vreid.serve import documents as doc
from vreid.serve.cameras import cameras_of
from vreid.serve.forms import Viewer
from vreid.serve.health import health_of
from vreid.serve.persons import Served
from vreid.serve.reading import Reading
from vreid.serve.rendering import page
from vreid.serve.rights import Person
from vreid.serve.service import Service
from vreid.serve.streams import begun

routes = APIRouter()
_BOUNDARY = "vreid-picture"
_HEAD = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
_NEWEST = 12  # sightings under a live picture


def _alive(service: Service, person: Person) -> dict[str, doc.CameraHealth]:
    """The run's cameras as they are now, by name; empty where no run is in this process."""
    return {camera.name: camera for camera in health_of(service, person).cameras}


def _live(service: Service, person: Person) -> dict[str, float]:
    """The cameras with live pictures that the person may see, and how old these are (seconds)."""
    found = service.live.ages() if service.live is not None else {}
    return {camera: age for camera, age in found.items() if person.sees(camera)}


@routes.get("/")
def live_page(request: Request, service: Served, person: Viewer) -> HTMLResponse:
    """A tile of each camera, with what is wrong with it."""
    live, health = _live(service, person), _alive(service, person)
    reading = Reading(service.access, person)
    names = cameras_of(service, person)
    newest = reading.sightings(Filter(), None, _NEWEST).items if names else []
    return page(request, "live.html.j2", cameras=names, live=live, health=health, newest=newest)


@routes.get("/live/{camera}")
def camera_page(request: Request, service: Served, person: Viewer, camera: str) -> HTMLResponse:
    """One camera in a large picture, and its newest sightings."""
    live, health = _live(service, person), _alive(service, person)
    reading = Reading(service.access, person)
    if camera not in cameras_of(service, person):
        raise NotFound("there is no such camera among those that you may see")
    seen = reading.sightings(Filter(cameras=(camera,)), None, _NEWEST).items
    return page(request, "camera.html.j2", camera=camera, age=live.get(camera), health=health.get(camera), newest=seen)


@routes.get("/live/{camera}/stream")
async def stream(service: Served, person: Viewer, camera: str) -> StreamingResponse:
    """Pictures one after another (multipart/x-mixed-replace), until whoever looks lets go or may look no more."""
    if service.live is None or not person.sees(camera) or await asyncio.to_thread(service.live.picture, camera) is None:
        raise NotFound("there is no live picture of such a camera here")
    parts = await begun(_parts(service, person, camera))
    media = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(parts, media_type=media, headers={"Cache-Control": "no-store"})


async def _parts(service: Service, person: Person, camera: str) -> AsyncGenerator[bytes, None]:
    """The head of the next part stands right behind each picture: a browser shows it when that has come."""
    live, head, shown = service.live, _HEAD, None
    with service.viewers.place():
        while live is not None and service.lets_in(person):
            jpeg = await asyncio.to_thread(live.picture, camera)
            if jpeg is None:  # the run goes on without this camera
                return
            if jpeg != shown:
                yield head + jpeg + b"\r\n" + _HEAD
                head, shown = b"", jpeg
            await asyncio.sleep(live.every_s)


@routes.get("/health")
def health_page(request: Request, service: Served, person: Viewer) -> HTMLResponse:
    """Frames, drops, reconnects and latency of the run; without one here, when each camera was last seen to work."""
    health, reading = health_of(service, person), Reading(service.access, person)
    last = {
        camera: reading.sightings(Filter(cameras=(camera,)), None, 1).items for camera in cameras_of(service, person)
    }
    last_at = {camera: seen[0].at if seen else None for camera, seen in last.items()}
    return page(request, "health.html.j2", health=health, last_at=last_at)
