"""The part of the API that writes: each edit is on the disk, and in the audit with who did it, when its answer is sent.

With the header Idempotency-Key an edit is done once, however often it is sent: a client that got no answer sends it again.
"""

import base64
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Header, Request, UploadFile

from vreid.models.errors import BadInput
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery.requests import (
    Calibrate,
    Confirm,
    Edit,
    Enrol,
    Merge,
    Purge,
    Reject,
    Remove,
    Rename,
    Split,
    Undo,
)
from vreid.serve import documents as doc
from vreid.serve.api import SightingId, VehicleId
from vreid.serve.api_search import no_empty_field
from vreid.serve.editing import edited
from vreid.serve.enrolling import Picture, checked, look_alikes_of
from vreid.serve.persons import Administering, Editing, Served
from vreid.serve.routes import WRITE, ApiRoute, answers
from vreid.serve.uploads import MOST_PICTURES, uploaded

KEY = "Idempotency-Key"


def _one_key(request: Request) -> None:
    """Raises BadInput for two keys, of which a framework would take either."""
    if len(request.headers.getlist(KEY)) > 1:
        raise BadInput(f"a request has one {KEY}; send it once")


edits = APIRouter(
    prefix="/api/v1", route_class=ApiRoute, responses=answers(WRITE), dependencies=[Depends(_one_key)], tags=["edits"]
)
Key = Annotated[
    str | None,
    Header(
        alias=KEY, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", examples=["5f3c2a1e-7b0d-4c57-9a53-1d6e8f0b2c44"],
        description="The same key with the same request again gives the first answer and does nothing; with another one 422.",
    ),
]  # fmt: skip
Pictures = Annotated[
    list[UploadFile], File(min_length=1, max_length=MOST_PICTURES, description="Crops of one vehicle: JPEG, PNG, WebP.")
]


@edits.post(
    "/vehicles",
    tags=["vehicles"],
    summary="Enrol a vehicle by pictures of it",
    status_code=201,
    dependencies=[Depends(no_empty_field)],
)
def enrol(
    service: Served,
    person: Editing,
    pictures: Pictures,
    name: Annotated[doc.Name | None, Form()] = None,
    kind: Annotated[doc.Kind | None, Form()] = None,
    anyway: Annotated[bool, Form(description="Although pictures are small, blurred or show several vehicles.")] = False,
    key: Key = None,
) -> doc.Enrolled:
    found: list[Picture] = []
    first = None
    for number, upload in enumerate(pictures, 1):
        with uploaded(service, upload) as image:  # one after the other: decoded ones are large
            first = thumbnail_of(image) if number == 1 else first
            found.append(checked(service, number, image))
    faults = [one.fault for one in found if one.fault]
    if faults and not anyway:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise BadInput(f"{faults[0]}{more}; or send anyway=true")
    features = np.stack([one.feature for one in found])
    edit = Enrol(
        name=name,
        kind=kind,
        features=base64.b64encode(features.astype("<f4").tobytes()).decode(),
        picture=None if first is None else base64.b64encode(first).decode(),
    )
    done = edited(service, person, edit, key)
    alike = [] if person.cameras else look_alikes_of(service, features, done)
    return doc.Enrolled(done=done, faults=faults, counted_by=found[0].counted_by, alike=alike)


@edits.patch("/vehicles/{vehicle}", summary="Name a vehicle")
def rename(service: Served, person: Editing, vehicle: VehicleId, body: doc.Renaming, key: Key = None) -> doc.Done:
    return doc.Done(done=edited(service, person, Rename(vehicle=f"id={vehicle}", name=body.name), key))


@edits.delete("/vehicles/{vehicle}", summary="Forget a vehicle for good")
def remove(service: Served, person: Administering, vehicle: VehicleId, key: Key = None) -> doc.Done:
    return doc.Done(done=edited(service, person, Remove(vehicle=f"id={vehicle}"), key))


@edits.post("/merge", summary="Make one vehicle of several; the first stays")
def merge(service: Served, person: Editing, body: doc.Merging, key: Key = None) -> doc.Done:
    if len({*body.vehicles}) < len(body.vehicles):
        raise BadInput("a vehicle is named twice; name each once, the one that stays first")
    return doc.Done(done=edited(service, person, Merge(vehicles=tuple(f"id={one}" for one in body.vehicles)), key))


@edits.post("/vehicles/{vehicle}/split", summary="Make a new vehicle of some sightings of one")
def split(service: Served, person: Editing, vehicle: VehicleId, body: doc.Splitting, key: Key = None) -> doc.Done:
    edit = Split(vehicle=f"id={vehicle}", sightings=tuple(body.sightings), name=body.name)
    return doc.Done(done=edited(service, person, edit, key))


@edits.post("/undo", summary="Take a change back")
def undo(service: Served, person: Editing, body: doc.Undoing, key: Key = None) -> doc.Done:
    return doc.Done(done=edited(service, person, Undo(change=body.change, own=body.change is None), key))


@edits.post("/doubtful/{sighting}", tags=["doubtful"], summary="Say whose a sighting is")
def judge(
    service: Served, person: Editing, sighting: SightingId, body: doc.Same | doc.Another, key: Key = None
) -> doc.Done:
    vehicle = body.vehicle if isinstance(body, doc.Same) else None
    whose = None if vehicle is None else f"id={vehicle}"
    edit: Edit = Confirm(sighting=sighting, vehicle=whose) if body.same else Reject(sighting=sighting)
    return doc.Done(done=edited(service, person, edit, key))


@edits.post("/calibrate", tags=["doubtful"], summary="Let thresholds rest on what was judged too, from the next run on")
def calibrate(service: Served, person: Administering, key: Key = None) -> doc.Done:
    return doc.Done(done=edited(service, person, Calibrate(), key))


@edits.post("/purge", tags=["audit"], summary="Forget sightings that ended before a moment, for good")
def purge(service: Served, person: Administering, body: doc.Purging, key: Key = None) -> doc.Done:
    return doc.Done(done=edited(service, person, Purge(before=body.before), key))
