"""Takes what a centre says of a box's sightings from its log, in the sender's thread: kept in the gallery, then acknowledged."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo

from vreid.fleet.link import ANSWER_S, CentreAway, CentreLink, Reasons
from vreid.fleet.messages import IdentityMessage, read_identity
from vreid.fleet.subjects import consumer_of, identities_of
from vreid.models.errors import Refused, VreidError
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.clean import erase_traces
from vreid.runtime.gallery.identities import CentreIdentity, Identities
from vreid.runtime.gallery.index.table import drop_indexes
from vreid.runtime.gallery.outbox import Outbox
from vreid.runtime.gallery.store import Store
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery
from vreid.runtime.sources.live import pauses

_LOG = logging.getLogger("vreid")
WHO = "centre"  # as the audit calls it
_BATCH = 128
_WAIT_S = 20.0  # for the first message of a batch
_AGAIN_S = 10.0  # after which the server sends again what was not acknowledged


class Receiver:
    """An identity names a sighting, and merges, splits or moves nothing. A removal removes the sighting here for good, overwritten
    in the files as a purge does it, and is not sent back. What was kept is acknowledged, and only then; what comes again changes
    nothing."""

    def __init__(self, box: str, gallery: Gallery) -> None:
        self._box, self._gallery = box, gallery
        self.received = 0
        self._reported = ""

    async def listen(self, link: CentreLink) -> None:
        """Take what comes for as long as the connection lasts. What goes wrong is logged once, and tried again."""
        waits = pauses(0.5, 30.0, random.Random())
        while link.is_open:
            try:
                answers = await self._subscribed(link)
                while link.is_open:
                    await self._take(link, answers, _WAIT_S)
                    self._reported, waits = "", pauses(0.5, 30.0, random.Random())
            except (VreidError, OSError) as error:  # the centre is away, or the gallery locked, damaged, full or moved
                if link.is_open:  # else whoever sends says it
                    self._missed(str(error))
            except Exception as fault:  # noqa: BLE001  a mistake of this program, at one message perhaps: sending goes on
                self._missed(f"this program failed ({type(fault).__name__}: {fault}), which is to be reported", fault)
            await asyncio.sleep(next(waits))

    async def take_all(self, link: CentreLink) -> None:
        """Take all that is there, once; where that cannot be had it is logged. Raises what a gallery raises."""
        try:
            answers = await self._subscribed(link)
            while (await self._info(answers)).num_pending and await self._take(link, answers, ANSWER_S):
                pass
        except CentreAway as away:
            self._missed(str(away))

    async def _subscribed(self, link: CentreLink) -> JetStreamContext.PullSubscription:
        """The consumer of this box, which the server keeps while the box is away."""
        async with Reasons(link.client):
            stream, subject = link.client.jetstream(timeout=ANSWER_S), identities_of(self._box)
            config = ConsumerConfig(
                description=f"the box {self._box}", ack_policy=AckPolicy.EXPLICIT, ack_wait=_AGAIN_S
            )
            return await stream.pull_subscribe(subject, consumer_of(self._box), config=config)

    async def _info(self, answers: JetStreamContext.PullSubscription) -> ConsumerInfo:
        async with Reasons():
            return await answers.consumer_info()

    async def _take(self, link: CentreLink, answers: JetStreamContext.PullSubscription, wait_s: float) -> int:
        """One batch -> how many messages it was; 0: none came in time."""
        async with Reasons():
            try:
                messages = await answers.fetch(_BATCH, wait_s)
            except asyncio.TimeoutError:
                return 0
        if not messages:
            return 0
        self._keep(messages)
        self.received += len(messages)
        async with Reasons():
            for message in messages:
                await message.ack()
            await link.client.flush()
        return len(messages)

    def _keep(self, messages: Sequence[Msg]) -> None:
        identities, gone = list[CentreIdentity](), list[int]()
        for id_, heard in self._read(messages):
            if heard.vehicle is None or heard.name is None:
                gone.append(id_)
            else:
                about = heard.region, heard.epoch, heard.vehicle, heard.name, heard.number
                identities.append(CentreIdentity(id_, *about))
        if gone:
            self._remove_files(gone)
        with self._gallery.acting_as(WHO), self._gallery.transaction() as store:
            _identities(store).keep(identities, time.time())
            removed = None if not gone else self._gallery.remove_sightings(gone)
        if removed is not None:
            erase_traces(self._gallery)
        elif gone:  # whoever was killed between the two may have left it
            self._gallery.wipe()

    def _read(self, messages: Sequence[Msg]) -> list[tuple[int, IdentityMessage]]:
        """Of what is about this gallery's sightings: the sighting's id, and what is said of it. The rest is about another gallery
        that the box had."""
        found = list[IdentityMessage]()
        for message in messages:
            try:
                found.append(read_identity(message.data))
            except Refused as refused:
                number = message.metadata.sequence.stream
                _LOG.warning("fleet: message %d of the centre's log is passed over: %s", number, refused)
        with self._gallery.reading() as store:
            ids = outbox_of(store).ids_of([heard.sighting for heard in found])
        return [(ids[heard.sighting], heard) for heard in found if heard.sighting in ids]

    def _remove_files(self, sightings: Sequence[int]) -> None:
        """What holds pictures and features outside of the gallery goes first: who is killed then comes back to it, for the message
        comes again as long as the sightings are there."""
        with self._gallery.reading() as store:
            there = [seen for seen in map(store.sighting, sightings) if seen is not None]
        kept = KeptFolder(folder_of_gallery(self._gallery.path))
        for seen in there:
            with suppress(Refused):  # it is said when the sighting goes
                kept.remove(seen.camera, seen.at, seen.track)
        if there:
            drop_indexes(self._gallery.path)

    def _missed(self, reason: str, fault: Exception | None = None) -> None:
        """Say why nothing is received, unless that was just said."""
        if reason != self._reported:
            said = "fleet: what the centre says cannot be received: %s; it is tried again"
            _LOG.warning(said, reason, exc_info=fault)
        self._reported = reason


def _identities(store: Store) -> Identities:
    """Raises Refused for a gallery without outbox, with which they are made."""
    outbox_of(store)
    found = store.identities()
    assert found is not None
    return found


def outbox_of(store: Store) -> Outbox:
    """Raises Refused for a gallery that has none."""
    found = store.outbox()
    if found is None:
        raise Refused("the gallery has no outbox; the first vreid run of a site with [fleet] makes it")
    return found
