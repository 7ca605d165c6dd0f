"""The messages that a box sends: their form, version 1, of which docs/fleet.schema.json is made, and making one."""

import hashlib
from base64 import b64decode, b64encode
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vreid.models.errors import Refused, shown
from vreid.runtime.gallery.names import printable
from vreid.runtime.gallery.outbox import MOVED, NEW, REMOVED, OutboxMessage
from vreid.runtime.gallery.records import LAST_MOMENT

SCHEMA = 1
MOST_PROTOTYPES = 8
Moment = Annotated[float, Field(ge=0, lt=LAST_MOMENT, description="Seconds since 1970.")]
Id = Annotated[int, Field(ge=1, lt=1 << 63)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema", description="The version of this form.")
    box: str = Field(description="The name of the box.")
    seq: Id = Field(
        description="Rises within a gallery of the box, with gaps; (box, sighting or vehicle, seq) is the message."
    )
    fingerprint: str = Field(description="Of the embedding space of the features.")
    vehicle: Id = Field(description="The box's own vehicle, by a number that no other one of the box ever has.")


class SightingMessage(_Message):
    """A sighting as it was when the message was sent; `changed` replaces what was sent of the same one before."""

    what: Literal["sighting", "changed"]
    sighting: Id = Field(description="The sighting, by a number that no other one of the box ever has.")
    camera: str
    t0: Moment
    t1: Moment
    kind: str | None = Field(description="car, truck, bus, motorcycle or vehicle.")
    prototypes: list[Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]] = Field(
        max_length=MOST_PROTOTYPES,
        description="Features of unit length, float16, little-endian; none where none was kept.",
    )
    quality: float = Field(ge=0, le=1)
    plate: str | None = Field(description="What a reader of licence plates has read.")
    thumbnail: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        description="SHA-256 of its picture, a JPEG, which is the picture's name in the object store."
    )

    def features(self) -> NDArray[np.float16]:
        """(N, D), N from 0 to 8. Raises Refused where they are not of one length."""
        try:
            rows = [np.frombuffer(b64decode(text, validate=True), "<f2") for text in self.prototypes]
            return np.stack(rows).astype(np.float16) if rows else np.zeros((0, 0), np.float16)
        except ValueError as error:
            raise Refused(f"the features of message {self.box}:{self.seq} cannot be read ({error})") from error


class MovedMessage(_Message):
    """A sighting that is not at the box any more was given to this vehicle before it went, which was not sent in time."""

    what: Literal["moved"]
    sighting: Id = Field(description="The sighting, by the number that the box has given it.")


class RemovalMessage(_Message):
    """A vehicle of the box was removed for good, with all its sightings; what was sent of them is to be deleted."""

    what: Literal["removed"]


BoxMessage: TypeAlias = SightingMessage | MovedMessage | RemovalMessage
Message = Annotated[BoxMessage, Field(discriminator="what")]
MESSAGE: TypeAdapter[BoxMessage] = TypeAdapter(Message)


class IdentityMessage(BaseModel):
    """What the centre says of a sighting of a box; a later one about the same sighting replaces it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(alias="schema", description="The version of this form.")
    what: Literal["identity", "removed"] = Field(
        description="removed: the sighting was removed for good at the centre and is to be removed at the box."
    )
    region: str
    epoch: Id = Field(description="Of the resolver that has sent it; it rises with each of a region.")
    number: Id = Field(
        description="Of two about one sighting from one region, the one of the greater (epoch, number) counts."
    )
    sighting: Id = Field(description="The sighting, by the number that the box has given it.")
    vehicle: Id | None = Field(description="The vehicle's id in the region; none for what was removed.")
    name: str | None = Field(description="The vehicle's name in the region.")


def message_of(waiting: OutboxMessage, box: str, fingerprint: str) -> BoxMessage:
    """What is sent of one that waits. Raises Refused for a sighting that is damaged."""
    try:
        return _message_of(waiting, box, fingerprint)
    except ValidationError as error:
        fix = "repair the gallery with 'vreid gallery check --repair'"
        raise Refused(f"sighting {waiting.sighting} cannot be sent ({error.errors()[0]['msg']}); {fix}") from error


def _message_of(waiting: OutboxMessage, box: str, fingerprint: str) -> BoxMessage:
    about = {"schema": SCHEMA, "box": box, "seq": waiting.seq, "fingerprint": fingerprint}
    about["vehicle"] = waiting.vehicle_number
    row = waiting.row
    if row is None and waiting.sighting is not None:
        return MovedMessage.model_validate({**about, "what": MOVED, "sighting": waiting.sighting_number})
    if row is None:
        return RemovalMessage.model_validate({**about, "what": REMOVED})
    return SightingMessage.model_validate(
        {
            **about,
            "what": NEW if waiting.what == NEW else "changed",
            "sighting": waiting.sighting_number,
            "camera": row.camera,
            "t0": max(0.0, row.seen - max(0.0, row.last_time - row.first_time)),
            "t1": row.seen,
            "kind": row.kind,
            "prototypes": [] if row.feature is None else [b64encode(row.feature.astype("<f2").tobytes()).decode()],
            "quality": row.quality,
            "plate": row.plate,
            "thumbnail": None if row.thumbnail is None else picture_name(row.thumbnail),
        }
    )


def number_of(message: BoxMessage) -> str:
    """What the server knows a message by when it comes again. Nobody else can guess it, and use it first."""
    about = message.vehicle if isinstance(message, RemovalMessage) else message.sighting
    return f"{message.box}:{about}:{message.seq}"


def as_bytes(message: BoxMessage) -> bytes:
    """JSON, in UTF-8."""
    return message.model_dump_json(by_alias=True).encode()


def read_message(body: bytes) -> BoxMessage:
    """The message of `body`. Raises Refused for what is not one, or of another version."""
    try:
        return MESSAGE.validate_json(body)
    except ValidationError as error:
        raise Refused(f"this is not a message of a box in version {SCHEMA} ({fault_in(error)})") from error


def read_identity(body: bytes) -> IdentityMessage:
    """What a centre has sent to a box. Raises Refused for what is not that, or of another version."""
    try:
        found = IdentityMessage.model_validate_json(body)
    except ValidationError as error:
        raise Refused(f"this is not a message of a centre in version {SCHEMA} ({fault_in(error)})") from error
    is_removed = found.what == REMOVED
    if is_removed != (found.vehicle is None) or is_removed != (found.name is None):
        raise Refused(f"a message of a centre about an {found.what} lacks a vehicle, or has one too many")
    for name in (found.region, found.name):
        if name is not None:
            printable(name)
    return found


def fault_in(error: ValidationError) -> str:
    """The first fault, where it is and what it is; both may repeat the sender's words, however long."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return shown(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", 160)


def picture_name(jpeg: bytes) -> str:
    """What a picture is called in the object store."""
    return hashlib.sha256(jpeg).hexdigest()
