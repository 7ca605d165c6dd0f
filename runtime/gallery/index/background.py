"""A worn index is made anew beside the one that goes on answering: of a million prototypes that takes minutes."""

import logging
import threading
from contextlib import closing
from pathlib import Path

from vreid.models.errors import Refused
from vreid.runtime.gallery.index import index_file
from vreid.runtime.gallery.index.prototype_rows import PrototypeRows, filled
from vreid.runtime.gallery.index.vehicle_index import Read, VehicleIndex
from vreid.runtime.gallery.sqlite import database

_log = logging.getLogger("vreid.gallery")


class Renewal:
    """One new index, made on a thread and a connection of its own, and kept in its file. It builds on one core: the others
    are the networks'. `made` is the new index once it is there; what goes wrong is logged, and it stays None."""

    def __init__(self, path: Path, kind: str, dim: int, read: Read) -> None:
        """`read` is for whoever searches the new index later; the thread does not call it."""
        self._path, self._kind, self._dim, self._read = path, kind, dim, read
        self._wanted = True
        self.made: tuple[VehicleIndex, int] | None = None  # the change of the gallery that it is at
        self._thread = threading.Thread(target=self._work, name="gallery index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """It is not wanted any more; returns when the thread has ended, within a page of prototypes."""
        self._wanted = False
        self._thread.join()

    def _work(self) -> None:
        from vreid.runtime.gallery.index.with_faiss import faiss

        faiss.omp_set_num_threads(1)  # of this thread alone
        try:
            with closing(database.connected(self._path, False)) as connection:
                rows = PrototypeRows(connection, self._path, self._dim)
                index, seen = filled(rows, self._kind, self._read, lambda: self._wanted)
                if self._wanted:
                    index_file.stored(self._path, self._kind, index, connection, seen)
                    self.made = index, seen
        except (Refused, *index_file.FAULTS) as error:
            _log.warning("the index of %s is not made anew, and the worn one goes on: %s", self._path, error)
