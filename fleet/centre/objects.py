"""The object store of pictures, message by message: what is deleted there is overwritten, its chunks and its name too."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from vreid.fleet.link import ANSWER_S, Reasons
from vreid.fleet.picture_store import PICTURES
from vreid.fleet.picture_store import STREAM as BUCKET_STREAM


class Objects:
    """Every method raises CentreAway. The layout is that of ADR-20 of NATS: a message of metadata an object, and its chunks."""

    def __init__(self, client: Client) -> None:
        self._stream: JetStreamContext = client.jetstream(timeout=ANSWER_S)

    async def read(self, name: str, most: int) -> bytes | None:
        """An object of at most `most` bytes, a longer one cut there; None: there is none, or not all of it."""
        async with Reasons():
            about = await self._about(name)
            if about is None:
                return None
            parts, room = list[bytes](), min(int(about["size"]), most + 1)
            async for _, chunk in self._messages(_chunks(about)):
                parts.append(chunk)
                if sum(map(len, parts)) >= room:
                    return b"".join(parts)[: most + 1]
            return None if room else b""

    async def erase(self, name: str) -> None:
        """Overwrite an object, if it is there: its chunks first, so that none is left without its metadata."""
        async with Reasons():
            about = await self._about(name)
            if about is not None and about.get("nuid"):
                await self._erase_all(_chunks(about))
            await self._erase_all(_metadata(name))

    async def _about(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((await self._stream.get_last_msg(BUCKET_STREAM, _metadata(name))).data or b"")
        except (NotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) and not found.get("deleted") else None

    async def _erase_all(self, subject: str) -> None:
        async for number, _ in self._messages(subject):
            await self._stream.delete_msg(BUCKET_STREAM, number)

    async def _messages(self, subject: str) -> AsyncIterator[tuple[int, bytes]]:
        """The messages of a subject, with their numbers, in order."""
        number = 0
        while True:
            try:
                found = await self._stream.get_msg(BUCKET_STREAM, number + 1, subject, next=True)
            except NotFoundError:
                return
            number = found.seq or number + 1
            yield number, found.data or b""


def _metadata(name: str) -> str:
    return f"$O.{PICTURES}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _chunks(about: dict[str, Any]) -> str:
    return f"$O.{PICTURES}.C.{about['nuid']}"
