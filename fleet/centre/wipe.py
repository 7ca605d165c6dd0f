"""What was removed is wiped from a region's tables and index files soon after, without anybody who waits for it."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vreid.models.errors import VreidError
from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery.clean import erase_traces, forget_indexes
from vreid.runtime.gallery_place import DatabaseAddress

_LOG = logging.getLogger("vreid")
_SOON_S = 30.0  # after a removal: once for all that is removed meanwhile
_REST = 20  # times as long as it took, until the next


class Wiper:
    """One of a region, from `start` to `close`, however often the region's connections are made again: a thread with a connection
    of its own, since it may take minutes where there are many rows. Whatever fails is logged and tried again. A wiping may be
    broken off by the end of the process, and is done again by whoever is next."""

    def __init__(self, place: DatabaseAddress) -> None:
        self._place = place
        self._gallery: Gallery | None = None
        self._turn = threading.Lock()  # for that gallery
        self._wanted, self._over = threading.Event(), threading.Event()
        self.done = 0
        self.failure: Exception | None = None  # of the last attempt
        self._thread = threading.Thread(target=self._run, name=f"wiper {place.gallery}", daemon=True)

    def start(self) -> None:
        """Begin to wait for removals."""
        self._thread.start()

    @contextmanager
    def searched(self, gallery: Gallery) -> Iterator[None]:
        """While the body runs, others of this process search in `gallery`, the one at the place. It begins with what whoever was
        there before may have left."""
        self._gallery = gallery
        self.want()
        try:
            yield
        finally:
            with self._turn:
                self._gallery = None

    def want(self) -> None:
        """Something was removed, and that is committed."""
        self._wanted.set()

    def end(self) -> None:
        """Begin nothing more."""
        self._over.set()
        self._wanted.set()

    def close(self, seconds: float) -> None:
        """Begin nothing more, and wait so long at most for what is being done."""
        self.end()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        rest = 0.0
        while not self._over.wait(rest):
            self._wanted.wait()
            if self._over.wait(_SOON_S):
                return
            self._wanted.clear()
            began = time.monotonic()
            try:
                self._wipe()
                self.done += 1
                self.failure = None
            except Exception as error:  # noqa: BLE001  a mistake of this program too: nobody else does it
                self._wanted.set()
                self._missed(error)
            rest = _REST * (time.monotonic() - began)

    def _wipe(self) -> None:
        with edit_gallery(self._place) as gallery:
            erase_traces(gallery)
        with self._turn:
            if self._gallery is not None:
                forget_indexes(self._gallery)

    def _missed(self, error: Exception) -> None:
        """Say why it is not done, unless that was just said."""
        if str(error) != str(self.failure):
            said = "centre: what was removed from the gallery %s is not wiped yet: %s; it is tried again"
            fault = None if isinstance(error, VreidError | OSError) else error
            _LOG.warning(said, self._place.name, error, exc_info=fault)
        self.failure = error
