"""A centre: its regions side by side, each in a thread of its own, and one that compares them."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from vreid.fleet.centre.reconciler import Reconciling
from vreid.fleet.centre.region import Region
from vreid.fleet.centre.settings import CentreSettings
from vreid.fleet.centre.status import RegionStatus
from vreid.runtime.gallery.index.table import refuse_index


class Centre:
    """Made by `started`."""

    def __init__(self, settings: CentreSettings) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._regions = [Region(settings, region, holder) for region in settings.regions]
        self._reconciling = Reconciling(settings, self.status)

    def status(self) -> Mapping[str, RegionStatus]:
        """By region, as they are now."""
        return {
            region.name: replace(region.status(), not_compared=self._reconciling.failed(region.name))
            for region in self._regions
        }

    def wait(self, stop: threading.Event) -> None:
        """Until `stop`. Raises what a thread failed with, if one did by a mistake of the program."""
        while not stop.wait(0.2):
            for failure in (*(region.failure for region in self._regions), self._reconciling.failure):
                if failure is not None:
                    raise failure

    def _start(self) -> None:
        for region in self._regions:
            region.start()
        self._reconciling.start()

    def _close(self) -> None:
        for region in self._regions:
            region.end()
        for region in self._regions:
            region.close()
        self._reconciling.close()


@contextmanager
def started(settings: CentreSettings) -> Iterator[Centre]:
    """A centre that resolves, until the body ends; it lets go of its leases then.

    Raises Refused for an index that this machine does not have.
    """
    for region in settings.regions:
        refuse_index(region.index, settings.space.about.dim, region.gallery)
    centre = Centre(settings)
    centre._start()
    try:
        yield centre
    finally:
        centre._close()
