"""The object store of pictures, message by message: what is deleted there is overwritten, its chunks and its name too."""

import json
from collections.abc import AsyncIterator

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from vreid.fleet.link import ANSWER_S, Reasons
from vreid.fleet.picture_store import STREAM as BUCKET_STREAM
from vreid.fleet.picture_store import about_of, content_of

_NOT_DELETED, _GONE = 10057, "no message found"  # the server's number and words for a message that is not there


class Objects:
    """Every method raises CentreAway. The layout is that of ADR-20 of NATS: a message of metadata an object, and its chunks."""

    def __init__(self, client: Client) -> None:
        self._stream: JetStreamContext = client.jetstream(timeout=ANSWER_S)

    async def read(self, name: str, most: int) -> bytes | None:
        """An object of at most `most` bytes, a longer one cut there; None: there is none, or not all of it."""
        async with Reasons():
            size = await self._size(name)
            if size is None:
                return None
            parts, room = list[bytes](), min(size, most + 1)
            async for _, chunk in self._messages(content_of(name)):
                parts.append(chunk)
                if sum(map(len, parts)) >= room:
                    return b"".join(parts)[: most + 1]
            return None if room else b""

    async def erase(self, name: str) -> None:
        """Overwrite an object, and what a box left of one that it did not finish."""
        async with Reasons():
            await self._erase_all(content_of(name))
            await self._erase_all(about_of(name))

    async def _size(self, name: str) -> int | None:
        """By what is said about an object, which any box may have written: its content is taken from its own subject alone."""
        try:
            found = json.loads((await self._stream.get_last_msg(BUCKET_STREAM, about_of(name))).data or b"")
        except (NotFoundError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("deleted") or found.get("nuid") != name:
            return None
        size = found.get("size")
        return size if type(size) is int and size >= 0 else None

    async def _erase_all(self, subject: str) -> None:
        async for number, _ in self._messages(subject):
            try:
                await self._stream.delete_msg(BUCKET_STREAM, number)
            except APIError as error:
                if error.err_code != _NOT_DELETED or _GONE not in (error.description or ""):
                    raise  # else another region has erased the same picture meanwhile

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
