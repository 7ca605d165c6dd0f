"""Keeps an index in step with the gallery's store: filled from it once, then caught up by its log of changed prototypes.

A worn index stays in use while a new one is built on a thread of its own: of a million prototypes that takes minutes.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index import vehicle_index
from vreid.runtime.gallery.index.table import Found, Progress, index_file
from vreid.runtime.gallery.index.vehicle_index import Read, VehicleIndex
from vreid.runtime.gallery.records import EVERYTHING, Filter
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats, Ints

_CHUNK = 1 << 13  # changed prototypes that are read at a time: 16 MB of 512-d features
_NONE: Ints = np.empty(0, np.int64)
_log = logging.getLogger("vreid.gallery")


class IndexSync:
    """A `GalleryIndex` in this process, of the prototypes as the store sees them, whoever has written; one thread at a time."""

    def __init__(self, source: FeatureSource, kind: str) -> None:
        self._source, self._kind = source, kind
        self.current: VehicleIndex | None = None
        self.rebuild: BackgroundRebuild | None = None  # of what will take its place
        self._seen = self._saved = 0  # the last change that is in the index, and in its file
        # Of the transaction that is open: changes that a rollback undoes, and the first that it is too late to undo.
        self._open: list[tuple[Ints, Ints]] = []
        self._floor = 0
        self._again = _NONE  # prototypes to be read again after a rollback
        self._holds_deleted = False  # the index may hold features of what was deleted for good

    def search(
        self, features: Floats, k: int, vehicles: Sequence[int] | None, only: Filter = EVERYTHING
    ) -> list[list[Found]]:
        if vehicles is None and only != EVERYTHING:
            vehicles = self._source.vehicle_ids(only)
        return self._caught_up().search(features, k, vehicles)

    def build(self, progress: Progress) -> None:
        progress(0, self._source.count())
        index = self._caught_up()
        self._save(index)
        progress(len(index), len(index))

    def drop(self) -> None:
        index_file(self._source.path, self._kind).unlink(missing_ok=True)

    def committed(self) -> None:
        """What was written is kept."""
        self._open, self._floor = [], 0

    def rolled_back(self) -> None:
        """The store went back: the numbers of the changes that went come again with other ones."""
        index, self.current = self.current, None
        last = self._source.last_change()
        if last < self._floor:
            return
        self.current = index
        if last < self._seen:
            gone = [prototypes[changes > last] for changes, prototypes in self._open]
            self._open = [(changes[changes <= last], prototypes[changes <= last]) for changes, prototypes in self._open]
            self._again = np.unique(np.concatenate([self._again, *gone]))
            self._seen = last

    def forget(self) -> None:
        """Vehicles or sightings were deleted for good: an index that was made before, which may hold their features as dead rows,
        is not written to its file any more."""
        if self.rebuild is not None:
            self.rebuild.stop()
            self.rebuild = None
        self._holds_deleted = self.current is not None

    def close(self) -> None:
        """Write the index to its file when it has moved on a lot since; called before the store is closed."""
        if self.rebuild is not None:
            self.rebuild.stop()
            self.rebuild = None
        if self.current is not None and self._seen - self._saved > max(1000, len(self.current) // 10):
            self._save(self.current)
        self.current = None

    def _caught_up(self) -> VehicleIndex:
        self._replaced()
        if self.current is None:
            self.current = self._opened()
        elif not len(self._again) and self._source.last_change() == self._seen:
            return self.current
        try:
            complete = self._catch_up(self.current)
        except BaseException:
            self.current = None  # half caught up
            raise
        if not complete:
            self.current = self._filled()
            self._save(self.current)
        elif self.current.worn and self.rebuild is None:
            self.rebuild = BackgroundRebuild(self._source, self._kind)
        return self.current

    def _replaced(self) -> None:
        """Let a new index take the worn one's place once it is there; not within what may be rolled back."""
        if self.rebuild is None or self.rebuild.made is None or self._source.in_transaction:
            return
        self.current, self._seen = self.rebuild.made
        self.rebuild, self._saved, self._again, self._holds_deleted = None, self._seen, _NONE, False
        self.committed()

    def _catch_up(self, index: VehicleIndex) -> bool:
        """Whether the log goes back far enough; prototypes are read after it, so they are never older than it."""
        last = self._source.last_change()
        rows = self._source.changes(self._seen, last)
        if len(rows) != last - self._seen:
            return False
        if self._source.in_transaction:
            self._open.append((rows[:, 0], rows[:, 1]))
        changed = np.unique(np.concatenate([self._again, rows[:, 1]]))
        for start in range(0, len(changed), _CHUNK):
            some = changed[start : start + _CHUNK]
            there, vehicles, features = self._source.of(some)
            index.remove(np.setdiff1d(some, there, assume_unique=True))
            if len(there):
                index.add(there, vehicles, features)
        self._seen, self._again = last, _NONE
        return True

    def _opened(self) -> VehicleIndex:
        """From its file when that fits, else from the store."""
        index = VehicleIndex(self._kind, self._source.dim, self._source.of)
        if not self._source.in_transaction and self._loaded(index) and not index.worn:
            return index
        index = self._filled()
        self._save(index)
        return index

    def _loaded(self, index: VehicleIndex) -> bool:
        found = vehicle_index.load_index(self._source, self._kind, index)
        if found is None:
            return False
        self._seen = self._saved = found
        self._again = _NONE
        with self._source.reading():  # so that nobody writes between the two that are compared
            fits = self._catch_up(index) and len(index) == self._source.count()
        self.committed()
        if not fits:  # a repair has lost rows that the log does not name
            reason = "the gallery holds other prototypes than it says"
            vehicle_index.warn_unfit(index_file(self._source.path, self._kind), reason)
        return fits

    def _filled(self) -> VehicleIndex:
        index, self._seen = filled(self._source, self._kind, self._source.of)
        self._again, self._open, self._holds_deleted = _NONE, [], False
        self._floor = self._seen if self._source.in_transaction else 0
        return index

    def _save(self, index: VehicleIndex) -> None:
        if (
            not self._holds_deleted
            and not self._source.in_transaction
            and vehicle_index.save_index(self._source, self._kind, index, self._seen)
        ):
            self._saved = self._seen


class BackgroundRebuild:
    """One new index, made on a thread and a reader of its own, and kept in its file. It takes one core: the others are the
    networks'. `made` is the new index once it is there; what goes wrong is logged, and it stays None."""

    def __init__(self, source: FeatureSource, kind: str) -> None:
        self._source, self._kind = source, kind
        self._wanted = True
        self.made: tuple[VehicleIndex, int] | None = None  # the change of the gallery that it is at
        self.thread = threading.Thread(target=self._work, name="gallery index", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """It is not wanted any more; returns when the thread has ended, within a page of prototypes."""
        self._wanted = False
        self.thread.join()

    def _work(self) -> None:
        from vreid.runtime.gallery.index.with_faiss import faiss

        faiss.omp_set_num_threads(1)  # of this thread only
        try:
            with closing(self._source.reader()) as reader:
                # searched later, by the thread that has the source
                index, seen = filled(reader, self._kind, self._source.of, lambda: self._wanted)
                if self._wanted:
                    vehicle_index.save_index(reader, self._kind, index, seen)
                    self.made = index, seen
        except (Refused, *vehicle_index.FILE_FAULTS) as error:
            _log.warning("the index of %s is not rebuilt, and the worn one stays in use: %s", self._source.name, error)


def filled(
    source: FeatureSource, kind: str, read: Read, wanted: Callable[[], bool] = lambda: True
) -> tuple[VehicleIndex, int]:
    """An index of that kind of all prototypes, and the change that it is at: what came later has to be caught up with.

    `read`: as VehicleIndex takes it. Gives up, half filled, between two pages once it is not `wanted` any more.
    """
    seen = source.last_change()  # read first, so that no prototype is older than this
    index = VehicleIndex(kind, source.dim, read, source.count())
    for prototypes, vehicles, features in source.pages():
        if not wanted():
            break
        index.add(prototypes, vehicles, features)
    return index, seen
