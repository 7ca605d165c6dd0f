"""The subjects of messages: v1.REGION.CAMERA, any names written so that NATS takes them, and read back."""

import hashlib
import re

from vreid.models.errors import Refused, shown

VERSION = "v1"
IDENTITY = "identity"  # the part of a subject that stands for messages to boxes; no region has this name
STREAM_SUBJECTS = f"{VERSION}.*.*"  # what the centre's stream takes
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


def subject_of(region: str, camera: str) -> str:
    """Where messages about a camera go; those about none have an empty name."""
    return f"{VERSION}.{token_of(region)}.{token_of(camera)}"


def identities_of(box: str) -> str:
    """Where the centre's messages to a box go; no region is called IDENTITY."""
    return f"{VERSION}.{IDENTITY}.{token_of(box)}"


def consumer_of(box: str) -> str:
    """The name of a box's consumer of its identities: "=" in place of "%", of which nats-server makes wrong subjects; a hash in
    place of a name that is too long for it."""
    token = token_of(box).replace("%", "=")
    return f"box-{token if len(token) <= _LONGEST else hashlib.sha256(token.encode()).hexdigest()}"


def region_and_camera(subject: str) -> tuple[str, str]:
    """The names in a subject. Raises Refused for one of another form."""
    parts = subject.split(".")
    if len(parts) != 3 or parts[0] != VERSION:
        raise Refused(f"'{shown(subject)}' is not a subject of sightings; they are {VERSION}.REGION.CAMERA")
    return name_of(parts[1]), name_of(parts[2])
