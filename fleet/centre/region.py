"""One region of a centre, in a thread of its own: it waits for the lease, and resolves until it is lost or the centre ends."""

import asyncio
import logging
import random
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
from nats.aio.client import Client

from vreid.fleet.centre.clocks import Clocks
from vreid.fleet.centre.lease import Lease
from vreid.fleet.centre.log import Position
from vreid.fleet.centre.resolver import Failed, Resolver
from vreid.fleet.centre.session import Session
from vreid.fleet.centre.settings import CentreSettings, RegionSettings
from vreid.fleet.centre.status import Counts, RegionStatus
from vreid.fleet.centre.wipe import Wiper
from vreid.fleet.link import CentreAway, ended, joined
from vreid.models.errors import VreidError
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.sources.live import pauses

_LOG = logging.getLogger("vreid")
_ANOTHER = "another process resolves it"
_GRACE_S = 15.0  # for the end of a transaction, and of a connection


class Region:
    """Used from `start` to `close`. What cannot be reached is tried again after 0.5 s, then twice as long each time, up to 30 s;
    after 0.5 s again once something was done, or after a minute without a failure."""

    def __init__(self, settings: CentreSettings, region: RegionSettings, holder: str) -> None:
        self._settings, self._region, self._holder = settings, region, holder
        self._clocks, self._counts = Clocks(), Counts()
        self._session: Session | None = None
        self._failed: Position | None = None  # the message at which the last resolver failed
        self._fault: str | None = "it has not begun"
        self._reported, self._harms = "", list[str]()
        self.failure: BaseException | None = None  # what ended the thread, which should not be
        self._wiper = Wiper(region.gallery)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"region {region.name}", daemon=True)

    @property
    def name(self) -> str:
        """The region's."""
        return self._region.name

    def start(self) -> None:
        """Begin to seek the lease."""
        self._wiper.start()
        self._thread.start()

    def end(self) -> None:
        """Begin to stop."""
        self._wiper.end()
        self._over.set()

    def close(self) -> None:
        """Stop, within some seconds and between two transactions, and let go of the lease."""
        self.end()
        if self._thread.ident is not None:
            self._thread.join(_GRACE_S)
        self._wiper.close(_GRACE_S)

    def status(self) -> RegionStatus:
        """As it is now; from any thread."""
        session, counts = self._session, replace(self._counts)
        clocks, wrong = self._clocks.ahead, tuple(self._clocks.wrong)
        if session is None:
            return RegionStatus(None, self._fault, counts, clocks=clocks, wrong_clocks=wrong)
        behind, lag, waiting = session.behind, session.lag_s, session.waiting
        return RegionStatus(session.epoch, None, counts, behind, lag, waiting, clocks, wrong)

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as failure:  # noqa: BLE001  raised by who looks after the regions
            self.failure = failure

    async def _work(self) -> None:
        waits = pauses(0.5, 30.0, random.Random())
        while not self._over.is_set():
            began, before = time.monotonic(), replace(self._counts)
            try:
                await self._once()
            except VreidError as error:
                if isinstance(error, Failed):
                    self._failed = error.position
                if time.monotonic() - began > 60 or self._counts != before:
                    waits, self._reported = pauses(0.5, 30.0, random.Random()), ""
                self._missed(str(error))
                await self._rest(next(waits))

    async def _once(self) -> None:
        """From opening all to its failure, which is raised, or to the end."""
        about = self._settings.space.about
        with open_gallery(
            self._region.gallery, fingerprint=about.fingerprint, dim=about.dim, model=about.model, write=True,
            index=self._region.index,
        ) as gallery:  # fmt: skip
            gallery.search(np.eye(1, about.dim, dtype=np.float32), 1)  # its index is made before anybody waits for it
            name = f"vreid centre {self._region.name}"
            async with joined(self._settings.server, name, self._settings.credentials, self._settings.ca) as client:
                await self._with_lease(gallery, client)

    async def _with_lease(self, gallery: Gallery, client: Client) -> None:
        lease = Lease(gallery, self._holder, self._settings.lease_s)
        while not self._over.is_set() and not lease.take():
            if not client.is_connected:
                raise CentreAway("the connection was lost")
            if self._fault != _ANOTHER:
                _LOG.info("centre: region %s: %s, and this one waits", self._region.name, _ANOTHER)
            self._fault = _ANOTHER
            await self._rest(self._settings.lease_s / 10)
        if lease.epoch is None:
            return
        try:
            space = self._settings.space
            resolver = Resolver(gallery, self._region, space, lease.epoch, self._counts, self._failed)
            with self._wiper.searched(gallery):
                session = Session(
                    gallery, client, self._region.name, lease, resolver, self._clocks, self._counts, self._wiper
                )
                self._session = session
                self._fault = None
                await self._until_over(session)
        finally:
            self._session = None
            with suppress(VreidError):
                lease.release()

    async def _until_over(self, session: Session) -> None:
        work = asyncio.create_task(session.run())
        try:
            while not self._over.is_set() and not work.done():
                await asyncio.wait([work], timeout=0.2)
                self._warn_of(session.harms)
            if work.done():
                work.result()
        finally:
            await ended(work)

    def _warn_of(self, harms: list[str]) -> None:
        """Say how the stream loses messages, unless that was said before."""
        for harm in harms:
            if harm not in self._harms:
                self._harms.append(harm)
                _LOG.warning("centre: %s; vreid fleet setup --update changes it where that can be", harm)

    def _missed(self, reason: str) -> None:
        """Say why it does not go on, unless that was just said."""
        if reason != self._reported:
            _LOG.warning("centre: region %s: %s; it is tried again", self._region.name, reason)
        self._fault = self._reported = reason

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until `close`."""
        end = time.monotonic() + seconds
        while not self._over.is_set() and time.monotonic() < end:
            await asyncio.sleep(min(0.1, seconds))
