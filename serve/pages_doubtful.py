"""Doubtful sightings one after another: yes, no, new. What is said counts for the thresholds."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse

from vreid.models.errors import BadInput, NotFound
from vreid.runtime.gallery.requests import Confirm, Edit, Reject
from vreid.runtime.judged_pairs import FEWEST
from vreid.serve import documents as doc
from vreid.serve.documents import Number
from vreid.serve.editing import edited
from vreid.serve.forms import Editor, Viewer
from vreid.serve.page_reading import MOST_WAITING, Album, albums, answered, queue
from vreid.serve.persons import Served
from vreid.serve.reading import Reading
from vreid.serve.rendering import after, page

routes = APIRouter()
PICTURES = 4  # of one camera of a candidate


@routes.get("/doubtful")
def doubtful_page(
    request: Request,
    service: Served,
    person: Viewer,
    sighting: Annotated[Number | None, Query()] = None,
    candidate: Annotated[int, Query(ge=1, le=100)] = 1,
) -> HTMLResponse:
    """One doubtful sighting next to one vehicle that it may be."""
    reading = Reading(service.access, person)
    found = queue(reading, sighting)
    said = answered(reading)
    if found.doubt is None:
        return page(request, "doubtful.html.j2", doubt=None, answered=said, fewest=FEWEST)
    doubt, rank = reading.shown(found.doubt), min(candidate, len(found.doubt.candidates))
    shown, view = doubt.candidates[rank - 1], found.doubt.candidates[rank - 1].camera
    threshold = service.searcher.level(doubt.sighting.camera, view)
    return page(
        request, "doubtful.html.j2", doubt=doubt, waiting=found.waiting, following=found.following, rank=rank,
        most=MOST_WAITING, candidate=shown, albums=_of_candidate(reading, shown.vehicle, doubt.sighting.id),
        answered=said, fewest=FEWEST, threshold=threshold, own=doubt.sighting.vehicle,
        others=[one.vehicle for one in doubt.candidates],
    )  # fmt: skip


def _of_candidate(reading: Reading, vehicle: int, sighting: int) -> list[Album]:
    """Its pictures without the one that is in question."""
    try:
        seen = reading.vehicle(vehicle).sightings
    except NotFound:  # no camera that this person may see has seen it
        return []
    return [album for album in albums([one for one in seen if one.id != sighting], [], PICTURES) if album.pictures]


@routes.post("/doubtful/{sighting}")
def judge(
    service: Served,
    person: Editor,
    sighting: Number,
    answer: Annotated[Literal["yes", "new"], Form()],
    vehicle: Annotated[Number | None, Form()] = None,
    following: Annotated[Number | None, Form()] = None,
) -> Response:
    """Yes: it is of `vehicle`; new: it is of none of the candidates. Then the next one."""
    reading = Reading(service.access, person)
    seen = reading.sighting(sighting)
    done = edited(service, person, _edit(reading, seen, answer, vehicle))
    to = "/doubtful" if following is None else f"/doubtful?sighting={following}"
    return after(to, done["change"])


def _edit(reading: Reading, seen: doc.Sighting, answer: str, vehicle: int | None) -> Edit:
    if answer == "yes":
        if vehicle is None:
            raise BadInput("say which vehicle it is; load the page again")
        return Confirm(sighting=seen.id, vehicle=f"id={vehicle}")
    found = queue(reading, seen.id).doubt
    given = (
        found is not None and found.sighting.id == seen.id and seen.vehicle in {one.vehicle for one in found.candidates}
    )
    return Reject(sighting=seen.id) if given else Confirm(sighting=seen.id)
