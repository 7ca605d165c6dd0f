"""Who resolves a region: the holder of a lease in its gallery, which ends by the server's clock."""

import time

from vreid.fleet.centre.publisher import inbox_of
from vreid.models.errors import GalleryLocked
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import LeaseLost


class Lease:
    """One process's hold of one gallery. Whoever writes as its resolver refuses other epochs in each transaction, so that one
    who paused past the end of the lease writes nothing more."""

    def __init__(self, gallery: Gallery, holder: str, seconds: float) -> None:
        self._gallery, self._holder, self._seconds = gallery, holder, seconds
        self._due = 0.0
        self.epoch: int | None = None

    def take(self) -> bool:
        """Whether it could be had, until `seconds` from now."""
        with self._gallery.transaction() as store:
            self.epoch = inbox_of(store).take_lease(self._holder, self._seconds)
        self._due = time.monotonic() + self._seconds / 3
        return self.epoch is not None

    def renew(self) -> None:
        """Where a third of it has passed. Raises LeaseLost when another one had it meanwhile, or it is one of a backup."""
        if time.monotonic() < self._due:
            return
        before = self.epoch
        try:
            held = self.take() and self.epoch == before
        except GalleryLocked:  # somebody writes for long; whether the lease is lost shows later
            self.epoch = before
            return
        if not held:
            self.epoch = None
            raise LeaseLost(
                f"the lease of the gallery {self._gallery.name} is another one's now, or was put back from a backup"
            )

    def release(self) -> None:
        """So that another process need not wait for its end."""
        if self.epoch is not None:
            with self._gallery.transaction() as store:
                inbox_of(store).release_lease(self.epoch)
            self.epoch = None
