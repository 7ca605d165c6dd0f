"""What an account of the NATS server must be allowed, and no more: a box its own sightings and identities, a centre the rest."""

import json
from dataclasses import dataclass

from vreid.fleet.picture_store import ABOUT, CONTENT
from vreid.fleet.picture_store import STREAM as BUCKET_STREAM
from vreid.fleet.streams import STREAM
from vreid.fleet.subjects import IDENTITY, VERSION, consumer_of, identities_of, subjects_of_box, token_of

_API = "$JS.API"


@dataclass(frozen=True)
class Rights:
    """Subjects, with wildcards, that an account may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def as_config(self) -> str:
        """As it stands in the server's configuration, behind a user's name and password."""
        allowed = ", ".join(
            f"{what}: {{ allow: {json.dumps(list(subjects))} }}" for what, subjects in vars(self).items()
        )
        return f"permissions: {{ {allowed} }}"


def of_box(box: str, region: str, stream: str = STREAM) -> Rights:
    """To add pictures, and sightings in its own name, and to read what is for it. A box's answers come at an inbox of its own,
    since who may subscribe to all reads what others are sent."""
    consumer = f"{stream}.{consumer_of(box)}"
    return Rights(
        publish=(
            subjects_of_box(region, box),
            f"{CONTENT}.*",
            f"{ABOUT}.*",
            f"{_API}.STREAM.NAMES",
            f"{_API}.CONSUMER.CREATE.{consumer}.{identities_of(box)}",  # the server compares it with what is in the request
            f"{_API}.CONSUMER.INFO.{consumer}",
            f"{_API}.CONSUMER.MSG.NEXT.{consumer}",
            f"$JS.ACK.{consumer}.>",
        ),
        subscribe=(f"_INBOX.{token_of(box)}.>",),
    )


def of_centre(stream: str = STREAM) -> Rights:
    """To read all sightings and pictures, to send identities, and to erase messages; not to change or remove a stream."""
    reading = ("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT")
    return Rights(
        publish=(
            f"{VERSION}.{IDENTITY}.*",
            f"{_API}.STREAM.NAMES",
            *(f"{_API}.CONSUMER.{what}.{stream}" for what in ("LIST", "NAMES", "CREATE")),
            *(f"{_API}.{what}.{stream}.>" for what in reading),
            *(
                f"{_API}.STREAM.{what}.{of}"
                for of in (stream, BUCKET_STREAM)
                for what in ("INFO", "MSG.GET", "MSG.DELETE")
            ),
            *(f"{_API}.DIRECT.GET.{of}" for of in (stream, BUCKET_STREAM)),
            *(f"{_API}.DIRECT.GET.{of}.>" for of in (stream, BUCKET_STREAM)),
            f"$JS.ACK.{stream}.>",
            f"$JS.FC.{stream}.>",
        ),
        subscribe=("_INBOX.>",),
    )
