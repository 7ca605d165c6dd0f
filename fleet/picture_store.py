"""Putting a picture into NATS's object store by two messages, so that a box needs no right but to publish there.

The layout is that of ADR-20 of NATS, as its clients read it: the content, and a message about it. What nats-py does instead
looks for the object by a request that may read every message of the store, and replaces what it finds.
"""

import json
from base64 import urlsafe_b64encode
from datetime import datetime, timezone
from hashlib import sha256

from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import APIError, NoStreamResponseError

PICTURES = "vreid-pictures"  # the bucket
STREAM = f"OBJ_{PICTURES}"  # in which NATS keeps it
CONTENT, ABOUT = f"$O.{PICTURES}.C", f"$O.{PICTURES}.M"  # what the subjects of its messages begin with
_THERE = 10071  # the server's number for a subject that has another last message than was expected


class NoPictureStore(NoStreamResponseError):
    """The server has no such object store."""

    def __str__(self) -> str:
        return f"the server has no object store {PICTURES}; vreid fleet setup makes it"


async def put(stream: JetStreamContext, jpeg: bytes) -> None:
    """Add a picture under its SHA-256 unless it is there. Raises what nats-py raises, and NoPictureStore."""
    digest = sha256(jpeg)
    name = digest.hexdigest()
    about = {
        "name": name, "bucket": PICTURES, "nuid": name, "size": len(jpeg), "chunks": 1,
        "digest": f"SHA-256={urlsafe_b64encode(digest.digest()).decode()}", "mtime": datetime.now(timezone.utc).isoformat(),
        "options": {"max_chunk_size": len(jpeg)},
    }  # fmt: skip
    await _first(stream, content_of(name), jpeg)
    await _first(stream, about_of(name), json.dumps(about).encode())


def content_of(name: str) -> str:
    """The subject of a picture's bytes."""
    return f"{CONTENT}.{name}"


def about_of(name: str) -> str:
    """The subject of what is said about a picture."""
    return f"{ABOUT}.{urlsafe_b64encode(name.encode()).decode()}"


async def _first(stream: JetStreamContext, subject: str, body: bytes) -> None:
    """Publish where no message is; one that is there was published before."""
    try:
        await stream.publish(subject, body, headers={Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"})
    except NoStreamResponseError as error:
        raise NoPictureStore from error
    except APIError as error:
        if error.err_code != _THERE:
            raise
