"""New sightings and changes as server-sent events (HTML standard, section 9.2), read from the gallery by their ids: they come the
same way whoever writes it, each once, and a client that reconnects goes on where it was."""

import asyncio
from collections.abc import AsyncGenerator

from vreid.serve import documents as doc
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.service import Service

EVERY_S = 1.0
SIGN_OF_LIFE_S = 15.0
PART = 200  # ids of a kind that are read at a time
MOST_BEHIND = 10_000  # ids of a kind that may wait for a client; beyond them an event says which ids are left out


async def events_of(service: Service, person: Person, last: str | None) -> AsyncGenerator[str, None]:
    """Each event's id is SIGHTING-CHANGE, the highest of both that were read; `last` is that of the last one that was received.

    The stream ends when the person's token does. Raises TooManyStreams.
    """
    reading = Reading(service.access, person)
    with service.followers.place():
        highest = await asyncio.to_thread(_highest, reading)
        place = (int(last.split("-")[0]), int(last.split("-")[1])) if last else highest
        yield f"retry: 3000\nid: {place[0]}-{place[1]}\n\n"
        missed, place = _missed(person, place, highest)
        if missed:
            yield missed
        quiet = 0.0
        while service.lets_in(person):
            text, place, more = await asyncio.to_thread(_part, reading, *place)
            quiet = 0.0 if text else quiet + EVERY_S
            if quiet >= SIGN_OF_LIFE_S:
                text, quiet = f": here\nid: {place[0]}-{place[1]}\n\n", 0.0
            if text:
                yield text
            await asyncio.sleep(0 if more else EVERY_S)


def _highest(reading: Reading) -> tuple[int, int]:
    """The last ids of sightings and changes."""
    with reading.access.reading() as gallery, gallery.reading() as store:
        changes = store.changes(1)
        return store.last_sighting_id(), changes[-1].id if changes else 0


def _missed(person: Person, place: tuple[int, int], highest: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """An event for each kind of which ids are left out, and where the others begin."""
    text, (sighting, change) = "", place
    if gap := _gap(sighting, highest[0]):
        sighting = gap[1]
        text += _event("missed", (sighting, change), doc.Missed(of="sightings", after=gap[0], until=gap[1]))
    if not person.cameras and (gap := _gap(change, highest[1])):
        change = gap[1]
        text += _event("missed", (sighting, change), doc.Missed(of="changes", after=gap[0], until=gap[1]))
    return text, (sighting, change)


def _gap(place: int, highest: int) -> tuple[int, int] | None:
    """Between which ids they are left out: too many are waiting, or, where a backup was put back since, all of them."""
    if place > highest:
        return 0, highest
    return (place, highest - MOST_BEHIND) if place < highest - MOST_BEHIND else None


def _part(reading: Reading, sighting: int, change: int) -> tuple[str, tuple[int, int], bool]:
    """The next events, the oldest first; the highest ids that were read, also of what the person may not see; whether to read on
    at once."""
    limited = bool(reading.person.cameras)
    with reading.access.reading() as gallery, gallery.reading() as store:
        every = store.sightings_after(sighting, PART)
        rows = [] if limited else store.changes_after(change, PART)
        seen = [one for one in every if reading.person.sees(one.camera)]
        names = store.names({one.vehicle for one in seen})
    text = ""
    for one in reading.sightings_of(seen, names):
        text += _event("sighting", (one.id, change), one)
    sighting = every[-1].id if every else sighting
    for row in map(reading.change_of, rows):
        change = row.id
        text += _event("change", (sighting, change), row)
    return text, (sighting, change), PART in (len(every), len(rows))


def _event(kind: str, place: tuple[int, int], data: doc.Document) -> str:
    return f"event: {kind}\nid: {place[0]}-{place[1]}\ndata: {data.model_dump_json()}\n\n"
