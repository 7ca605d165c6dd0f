"""Sends what waits in a gallery's outbox to the centre, and receives its answers, in a thread of its own, for which nothing else
ever waits."""

import asyncio
import logging
import random
import threading
import time
from dataclasses import dataclass

from vreid.fleet.link import CentreAway, CentreLink, connected, ended
from vreid.fleet.messages import message_of
from vreid.fleet.receiver import Receiver, outbox_of
from vreid.models.errors import VreidError
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.identities import IdentitySizes
from vreid.runtime.gallery.outbox import OutboxSizes
from vreid.runtime.network_address import shown_address
from vreid.runtime.session import FleetSettings
from vreid.runtime.sources.live import pauses
from vreid.runtime.status import FleetStatus

_LOG = logging.getLogger("vreid")
_WINDOW = 128  # messages that are on their way at once
_PICTURES = 32
_LOOK_S = 0.25  # how soon a new message is noticed
_SIZES_S = 2.0  # how often, at most, the sizes are looked at, and the bound is kept
_GRACE_S = 6.0  # over that of an acknowledgement


@dataclass
class _Counts:
    sent: int = 0
    pictures: int = 0
    retries: int = 0
    alive: bool = False


class Sender:
    """Used from `start` to `close`, or for `send_all` alone, without a thread.

    Messages leave in order. A row of the outbox is dropped when JetStream has acknowledged the message, and only then; a
    picture's when the object store has. A centre that is away is tried again after 0.5 s, then twice as long each time, up to
    30 s. What was not sent when a run ends stays in the gallery for the next.
    """

    def __init__(self, settings: FleetSettings, gallery: Gallery) -> None:
        self._settings, self._gallery = settings, gallery
        self._counts, self._sizes, self._answers = _Counts(), OutboxSizes(), IdentitySizes()
        self._receiver = Receiver(settings.box, gallery)
        self._due = 0.0  # when the sizes are looked at next
        self._over = threading.Event()
        self._reported = ""
        self._where = shown_address(settings.server)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="fleet", daemon=True)

    def start(self) -> None:
        """Begin to seek the centre."""
        self._thread.start()

    def close(self) -> None:
        """Stop, within some seconds; what waits stays in the gallery."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(_GRACE_S)

    def status(self) -> FleetStatus:
        """The counters, and what waited some seconds ago at most."""
        counts, sizes = self._counts, self._sizes
        lag = 0.0 if sizes.oldest is None else max(0.0, time.time() - sizes.oldest / 1e6)
        return FleetStatus(
            counts.alive, counts.sent, counts.pictures, counts.retries, sizes.messages, sizes.pictures, sizes.bytes,
            self._settings.room, sizes.dropped_messages, sizes.dropped_pictures, lag, self._receiver.received,
            self._answers.unanswered, self._answers.heard or 0.0,
        )  # fmt: skip

    def send_all(self) -> FleetStatus:
        """Send all that waits, and take all answers that are there, once. Raises CentreAway where not all of it was taken, and
        Refused for a gallery without outbox."""
        asyncio.run(self._send_all())
        return self.status()

    async def _send_all(self) -> None:
        self._look()
        async with connected(self._settings) as link:
            while await self._pass_on(link):
                pass
            await self._receiver.take_all(link)
        self._look()

    async def _work(self) -> None:
        """The thread: only it touches the connection. Whatever fails is tried again: nobody else sends what waits."""
        waits, pause = pauses(0.5, 30.0, random.Random()), 0.0
        while not self._over.is_set():
            try:
                await self._rest(pause)
                self._keep_bound()
                async with connected(self._settings) as link:
                    receiving = asyncio.create_task(self._receiver.listen(link))
                    try:
                        while not self._over.is_set():
                            if receiving.done():
                                receiving.result()  # what it failed with
                            await self._turn(link)
                            waits = pauses(0.5, 30.0, random.Random())
                    finally:
                        await ended(receiving)
            except CentreAway as away:
                self._missed(str(away))
            except (VreidError, OSError) as refused:  # the gallery is locked, damaged, full or was moved
                self._missed(f"the outbox cannot be read ({refused})")
            except Exception as fault:  # noqa: BLE001  a mistake of this program, at one message perhaps
                self._missed(f"this program failed ({type(fault).__name__}: {fault}), which is to be reported", fault)
            pause = next(waits)

    async def _turn(self, link: CentreLink) -> None:
        """Send what waits now. Raises CentreAway."""
        self._keep_bound()
        if not await self._pass_on(link):
            if self._sizes.oldest is not None:
                self._look()
            await self._rest(_LOOK_S)
        if not link.is_open:
            raise CentreAway("the connection was lost")
        self._reached()

    async def _pass_on(self, link: CentreLink) -> bool:
        """One batch of messages, and one of pictures -> whether there was anything. Raises CentreAway."""
        with self._gallery.reading() as store:
            waiting = outbox_of(store).messages(_WINDOW)
        if waiting:
            about = self._gallery.about.fingerprint
            stored, reason = await link.publish([message_of(each, self._settings.box, about) for each in waiting])
            self._drop(stored)
            self._counts.sent += len(stored)
            if reason is not None:
                raise CentreAway(reason)
        with self._gallery.reading() as store:
            pictures = outbox_of(store).pictures(_PICTURES)
        done = []
        try:
            for number, jpeg in pictures:
                await link.put_picture(jpeg)
                done.append(number)
        finally:
            self._drop(done)
            self._counts.pictures += len(done)
        return bool(waiting or pictures)

    def _drop(self, numbers: list[int]) -> None:
        if numbers:
            with self._gallery.transaction() as store:
                outbox_of(store).drop(numbers)

    def _keep_bound(self) -> None:
        """From time to time look how much waits, and drop what has no room."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _SIZES_S  # also where it cannot be looked at
        self._look()
        if self._sizes.bytes > self._settings.room:
            with self._gallery.transaction() as store:
                pictures, messages = outbox_of(store).trim(self._settings.room)
            if pictures or messages:  # else only what is never dropped waits
                said = "fleet: more waits than [fleet] room; %d pictures and %d messages, the oldest, are dropped"
                _LOG.warning(said, pictures, messages)
                self._look()

    def _look(self) -> None:
        began = time.monotonic()
        with self._gallery.reading() as store:
            self._sizes, answers = outbox_of(store).sizes(), store.identities()
            self._answers = IdentitySizes() if answers is None else answers.sizes()
        now = time.monotonic()
        self._due = now + max(_SIZES_S, 50 * (now - began))  # of millions of rows it takes a moment, which others wait

    def _reached(self) -> None:
        if not self._counts.alive:
            _LOG.info("fleet: %s is there%s", self._where, " again" if self._reported else "")
        self._counts.alive, self._reported = True, ""

    def _missed(self, reason: str, fault: Exception | None = None) -> None:
        """Count an attempt, and say why it failed unless that was just said."""
        self._counts.alive = False
        self._counts.retries += 1
        if reason != self._reported:
            _LOG.warning(
                "fleet: %s: %s; it is tried again, what is to be sent waits in the gallery",
                self._where,
                reason,
                exc_info=fault,
            )
        self._reported = reason

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until `close`."""
        end = time.monotonic() + seconds
        while not self._over.is_set() and time.monotonic() < end:
            self._keep_bound()
            await asyncio.sleep(min(0.1, seconds))
