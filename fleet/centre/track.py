"""A box's message as the track that the centre identifies; what can be wrong with one shows here, before anything is written."""

import json
import re
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vreid.fleet.messages import BoxMessage, Id, SightingMessage, read_message
from vreid.fleet.subjects import source_of
from vreid.models.errors import Refused, shown
from vreid.runtime.gallery import names
from vreid.runtime.gallery.inbox import BoxSighting
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.gallery.records import About
from vreid.runtime.records import FinishedTrack, Trace, kind_number

MOST_TEXT = 256  # characters of a camera's name, a kind and a plate: an index of the database takes no long ones
MOST_NAME = 64  # characters of a box's name, as in its site's file
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)  # it comes by the object store, later
UNSEEN = Trace(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))  # no box of it is sent


class Unfit(Refused):
    """A message that this gallery can do nothing with, now or later; the next one may be sound."""


def message_in(body: bytes, subject: str) -> BoxMessage:
    """The message of `body`, which came by `subject`. Raises Unfit."""
    try:
        message = read_message(body)
        source = source_of(subject)
        if not message.box or len(message.box) > MOST_NAME:
            raise Unfit(f"the name of a box has 1 to {MOST_NAME} characters")
        if isinstance(message, SightingMessage):
            texts = (message.camera, message.kind or "", message.plate or "")
            if max(map(len, texts)) > MOST_TEXT:
                raise Unfit(f"a camera, kind or plate has more than {MOST_TEXT} characters")
        names.readable(message.box, "a box's name")
        if source.box != message.box:
            raise Unfit("it came by the subject of another box, in whose name it was not sent")
        if source.camera != (message.camera if isinstance(message, SightingMessage) else ""):
            raise Unfit("it came by the subject of another camera")
    except Unfit:
        raise
    except (Refused, ValueError) as error:
        raise Unfit(str(error)) from error
    return message


def box_in(subject: str) -> str:
    """The box whose account has sent a message, for a sentence about one that does not fit."""
    try:
        return shown(source_of(subject).box)[:MOST_NAME]
    except Refused:
        return "?"


def sighting_in(body: bytes, subject: str) -> BoxSighting | None:
    """What a box's message is about, also one that cannot be read otherwise; None: that cannot be said."""
    fields = _fields_in(body)
    try:
        found = _About.model_validate(fields)
        names.readable(found.box, "a box's name")
        if source_of(subject).box != found.box:
            return None
    except (Refused, ValueError):
        return None
    picture = fields.get("thumbnail")
    if not isinstance(picture, str) or re.fullmatch("[0-9a-f]{64}", picture) is None:
        picture = None
    return BoxSighting(found.box, found.sighting, found.vehicle, None, picture)


class _About(BaseModel):
    """What is read of any message that has it."""

    model_config = ConfigDict(strict=True)

    box: Annotated[str, Field(min_length=1, max_length=MOST_NAME)]
    sighting: Id
    vehicle: Id


def _fields_in(body: bytes) -> dict[str, object]:
    """Of a JSON object; of anything else none."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def camera_of(message: SightingMessage) -> str:
    """BOX/CAMERA, since two boxes may have a camera of one name; topologies name it so. Raises Unfit."""
    try:
        return names.readable(f"{message.box}/{message.camera.replace('/', '%2F')}", "a camera's name")
    except Refused as refused:
        raise Unfit(str(refused)) from refused


def track_of(message: SightingMessage, about: About, first_time: float | None = None) -> FinishedTrack:
    """What a message says of a track, for a gallery of the space `about`: its times are those of the box's clock, its number is
    the sighting's at the box, and it has no picture. `first_time` is when it began, as it was written down before.

    Raises Unfit for features of another space, or none.
    """
    if message.fingerprint != about.fingerprint:
        raise Unfit(f"its features are of the model {shown(message.fingerprint)}, not of {about.fingerprint}")
    try:
        rows = message.features().astype(np.float32)
        if not len(rows):
            raise Unfit("it has no feature to be found by")
        feature = unit(unit(rows, about.dim).mean(axis=0, keepdims=True), about.dim)[0]
    except Unfit:
        raise
    except Refused as refused:
        raise Unfit(str(refused)) from refused
    if message.t1 < message.t0:
        raise Unfit("it ends before it begins")
    return FinishedTrack(
        camera=camera_of(message),
        track=message.sighting,
        first_frame=0,
        last_frame=0,
        first_time=message.t0 if first_time is None else first_time,
        last_time=message.t1,
        kind=kind_number(message.kind),
        feature=feature,
        crops=len(rows),
        quality=message.quality,
        picture=NO_PICTURE,
        seen=message.t1,
        plate=message.plate,
    )
