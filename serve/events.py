"""New sightings and changes as server-sent events (HTML standard, section 9.2), read from the gallery: they come the same way
whoever writes it, and a client that reconnects goes on where it was."""

import asyncio
from collections.abc import AsyncIterator

from vreid.runtime.gallery.records import Filter
from vreid.serve.reading import Reading

EVERY_S = 1.0
SIGN_OF_LIFE_S = 15.0
_MOST = 200  # of a kind in one turn; who falls further behind gets the newest


async def events_of(reading: Reading, last: str | None) -> AsyncIterator[str]:
    """Each event's id is SIGHTING-CHANGE, the newest of both that were sent; `last` is that of the last one that was received."""
    sighting, change = map(int, last.split("-")) if last else await asyncio.to_thread(_newest, reading)
    yield f"retry: 3000\nid: {sighting}-{change}\n\n"
    quiet = 0.0
    while True:
        text, sighting, change = await asyncio.to_thread(_since, reading, sighting, change)
        quiet = 0.0 if text else quiet + EVERY_S
        if quiet >= SIGN_OF_LIFE_S:
            text, quiet = ": here\n\n", 0.0
        if text:
            yield text
        await asyncio.sleep(EVERY_S)


def _newest(reading: Reading) -> tuple[int, int]:
    with reading.access.reading() as gallery:
        seen, changed = gallery.latest_sightings(limit=1), gallery.changes(1)
    return (seen[0].id if seen else 0), (changed[-1].id if changed else 0)


def _since(reading: Reading, sighting: int, change: int) -> tuple[str, int, int]:
    """The events after these, the oldest first, and the newest ids."""
    text = ""
    found = reading.sightings(Filter(), None, _MOST).items
    for one in sorted((one for one in found if one.id > sighting), key=lambda one: one.id):
        sighting = one.id
        text += f"event: sighting\nid: {sighting}-{change}\ndata: {one.model_dump_json()}\n\n"
    if not reading.person.cameras:
        rows = reading.changes(None, None, _MOST).items
        for row in sorted((row for row in rows if row.id > change), key=lambda row: row.id):
            change = row.id
            text += f"event: change\nid: {sighting}-{change}\ndata: {row.model_dump_json()}\n\n"
    return text, sighting, change
