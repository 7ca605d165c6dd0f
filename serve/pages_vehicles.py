"""The gallery, and one vehicle of it: its pictures, its way over the cameras, who looks like it, what was done to it."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from vreid.report.timeline import Bar, timeline
from vreid.runtime.gallery.records import Filter
from vreid.runtime.topology import Layout
from vreid.serve import days
from vreid.serve import documents as doc
from vreid.serve.choice import VehicleCursor, pattern_of
from vreid.serve.documents import Number
from vreid.serve.forms import Viewer
from vreid.serve.page_reading import albums, views
from vreid.serve.persons import Served
from vreid.serve.reading import NEWEST, MergedAway, Reading
from vreid.serve.rendering import page
from vreid.serve.rights import Person
from vreid.serve.route_map import RouteMap, layout_of, route_map
from vreid.serve.service import Service

routes = APIRouter()
PART = 48  # vehicles on a page
PICTURES = 8  # of one camera
ROWS = 50  # sightings in the table of a vehicle
SORTS = {
    "named-first": "named first",
    "last-seen": "last seen",
    "sightings": "most often seen",
    "created": "newest",
    "name": "name",
    "id": "number",
}


@routes.get("/vehicles")
def vehicles_page(
    request: Request,
    service: Served,
    person: Viewer,
    name: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=20)] = "named-first",
    cursor: VehicleCursor = None,
) -> HTMLResponse:
    """Vehicles, a page of them at a time; `name` is a part of a name, or #7."""
    reading, sort = Reading(service.access, person), sort if sort in SORTS else "named-first"
    number = name.strip().removeprefix("#")
    by_number = name.strip().startswith("#") and number.isascii() and number.isdigit() and len(number) < 10
    only = Filter(ids=(int(number),)) if by_number else Filter(names=pattern_of(name))
    found = reading.vehicles(only, sort, cursor, PART)
    kept = {"name": name, "sort": sort}
    return page(
        request, "vehicles.html.j2", vehicles=found.items, name=name, sort=sort, sorts=SORTS,
        before="" if cursor is None else "/vehicles?" + urlencode(kept),
        after="" if found.next is None else "/vehicles?" + urlencode({**kept, "cursor": found.next}),
    )  # fmt: skip


@routes.get("/vehicles/{vehicle}")
def vehicle_page(request: Request, service: Served, person: Viewer, vehicle: Number) -> Response:
    """All that is known of one vehicle; one that was merged into another leads there."""
    reading = Reading(service.access, person)
    try:
        found = reading.vehicle(vehicle)
    except MergedAway as merged:
        return RedirectResponse(f"/vehicles/{merged.kept}", 303)
    seen = found.sightings
    prototypes = views(reading, vehicle)
    return page(
        request, "vehicle.html.j2", vehicle=found.vehicle, sightings=seen[:ROWS], changes=found.changes,
        albums=albums(seen, prototypes, PICTURES), prototypes=len(prototypes), drawn=len(seen), most=NEWEST,
        timeline=timeline_of(seen), map=map_of(service, person, seen), first=seen[-1] if seen else None,
    )  # fmt: skip


def timeline_of(seen: list[doc.Sighting]) -> Markup:
    """Sightings on the wall's clock, a lane for each camera."""
    bars = [
        Bar(one.camera, days.local_seconds(one.at - one.seconds), days.local_seconds(one.at), one.vehicle)
        for one in seen
    ]
    spanned = max(bar.last_time for bar in bars) - min(bar.first_time for bar in bars) if bars else 0.0
    return timeline(bars, sorted({one.camera for one in seen}), (), lambda time: days.wall_clock(time, spanned))


def map_of(service: Service, person: Person, seen: list[doc.Sighting]) -> RouteMap:
    """The cameras that the person may see, and the vehicle's way over them."""
    site = service.site()
    layout = layout_of(site.topology if site is not None else None)
    pairs = tuple(pair for pair in layout.pair if all(person.sees(camera) for camera in pair.cameras))
    return route_map(sorted({one.camera for one in seen}), Layout(unlisted=layout.unlisted, pair=pairs), seen)
