"""The part of the API that finds vehicles: by an uploaded picture, which is not kept, by a feature, by a sighting."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile

from vreid.models.errors import BadInput, NotFound, shown
from vreid.runtime.gallery.records import EVERYTHING, Filter
from vreid.runtime.records import Floats
from vreid.serve import documents as doc
from vreid.serve.api import SightingId
from vreid.serve.persons import Looking, Served
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.routes import READ, WRITE, ApiRoute, answers
from vreid.serve.searching import Found
from vreid.serve.service import Service
from vreid.serve.uploads import read_upload, uploaded

searches = APIRouter(prefix="/api/v1", route_class=ApiRoute, tags=["search"])
Count = Annotated[int, Query(ge=1, le=100, description="How many vehicles at most.")]


_FILLED = ("name", "kind", "k", "anyway")  # fields of forms that no empty text is a value of


async def no_empty_field(request: Request) -> None:
    """Raises BadInput for a field of a form that is sent and empty, which a framework takes for one that is not sent."""
    empty = [name for name, value in (await request.form()).multi_items() if value == "" and name in _FILLED]
    if empty:
        raise BadInput(f"the field '{shown(empty[0])}' is empty; leave it out, or fill it in")


@searches.get("/sightings/{sighting}/similar", summary="Vehicles like the one of a sighting", responses=answers(READ))
def similar(service: Served, person: Looking, sighting: SightingId, k: Count = 10) -> doc.SearchAnswer:
    return answer_of(service, similar_to(service, person, sighting, k))


@searches.post(
    "/search",
    summary="Find a vehicle by a picture of it, which is not kept",
    responses=answers(WRITE),
    dependencies=[Depends(no_empty_field)],
)
def search(
    service: Served,
    person: Looking,
    picture: Annotated[UploadFile, File(description="A crop of the vehicle: JPEG, PNG, WebP.")],
    k: Annotated[int, Form(ge=1, le=100)] = 10,
    kind: Annotated[doc.Kind | None, Form()] = None,
    camera: Annotated[str, Form(max_length=200, description="That took it, if it is one of the site's.")] = "",
) -> doc.SearchAnswer:
    with uploaded(service, picture) as image:
        feature = service.searcher.feature_of(image)
    return answer_of(service, found_by(service, person, feature, camera, k, kind))


@searches.post(
    "/search/feature", summary="Find a vehicle by a feature of the gallery's model", responses=answers(WRITE)
)
def search_feature(service: Served, person: Looking, body: doc.FeatureSearch) -> doc.SearchAnswer:
    if len(body.feature) != service.access.about.dim:
        raise BadInput(f"a feature of this gallery has {service.access.about.dim} numbers, not {len(body.feature)}")
    feature = np.asarray(body.feature, np.float32)
    return answer_of(service, found_by(service, person, feature, body.camera, body.k, body.kind))


def similar_to(service: Service, person: Person, sighting: int, k: int) -> Found:
    """Vehicles like the one of a sighting; it is compared as its camera would. Raises NotFound."""
    reading = Reading(service.access, person)
    seen = reading.sighting(sighting)
    with service.access.reading() as gallery:
        feature, picture = gallery.sighting_feature(sighting), None
        if feature is None:
            picture = gallery.sighting_picture(sighting)
    if feature is None:
        if picture is None:
            raise BadInput(f"sighting {sighting} has neither a feature nor a picture; take another one")
        feature = service.searcher.feature_of(read_upload(picture))
    return found_by(service, person, feature, seen.camera, k)


def found_by(service: Service, person: Person, feature: Floats, camera: str, k: int, kind: str | None = None) -> Found:
    """What the person finds by a feature (D,): vehicles that a camera which they may see has seen, by features of such cameras.

    Raises NotFound for another camera.
    """
    if camera and not person.sees(camera):
        raise NotFound("there is no such camera among those that this token may see")
    only = Reading(service.access, person).allowed(EVERYTHING if kind is None else Filter(kinds=(kind,)))
    return service.searcher.search(feature, camera, k, only, person.cameras)


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
