"""New sightings and changes as server-sent events (HTML standard, section 9.2), read from the gallery: they come the same way
whoever writes it, and a client that reconnects goes on where it was."""

import asyncio
from collections.abc import AsyncIterator

from vreid.models.errors import Refused
from vreid.runtime.gallery.records import EVERYTHING
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.service import Service

EVERY_S = 1.0
SIGN_OF_LIFE_S = 15.0
MOST_FOLLOWERS = 64
_MOST = 200  # of a kind in one turn; who falls further behind gets the newest


class TooManyFollowers(Refused):
    """As many follow the events as are let in."""


class Followers:
    """How many follow the events now."""

    def __init__(self) -> None:
        self.count = 0

    def enter(self) -> None:
        """One more. Raises TooManyFollowers."""
        if self.count >= MOST_FOLLOWERS:
            raise TooManyFollowers(f"{MOST_FOLLOWERS} programs follow the events already; try again later")
        self.count += 1

    def leave(self) -> None:
        """One less."""
        self.count -= 1


async def events_of(service: Service, person: Person, last: str | None, followers: Followers) -> AsyncIterator[str]:
    """Each event's id is SIGHTING-CHANGE, the newest of both that were sent; `last` is that of the last one that was received.

    The stream ends when the person's token does.
    """
    reading = Reading(service.access, person)
    try:
        sighting, change = map(int, last.split("-")) if last else await asyncio.to_thread(_newest, reading)
        yield f"retry: 3000\nid: {sighting}-{change}\n\n"
        quiet = 0.0
        while _is_let_in(service, person):
            text, sighting, change = await asyncio.to_thread(_since, reading, sighting, change)
            quiet = 0.0 if text else quiet + EVERY_S
            if quiet >= SIGN_OF_LIFE_S:
                text, quiet = ": here\n\n", 0.0
            if text:
                yield text
            await asyncio.sleep(EVERY_S)
    finally:
        followers.leave()


def _is_let_in(service: Service, person: Person) -> bool:
    """Whether the token is still as it was when the stream began."""
    if person.session == "local":
        return service.open
    found = [token for token in service.tokens.tokens() if token.name == person.name]
    return bool(found) and (found[0].role, found[0].cameras) == (person.role, person.cameras)


def _newest(reading: Reading) -> tuple[int, int]:
    with reading.access.reading() as gallery:
        seen, changed = gallery.latest_sightings(limit=1), gallery.changes(1)
    return (seen[0].id if seen else 0), (changed[-1].id if changed else 0)


def _since(reading: Reading, sighting: int, change: int) -> tuple[str, int, int]:
    """The events after these, the oldest first, and the newest ids."""
    with reading.access.reading() as gallery, gallery.reading() as store:
        seen = gallery.latest_sightings(reading.allowed(EVERYTHING), limit=_MOST)
        seen = sorted((one for one in seen if one.id > sighting), key=lambda one: one.id)
        rows = [] if reading.person.cameras else [row for row in gallery.changes(_MOST) if row.id > change]
        names = store.names({one.vehicle for one in seen})
    text = ""
    for one in reading.sightings_of(seen, names):
        sighting = one.id
        text += f"event: sighting\nid: {sighting}-{change}\ndata: {one.model_dump_json()}\n\n"
    for row in map(reading.change_of, rows):
        change = row.id
        text += f"event: change\nid: {sighting}-{change}\ndata: {row.model_dump_json()}\n\n"
    return text, sighting, change
