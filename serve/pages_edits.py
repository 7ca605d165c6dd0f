"""Naming, merging with proof side by side, splitting, forgetting, and taking back."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse

from vreid.models.errors import BadInput, NotFound
from vreid.runtime.gallery.names import id_of
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.requests import Merge, Remove, Rename, Split, Undo
from vreid.serve import documents as doc
from vreid.serve.choice import pattern_of
from vreid.serve.documents import Number
from vreid.serve.editing import edited
from vreid.serve.forms import Admin, Editor, Viewer
from vreid.serve.page_reading import Album, albums, views
from vreid.serve.persons import Served, may
from vreid.serve.reading import Reading
from vreid.serve.rendering import after, own_path, page

routes = APIRouter()
PICTURES = 6  # of one camera in a proof
OFFERED = 24  # vehicles to merge with
MOST_SPLIT = 500  # sightings in one form
NewName = Annotated[str, Form(max_length=200)]


@routes.get("/vehicles/{vehicle}/name")
def name_page(request: Request, service: Served, person: Viewer, vehicle: Number) -> HTMLResponse:
    """Where a vehicle gets a name."""
    may(person, "edit")
    reading = Reading(service.access, person)
    found = reading.vehicle(vehicle)
    return page(
        request,
        "name.html.j2",
        vehicle=found.vehicle,
        albums=albums(found.sightings, views(reading, vehicle), PICTURES),
    )


@routes.post("/vehicles/{vehicle}/name")
def rename(service: Served, person: Editor, vehicle: Number, name: NewName = "") -> Response:
    """Give it a name."""
    done = edited(service, person, Rename(vehicle=f"id={vehicle}", name=name.strip()))
    return after(f"/vehicles/{vehicle}", done["change"])


@routes.post("/vehicles/{vehicle}/remove")
def remove(service: Served, person: Admin, vehicle: Number, sure: Annotated[str, Form(max_length=10)] = "") -> Response:
    """Forget it for good."""
    if sure != "yes":
        raise BadInput("nothing was removed; say that you want it by the box next to the button")
    done = edited(service, person, Remove(vehicle=f"id={vehicle}"))
    return after("/vehicles", done["change"])


@routes.get("/merge")
def merge_page(
    request: Request,
    service: Served,
    person: Viewer,
    vehicle: Annotated[list[Number], Query(min_length=1, max_length=2)],
    name: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """With one vehicle: which other one; with two: the proof, and the question. The first one stays."""
    may(person, "edit")
    reading = Reading(service.access, person)
    first = reading.vehicle(vehicle[0])
    if len(vehicle) == 1:
        found = reading.vehicles(Filter(names=pattern_of(name)), "named-first", None, OFFERED + 1).items
        others = [one for one in found if one.id != vehicle[0]][:OFFERED]
        latest = first.sightings[0] if first.sightings else None
        return page(request, "merge_with.html.j2", first=first.vehicle, others=others, name=name, latest=latest)
    if vehicle[0] == vehicle[1]:
        raise BadInput("these are one vehicle already; choose two")
    second = reading.vehicle(vehicle[1])
    both = [_pictures(reading, first), _pictures(reading, second)]
    cameras = sorted({camera for own in both for camera in own})
    return page(
        request, "merge.html.j2", first=first.vehicle, second=second.vehicle, cameras=cameras, albums=both,
        score=service.searcher.between(vehicle[0], vehicle[1], person.cameras),
    )  # fmt: skip


def _pictures(reading: Reading, details: doc.VehicleDetails) -> dict[str, Album]:
    found = albums(details.sightings, views(reading, details.vehicle.id), PICTURES)
    return {album.camera: album for album in found}


@routes.post("/merge")
def merge(
    service: Served, person: Editor, vehicle: Annotated[list[Number], Form(min_length=2, max_length=2)]
) -> Response:
    """Make one of two; the first stays."""
    done = edited(service, person, Merge(vehicles=tuple(f"id={one}" for one in vehicle)))
    return after(f"/vehicles/{vehicle[0]}", done["change"])


@routes.get("/vehicles/{vehicle}/split")
def split_page(
    request: Request,
    service: Served,
    person: Viewer,
    vehicle: Number,
    sighting: Annotated[list[Number], Query(max_length=MOST_SPLIT)] = [],  # noqa: B006  FastAPI copies it
) -> HTMLResponse:
    """Where the sightings are chosen that are of another car."""
    may(person, "edit")
    reading = Reading(service.access, person)
    found = reading.vehicle(vehicle)
    cameras = sorted({one.camera for one in found.sightings})
    by_camera = {camera: [one for one in found.sightings if one.camera == camera] for camera in cameras}
    return page(request, "split.html.j2", vehicle=found.vehicle, by_camera=by_camera, chosen=sighting)


@routes.post("/vehicles/{vehicle}/split")
def split(
    service: Served,
    person: Editor,
    vehicle: Number,
    sighting: Annotated[list[Number], Form(max_length=MOST_SPLIT)] = [],  # noqa: B006  FastAPI copies it
    name: NewName = "",
) -> Response:
    """Make a new vehicle of some of its sightings."""
    if not sighting:
        raise BadInput("no sighting is chosen; go back and mark those of the other car")
    edit = Split(vehicle=f"id={vehicle}", sightings=tuple(sighting), name=name.strip() or None)
    return after(f"/vehicles/{vehicle}", edited(service, person, edit)["change"])


@routes.post("/undo")
def undo(
    service: Served,
    person: Editor,
    change: Annotated[Number, Form()],
    to: Annotated[str, Form(max_length=2000)] = "/vehicles",
) -> Response:
    """Take a change back, and come back to a page that is there afterwards."""
    done = edited(service, person, Undo(change=change))
    to = own_path(to, "/vehicles")
    place = to.partition("?")[0].split("/")
    if place[1] == "vehicles" and len(place) > 2 and (vehicle := id_of(place[2])):
        try:
            Reading(service.access, person).vehicle(vehicle)
        except NotFound:  # it was made by what was taken back
            to = f"/vehicles/{done['vehicles'][0]}"
    return after(to, done["change"])
