"""Find a vehicle by a picture that somebody uploads, or by a sighting; enrol one by pictures."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse

from vreid.models.errors import BadInput
from vreid.models.picture import thumbnail_of
from vreid.report.formats import jpeg_uri
from vreid.serve import documents as doc
from vreid.serve.api_edits import enrol as enrolled
from vreid.serve.api_search import answer_of, found_by, similar_to
from vreid.serve.cameras import cameras_of
from vreid.serve.documents import KINDS, Number
from vreid.serve.forms import Editor, Viewer, sender
from vreid.serve.persons import Served, may
from vreid.serve.reading import Reading
from vreid.serve.rendering import after, page
from vreid.serve.rights import Person
from vreid.serve.service import Service
from vreid.serve.uploads import MOST_PICTURES, uploaded

routes = APIRouter()
SHOWN = 12  # vehicles that a search lists
Looker = Annotated[Person, Depends(sender("look"))]
Text = Annotated[str, Form(max_length=200)]


@routes.get("/find")
def find_page(
    request: Request,
    service: Served,
    person: Viewer,
    sighting: Annotated[Number | None, Query()] = None,
) -> HTMLResponse:
    """Where a picture is given; with a sighting, who is like it."""
    if sighting is None:
        return _page(request, service, person)
    query = Reading(service.access, person).sighting(sighting)
    answer = answer_of(service, similar_to(service, person, sighting, SHOWN))
    return _page(request, service, person, answer, query)


@routes.post("/find")
def find_by_picture(
    request: Request,
    service: Served,
    person: Looker,
    picture: Annotated[UploadFile, File()],
    kind: Text = "",
    camera: Text = "",
) -> HTMLResponse:
    """Who is like an uploaded crop, which is not kept."""
    if not picture.size:
        raise BadInput("no picture is chosen; choose a file first")
    with uploaded(service, picture) as image:
        feature, small = service.searcher.feature_of(image), thumbnail_of(image)
    found = found_by(service, person, feature, camera, SHOWN, kind if kind in KINDS else None)
    shown = "" if small is None else jpeg_uri(small)
    return _page(request, service, person, answer_of(service, found), picture=shown, kind=kind, camera=camera)


def _page(
    request: Request,
    service: Service,
    person: Person,
    answer: doc.SearchAnswer | None = None,
    query: doc.Sighting | None = None,
    picture: str = "",
    kind: str = "",
    camera: str = "",
) -> HTMLResponse:
    return page(
        request, "find.html.j2", answer=answer, query=query, cameras=cameras_of(service, person), kinds=KINDS, picture=picture,
        kind=kind, camera=camera,
    )  # fmt: skip


@routes.get("/enrol")
def enrol_page(request: Request, person: Viewer) -> HTMLResponse:
    """Where pictures of a vehicle are given that no camera has seen yet."""
    may(person, "edit")
    return page(request, "enrol.html.j2", kinds=KINDS, most=MOST_PICTURES)


@routes.post("/enrol")
def enrol(
    service: Served,
    person: Editor,
    pictures: Annotated[list[UploadFile], File(max_length=MOST_PICTURES)],
    name: Text = "",
    kind: Text = "",
    anyway: bool = Form(False),
) -> Response:
    """A new vehicle that is known by pictures of it."""
    chosen = cast(doc.Kind, kind) if kind in KINDS else None
    done = enrolled(service, person, pictures, name.strip() or None, chosen, anyway).done
    to = "/vehicles" if person.cameras else f"/vehicles/{done['id']}"  # none of their cameras has seen it yet
    return after(to, done["change"])
