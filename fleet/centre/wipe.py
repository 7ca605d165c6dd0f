"""What was removed is wiped from a region's tables and index files soon after, without anybody who waits for it."""

import logging
import threading
import time

from vreid.models.errors import VreidError
from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery.index.table import drop_indexes
from vreid.runtime.gallery_place import DatabaseAddress

_LOG = logging.getLogger("vreid")
_SOON_S = 30.0  # after a removal: once for all that is removed meanwhile
_REST = 20  # times as long as it took, until the next


class Wiper:
    """A thread with a connection of its own, since it may take minutes where there are many rows. It begins with what whoever was
    there before may have left, and ends with the process at the latest: a wiping may be broken off, and is done again."""

    def __init__(self, gallery: Gallery, place: DatabaseAddress) -> None:
        """`gallery` is the one at `place` in which others of this process search."""
        self._gallery, self._place = gallery, place
        self._wanted, self._over = threading.Event(), threading.Event()
        self._wanted.set()
        self._reported = ""
        self.done = 0
        self._thread = threading.Thread(target=self._run, name=f"wiper {place.gallery}", daemon=True)
        self._thread.start()

    def want(self) -> None:
        """Something was removed, and that is committed."""
        self._wanted.set()

    def close(self) -> None:
        """Begin nothing more; what is being done goes on."""
        self._over.set()
        self._wanted.set()

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
                self._reported = ""
            except (VreidError, OSError) as error:
                self._wanted.set()
                if str(error) != self._reported:
                    said = "centre: what was removed from the gallery %s is not wiped yet: %s; it is tried again"
                    _LOG.warning(said, self._gallery.name, error)
                self._reported = str(error)
            rest = _REST * (time.monotonic() - began)

    def _wipe(self) -> None:
        """As `erase_traces`, but for the connection."""
        with edit_gallery(self._place) as gallery:
            gallery.wipe()
        with self._gallery.reading():
            self._gallery.index.forget()
        drop_indexes(self._gallery.path)
