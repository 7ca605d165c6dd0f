"""Answers that go on until whoever takes them lets go: how many there are at a time, and what is refused before one begins."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TypeVar

from vreid.models.errors import NotFound, Refused

MOST_FOLLOWERS = 64
MOST_VIEWERS = 32
Part = TypeVar("Part")


class TooManyStreams(Refused):
    """As many answers of this sort go on as are let in."""


class Bound:
    """At most so many at a time, in one event loop."""

    def __init__(self, most: int, what: str) -> None:
        """`what` goes on, in the words of the error."""
        self._most, self._what, self.count = most, what, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of them, inside. Raises TooManyStreams."""
        if self.count >= self._most:
            raise TooManyStreams(f"{self._most} {self._what} already; try again later")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def begun(parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    """The same parts, of which the first is there: what it raises is raised here, before the answer begins. Raises NotFound where
    there is none: what was there a moment ago has gone."""
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        raise NotFound("what was to be followed has just ended") from None
    return _following(first, parts)


async def _following(first: Part, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    """What is refused later ends the answer: its status has been sent, and whoever asks again gets the error."""
    with suppress(Refused):
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part
