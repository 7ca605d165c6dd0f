"""The index follows the gallery's file: filled from it once, then caught up by its log of changed prototypes."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vreid.runtime.gallery.index import index_file
from vreid.runtime.gallery.index.background import Renewal
from vreid.runtime.gallery.index.prototype_rows import CHUNK, NONE, PrototypeRows, filled
from vreid.runtime.gallery.index.table import file_of
from vreid.runtime.gallery.index.vehicle_index import Found, VehicleIndex
from vreid.runtime.gallery.sqlite import database
from vreid.runtime.records import Floats, Ints


class Following:
    """Searches a gallery's prototypes as its connection sees them, whoever has written; one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path, kind: str, dim: int) -> None:
        self._connection, self._path, self._kind = connection, path, kind
        self._rows = PrototypeRows(connection, path, dim)
        self._index: VehicleIndex | None = None
        self._renewal: Renewal | None = None  # what will take its place
        self._seen = self._stored = 0  # the last change that is in the index, and in its file
        # Of the transaction that is open: changes that a rollback undoes, and the first that it is too late to undo.
        self._open: list[tuple[Ints, Ints]] = []
        self._floor = 0
        self._again = NONE  # prototypes to be read anew after a rollback

    def search(self, features: Floats, k: int, vehicles: Sequence[int] | None) -> list[list[Found]]:
        """Unit features (B, D) -> see `VehicleIndex.search`."""
        return self._caught_up().search(features, k, vehicles)

    def scores(self, features: Floats, vehicles: Sequence[int]) -> Floats:
        """Unit features (B, D) -> (B, len(vehicles)) of the best cosine over each one's prototypes; -1 without any."""
        wanted, columns = np.unique(np.asarray(vehicles, np.int64), return_inverse=True)
        best = np.full((len(features), len(wanted)), -1.0, np.float32)
        for _, owners, rows in self._rows.of_vehicles(wanted):
            starts = np.flatnonzero(np.diff(owners, prepend=-1))
            at = np.searchsorted(wanted, owners[starts])
            best[:, at] = np.maximum(best[:, at], np.maximum.reduceat(features @ rows.T, starts, axis=1))
        return np.asarray(best[:, columns], np.float32)

    def settled(self) -> None:
        """What was written is kept: to be called after COMMIT."""
        self._open, self._floor = [], 0

    def undone(self) -> None:
        """The file went back, to be called after ROLLBACK: the ids of the changes that went come again with other ones."""
        index, self._index = self._index, None
        last = self._rows.last_change()
        if last < self._floor:
            return
        self._index = index
        if last < self._seen:
            gone = [prototypes[changes > last] for changes, prototypes in self._open]
            self._open = [(changes[changes <= last], prototypes[changes <= last]) for changes, prototypes in self._open]
            self._again = np.unique(np.concatenate([self._again, *gone]))
            self._seen = last

    def close(self) -> None:
        """Write the index to its file when it has moved on a lot since; called before the connection is closed."""
        if self._renewal is not None:
            self._renewal.stop()
            self._renewal = None
        if self._index is not None and self._seen - self._stored > max(1000, len(self._index) // 10):
            self._store(self._index)
        self._index = None

    def _caught_up(self) -> VehicleIndex:
        self._renewed()
        if self._index is None:
            self._index = self._opened()
        elif not len(self._again) and self._rows.last_change() == self._seen:
            return self._index
        try:
            whole = self._catch_up(self._index)
        except BaseException:
            self._index = None  # half caught up
            raise
        if not whole:
            self._index = self._filled()
            self._store(self._index)
        elif self._index.worn and self._renewal is None:
            self._renewal = Renewal(self._path, self._kind, self._rows.dim, self._rows.of)
        return self._index

    def _renewed(self) -> None:
        """Let a new index take the worn one's place once it is there; not within what may be rolled back."""
        if self._renewal is None or self._renewal.made is None or self._connection.in_transaction:
            return
        self._index, self._seen = self._renewal.made
        self._renewal, self._stored, self._again = None, self._seen, NONE
        self._open, self._floor = [], 0

    def _catch_up(self, index: VehicleIndex) -> bool:
        """Whether the log goes back far enough; prototypes are read after it, so they are never older than it says."""
        last = self._rows.last_change()
        rows = self._rows.changes(self._seen, last)
        if len(rows) != last - self._seen:
            return False
        if self._connection.in_transaction:
            self._open.append((rows[:, 0], rows[:, 1]))
        changed = np.unique(np.concatenate([self._again, rows[:, 1]]))
        for start in range(0, len(changed), CHUNK):
            asked = changed[start : start + CHUNK]
            there, vehicles, features = self._rows.of(asked)
            index.remove(np.setdiff1d(asked, there, assume_unique=True))
            if len(there):
                index.add(there, vehicles, features)
        self._seen, self._again = last, NONE
        return True

    def _opened(self) -> VehicleIndex:
        """From its file when that fits, else from the gallery."""
        index = VehicleIndex(self._kind, self._rows.dim, self._rows.of)
        if not self._connection.in_transaction and self._loaded(index) and not index.worn:
            return index
        index = self._filled()
        self._store(index)
        return index

    def _loaded(self, index: VehicleIndex) -> bool:
        found = index_file.loaded(self._path, self._kind, index, self._connection)
        if found is None:
            return False
        self._seen = self._stored = found
        self._again = NONE
        with database.spoken(self._path):
            self._connection.execute("BEGIN")  # so that nobody writes between the two that are compared
            try:
                fits = self._catch_up(index) and len(index) == self._rows.count()
            finally:
                self._connection.execute("ROLLBACK")
                self.settled()
        if not fits:  # a repair has lost rows that the log says nothing of
            index_file.doubted(file_of(self._path, self._kind), "the gallery holds other prototypes than it says")
        return fits

    def _filled(self) -> VehicleIndex:
        index, self._seen = filled(self._rows, self._kind, self._rows.of)
        self._again, self._open = NONE, []
        self._floor = self._seen if self._connection.in_transaction else 0
        return index

    def _store(self, index: VehicleIndex) -> None:
        if not self._connection.in_transaction and index_file.stored(
            self._path, self._kind, index, self._connection, self._seen
        ):
            self._stored = self._seen
