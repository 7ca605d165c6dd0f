"""The watch list: each entry with its alerts, and with doubtful sightings that may be one."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from vreid.runtime.gallery.names import id_of
from vreid.runtime.gallery.records import Filter
from vreid.runtime.watch_list import fits
from vreid.runtime.watches import Watch
from vreid.serve import documents as doc
from vreid.serve.forms import Viewer
from vreid.serve.page_reading import MOST_WAITING
from vreid.serve.persons import Served
from vreid.serve.reading import Reading
from vreid.serve.rendering import page

routes = APIRouter()
ALERTS = 12  # of one entry, and as many that may be one


@dataclass(frozen=True)
class MayBe:
    """A doubtful sighting, the candidate that the entry looks for, and its place among all of them, from 1."""

    sighting: doc.Sighting
    candidate: doc.Candidate
    rank: int


@dataclass(frozen=True)
class Entry:
    """An entry of the watch list, what it looks for, and the newest sightings that fit or may."""

    name: str
    looks_for: list[tuple[str, str]]
    alerts: list[doc.Sighting]
    may_be: list[MayBe]


@routes.get("/watch")
def watch_page(request: Request, service: Served, person: Viewer) -> HTMLResponse:
    """Each entry of the watch list with its alerts."""
    site = service.site()
    reading, every = Reading(service.access, person), site.watch if site is not None else ()
    watches = [watch for watch in every if not watch.cameras or any(map(person.sees, watch.cameras))]
    doubts = reading.doubts(MOST_WAITING) if any(watch.vehicle for watch in watches) else []
    return page(request, "watch.html.j2", entries=[_entry(reading, watch, doubts) for watch in watches])


def _entry(reading: Reading, watch: Watch, doubts: Sequence[doc.Doubt]) -> Entry:
    """Its alerts are the sightings of the gallery that fit."""
    wanted = watch.vehicle or ""
    vehicle = id_of(wanted.removeprefix("id=")) if wanted.startswith("id=") else None
    only = Filter(
        ids=() if vehicle is None else (vehicle,), names=(wanted,) if wanted and vehicle is None else (),
        kinds=(watch.kind,) if watch.kind else (), plates=(watch.plate,) if watch.plate else (), cameras=watch.cameras,
    )  # fmt: skip
    cameras = ", ".join(filter(reading.person.sees, watch.cameras)) or "all"
    facts = [("vehicle", watch.vehicle), ("type", watch.kind), ("plate", watch.plate), ("cameras", cameras)]
    may_be = [found for doubt in doubts if (found := _may_be(watch, doubt)) is not None] if watch.vehicle else []
    return Entry(
        watch.name or watch.text,
        [(name, value) for name, value in facts if value],
        reading.sightings(only, None, ALERTS).items,
        may_be[:ALERTS],
    )


def _may_be(watch: Watch, doubt: doc.Doubt) -> MayBe | None:
    """The first candidate by which a sighting would fit that does not fit as it is."""
    seen = doubt.sighting
    if fits(watch, seen.camera, seen.kind, seen.plate, [(seen.vehicle, seen.name)]):
        return None
    for rank, one in enumerate(doubt.candidates, 1):
        if fits(watch, seen.camera, seen.kind, seen.plate, [(one.vehicle, one.name)]):
            return MayBe(seen, one, rank)
    return None
