"""The run as it is now, for pages and API; and what a supervisor asks without a token: whether the server lives, and is ready."""

import math

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from vreid.models.errors import VreidError
from vreid.runtime.status import why_stalled
from vreid.serve import documents as doc
from vreid.serve.persons import Served
from vreid.serve.rights import Person
from vreid.serve.service import Service


def health_of(service: Service, person: Person) -> doc.Health:
    """Of the cameras that the person may see; a run in another process is not known here."""
    status = service.status()
    if status is None:
        with service.access.reading() as gallery:
            return doc.Health(running=False, vehicles=None if person.cameras else gallery.size()[0])
    cameras = [
        doc.CameraHealth(
            name=name, frames=one.frames, frames_per_second=one.rate, dropped=one.dropped,
            reconnects=one.reconnects, tracks=one.tracks, open_tracks=one.open_tracks,
            age_s=one.age_s if math.isfinite(one.age_s) else None, live=one.live,
            alive=one.alive, fault=one.fault, alarm=one.alarm,
        )
        for name, one in status.cameras.items()
        if person.sees(name)
    ]  # fmt: skip
    stages = {
        name: {"count": float(one.count), "p50_ms": 1000 * one.p50, "p90_ms": 1000 * one.p90, "p99_ms": 1000 * one.p99}
        for name, one in status.stages.items()
    }
    return doc.Health(
        running=True, seconds=status.seconds, frames_per_second=sum(one.frames_per_second for one in cameras),
        sightings=status.sightings, unknown=status.unknown, doubtful=status.doubtful, cameras=cameras, stages=stages,
        vehicles=status.vehicles,
    )  # fmt: skip


probes = APIRouter(include_in_schema=False)
_UNCACHED = {"Cache-Control": "no-store"}


@probes.get("/livez")
async def livez() -> JSONResponse:
    """Whether the process answers; nothing of the gallery."""
    return JSONResponse({"alive": True}, headers=_UNCACHED)


@probes.get("/readyz")
def readyz(service: Served) -> JSONResponse:
    """Whether requests can be answered: gallery and tokens can be read, and a run in this process moves."""
    try:
        with service.access.reading() as gallery:
            gallery.size()
        service.tokens.tokens()
        status = service.status()
        ready = status is None or why_stalled(status) is None
    except VreidError:
        ready = False
    return JSONResponse({"ready": ready}, 200 if ready else 503, _UNCACHED)
