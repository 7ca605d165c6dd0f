"""A bound on answers that go on: a place is taken before the answer begins, and given back however it ends."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")

from vreid.models.errors import NotFound
from vreid.serve.streams import Bound, TooManyStreams, begun


async def numbers(bound: Bound, count: int = 3) -> AsyncGenerator[int, None]:
    with bound.place():
        for number in range(count):
            yield number


def test_a_place_is_taken_before_the_answer_begins_and_given_back_however_it_ends() -> None:
    async def steps() -> None:
        bound = Bound(1, "answers go on")
        parts = await begun(numbers(bound))
        with pytest.raises(TooManyStreams, match="1 answers go on already"):
            await begun(numbers(bound))
        assert [part async for part in parts] == [0, 1, 2] and bound.count == 0
        async with aclosing(await begun(numbers(bound))) as parts:
            assert await anext(parts) == 0 and bound.count == 1
        assert bound.count == 0
        parts = await begun(numbers(bound))  # whoever wanted it has left before its first part was sent
        assert bound.count == 1
        del parts
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        assert bound.count == 0
        with pytest.raises(NotFound, match="has just ended"):
            await begun(numbers(bound, 0))
        assert bound.count == 0

    asyncio.run(steps())
