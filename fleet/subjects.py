"""The subjects of messages: v1.REGION.BOX.CAMERA, any names written so that NATS takes them, and read back."""

import hashlib
import re
from typing import NamedTuple

from vreid.models.errors import Refused, shown

VERSION = "v1"
IDENTITY = "identity"  # the part of a subject that stands for messages to boxes; no region has this name
SIGHTINGS = f"{VERSION}.*.*.*"  # all that boxes send
STREAM_SUBJECTS = (SIGHTINGS, f"{VERSION}.{IDENTITY}.*")  # what the centre's stream takes
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")
_TOKEN = re.compile(r"(?:[A-Za-z0-9_-]|%[0-9A-F]{2})+")
_LONGEST = 200  # characters in the name of a consumer, which is also that of a folder
_EMPTY = "%"  # what no other name becomes


def token_of(name: str) -> str:
    """A name of any script as a part of a subject: other bytes of its UTF-8 than ASCII letters, digits, "_" and "-" become %XX."""
    if not name:
        return _EMPTY
    return "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in name.encode("utf-8", "replace")
    )


def name_of(token: str) -> str:
    """The name that `token_of` has made a part of a subject of. Raises Refused for another text."""
    if token == _EMPTY:
        return ""
    if _TOKEN.fullmatch(token) is None:
        raise Refused(f"'{shown(token)}' is not a name in a subject; other characters are written %XX there")
    try:
        return re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), token.encode()).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"'{shown(token)}' is not a name in a subject, since it is not UTF-8") from error


class Source(NamedTuple):
    """Of which region, box and camera a message is; the camera is empty where it is about none."""

    region: str
    box: str
    camera: str


def subject_of(region: str, box: str, camera: str) -> str:
    """Where a box's messages about a camera go; those about none have an empty name."""
    return f"{subjects_of_box(region, box).removesuffix('*')}{token_of(camera)}"


def subjects_of_box(region: str, box: str) -> str:
    """Where all messages of a box go, and none of another box."""
    return f"{VERSION}.{token_of(region)}.{token_of(box)}.*"


def subjects_of_region(region: str) -> str:
    """Where all messages of a region's boxes go."""
    return f"{VERSION}.{token_of(region)}.*.*"


def identities_of(box: str) -> str:
    """Where the centre's messages to a box go; no region is called IDENTITY."""
    return f"{VERSION}.{IDENTITY}.{token_of(box)}"


def consumer_of(box: str) -> str:
    """The name of a box's consumer of its identities: "=" in place of "%", of which nats-server makes wrong subjects; a hash in
    place of a name that is too long for it."""
    token = token_of(box).replace("%", "=")
    return f"box-{token if len(token) <= _LONGEST else hashlib.sha256(token.encode()).hexdigest()}"


def is_of_centre(subject: str) -> bool:
    """Whether a message of this subject was sent by a centre, to a box."""
    return subject.startswith(f"{VERSION}.{IDENTITY}.")


def source_of(subject: str) -> Source:
    """The names in the subject of a box's message. Raises Refused for one of another form."""
    version, *names = subject.split(".")
    if len(names) != 3 or version != VERSION:
        raise Refused(f"'{shown(subject)}' is not a subject of sightings; they are {VERSION}.REGION.BOX.CAMERA")
    return Source(*map(name_of, names))
