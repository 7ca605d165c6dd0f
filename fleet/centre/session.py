"""What the holder of a region's lease does with one connection: messages, identities, pictures and erasures, side by side."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from itertools import count
from typing import Any

from nats.aio.client import Client

from vreid.fleet.centre.across import proposals_of
from vreid.fleet.centre.clocks import Clocks
from vreid.fleet.centre.erase import Eraser
from vreid.fleet.centre.lease import Lease
from vreid.fleet.centre.log import Log, open_log
from vreid.fleet.centre.objects import Objects
from vreid.fleet.centre.pictures import Pictures
from vreid.fleet.centre.publisher import Publisher, inbox_of
from vreid.fleet.centre.resolver import Resolver
from vreid.fleet.centre.status import Counts
from vreid.fleet.centre.track import Unfit
from vreid.fleet.centre.wipe import Wiper
from vreid.fleet.link import Reasons, ended
from vreid.runtime.gallery import Gallery

_LOOK_S = 0.25  # how soon what others have written is noticed
_LEASE_S = 0.2  # how often it is looked at whether the lease is to be renewed
_STATUS_S = 2.0  # how often it is looked at what waits, and written down what was heard of boxes
_LOG = logging.getLogger("vreid")
_KEEP_S = 60.0  # how often what the thresholds have learnt is written down
_PURGE = 60  # of these later, what is too old is purged again


class Session:
    """Of one Resolver, for as long as nothing fails. All runs in one thread, and no transaction is open while it waits."""

    def __init__(
        self,
        gallery: Gallery,
        client: Client,
        region: str,
        lease: Lease,
        resolver: Resolver,
        clocks: Clocks,
        counts: Counts,
        wiper: Wiper,
    ) -> None:
        assert lease.epoch is not None
        self._gallery, self._client, self._region = gallery, client, region
        self._lease, self._resolver, self._clocks, self.epoch = lease, resolver, clocks, lease.epoch
        objects = Objects(client)
        self._publisher = Publisher(gallery, client, region, self.epoch, counts)
        self._pictures = Pictures(gallery, objects, self.epoch, counts)
        self._eraser = Eraser(gallery, client, objects, region, self.epoch, counts, wiper)
        self._wiper = wiper
        self._news = asyncio.Event()
        self.behind, self.lag_s = 0, 0.0
        self.waiting: Mapping[str, int] = {}
        self.harms: list[str] = []  # how the stream loses messages

    async def run(self) -> None:
        """Until something fails, which is raised: CentreAway, LeaseLost, Refused."""
        log = await open_log(self._client, self._region, self.epoch, self._resolver.read)
        self.harms = log.harms
        self.behind = await log.behind()
        _LOG.info("centre: region %s is resolved here, in epoch %d; %d wait", self._region, self.epoch, self.behind)
        parts: list[Coroutine[Any, Any, None]] = [
            self._resolve(log), self._publish(), self._carry(), self._hold(), self._look(log), self._maintain(log)
        ]  # fmt: skip
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await ended(*tasks)

    async def _resolve(self, log: Log) -> None:
        while True:
            found = await log.next(1.0)
            if found is None:
                self.behind, self.lag_s = 0, 0.0
                continue
            logged, message = found
            self._resolver.take(logged)
            async with Reasons():
                await message.ack()
            self.behind, self.lag_s = logged.behind, max(0.0, time.time() - logged.position.at)
            if logged.sent is not None and not isinstance(logged.message, Unfit):
                self._clocks.note(logged.box, logged.sent, logged.position.at)
            self._news.set()

    async def _publish(self) -> None:
        await self._publisher.note_last()
        while True:
            self._news.clear()
            if not await self._publisher.send():
                try:
                    await asyncio.wait_for(self._news.wait(), _LOOK_S)
                except asyncio.TimeoutError:
                    continue

    async def _carry(self) -> None:
        while True:
            taken = await self._pictures.take()
            if not (await self._eraser.erase() or taken):
                await asyncio.sleep(_LOOK_S)

    async def _hold(self) -> None:
        while True:
            self._lease.renew()
            await asyncio.sleep(_LEASE_S)

    async def _look(self, log: Log) -> None:
        while True:
            await asyncio.sleep(_STATUS_S)
            self.behind = await log.behind()
            self._resolver.keep_heard(self._clocks.ahead)
            with self._gallery.reading() as store:
                self.waiting = {**inbox_of(store).waiting(), "proposals": proposals_of(store).count_open()}

    async def _maintain(self, log: Log) -> None:
        for minute in count(1):
            await asyncio.sleep(_KEEP_S)
            self._resolver.keep()
            if minute % _PURGE == 1:
                self._resolver.purge(log.most_age)
                self._wiper.want()
