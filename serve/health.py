"""The run as it is now, for pages and API."""

import math

from vreid.serve import documents as doc
from vreid.serve.rights import Person
from vreid.serve.service import Service


def health_of(service: Service, person: Person) -> doc.Health:
    """Of the cameras that the person may see; a run in another process is not known here."""
    status = service.status()
    if status is None:
        return doc.Health(running=False)
    cameras = [
        doc.CameraHealth(
            name=name, frames=one.frames, dropped=one.dropped, reconnects=one.reconnects, tracks=one.tracks,
            open_tracks=one.open_tracks, age_s=one.age_s if math.isfinite(one.age_s) else None, live=one.live,
            alive=one.alive, fault=one.fault, alarm=one.alarm,
        )
        for name, one in status.cameras.items()
        if person.sees(name)
    ]  # fmt: skip
    stages = {
        name: {"count": float(one.count), "p50_ms": 1000 * one.p50, "p90_ms": 1000 * one.p90, "p99_ms": 1000 * one.p99}
        for name, one in status.stages.items()
    }
    frames = sum(one.frames for one in status.cameras.values())
    return doc.Health(
        running=True, seconds=status.seconds, frames_per_second=frames / max(status.seconds, 1e-9),
        sightings=status.sightings, unknown=status.unknown, doubtful=status.doubtful, cameras=cameras, stages=stages,
        vehicles=status.vehicles,
    )  # fmt: skip
