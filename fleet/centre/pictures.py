"""Pictures of sightings, taken out of the object store into the gallery."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from vreid.fleet.centre.objects import Objects
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.status import Counts
from vreid.fleet.messages import picture_name
from vreid.models.errors import Refused
from vreid.models.picture import small_jpeg
from vreid.runtime.gallery import Gallery

_LOG = logging.getLogger("vreid")
_MOST_BYTES, _MOST_PIXELS = 100_000, 1 << 20  # of a thumbnail, which a box makes of at most 160 x 160 pixels
_LATELY_S, _LONG_S = (
    600.0,
    7 * 86400.0,
)  # how old sightings are whose pictures are sought at each look, and now and then
_SELDOM_S = 600.0
_FIRST_S, _LAST_S = 5.0, 60.0  # after which one that was not there is looked for again: twice as long each time
_AT_ONCE = 256
_TOGETHER = 16  # are read side by side, put by one transaction, and erased side by side


class _Wait(NamedTuple):
    """Until when one is not looked for, by the clock that only rises, and for how many seconds."""

    until: float
    seconds: float


class Pictures:
    """For one resolver. A picture stays in the object store until it is in the gallery, and is looked for until it comes: often
    for ten minutes after its sighting, then now and then for a week. The newest come first, since people look at these, and those
    that do not come hold up no others. One of a sighting that was removed meanwhile is deleted."""

    def __init__(self, gallery: Gallery, objects: Objects, epoch: int, counts: Counts) -> None:
        self._gallery, self._objects, self._epoch, self._counts = gallery, objects, epoch, counts
        self._due = 0.0
        self._passed_over: dict[str, _Wait] = {}  # those that were not there

    async def take(self) -> bool:
        """Those that are there, some at a time; whether there were any. Raises CentreAway and LeaseLost."""
        now = time.monotonic()
        seldom = now >= self._due
        if seldom:
            self._passed_over = {name: wait for name, wait in self._passed_over.items() if wait.until > now}
        most = 20 * _AT_ONCE if seldom else _AT_ONCE
        limit = most + len(self._passed_over)
        with self._gallery.reading() as store:
            since = time.time() - (_LONG_S if seldom else _LATELY_S)
            names = inbox_of(store).missing_pictures(limit, since)
        if seldom and len(names) < limit:  # else there are older ones yet
            self._due = now + _SELDOM_S
        found = 0
        due = [name for name in names if name not in self._passed_over or self._passed_over[name].until <= now][:most]
        for first in range(0, len(due), _TOGETHER):
            found += await self._take(due[first : first + _TOGETHER], now)
        return found > 0

    async def _take(self, names: Sequence[str], now: float) -> int:
        """How many of these were there. They are in the gallery before they leave the object store."""
        jpegs = await asyncio.gather(*(self._objects.read(name, _MOST_BYTES) for name in names))
        there = {name: jpeg for name, jpeg in zip(names, jpegs, strict=True) if jpeg is not None}
        for name in names:
            if name in there:
                self._passed_over.pop(name, None)
            else:
                before = self._passed_over.get(name, _Wait(0.0, _FIRST_S / 2))
                seconds = min(2 * before.seconds, _LAST_S)
                self._passed_over[name] = _Wait(now + seconds, seconds)
        if sound := {name: jpeg for name, jpeg in there.items() if self._is_sound(name, jpeg)}:
            with self._gallery.transaction() as store:
                inbox = inbox_of(store)
                inbox.refuse_other_epoch(self._epoch)
                put = sum(inbox.put_picture(name, jpeg) for name, jpeg in sound.items())
            self._counts.pictures += put
        await asyncio.gather(*map(self._objects.erase, there))
        return len(there)

    def _is_sound(self, name: str, jpeg: bytes) -> bool:
        try:
            small_jpeg(jpeg, name, _MOST_BYTES, _MOST_PIXELS)
            if picture_name(jpeg) != name:
                raise Refused(f"the picture {name} is not what its name says")
        except Refused as refused:
            self._counts.bad_pictures += 1
            _LOG.warning("centre: %s; it is deleted from the object store", refused)
            return False
        return True
