"""The index follows the gallery's file: filled from it once, then caught up by its log of changed prototypes."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vreid.runtime.galleries import index_file, store
from vreid.runtime.galleries.derived import Found, VehicleIndex
from vreid.runtime.galleries.prototypes import from_blobs
from vreid.runtime.galleries.table import file_of
from vreid.runtime.records import Floats, Ints

CHUNK = 1 << 13  # prototypes at a time: 16 MB of 512-d features
NONE: Ints = np.empty(0, np.int64)


class Following:
    """Searches a gallery's prototypes as its connection sees them, whoever has written; one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path, kind: str, dim: int) -> None:
        self._connection, self._path, self._kind, self._dim = connection, path, kind, dim
        self._index: VehicleIndex | None = None
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
        query = "SELECT id, vehicle, feature FROM prototypes WHERE vehicle IN (SELECT value FROM json_each(?)) ORDER BY vehicle"
        for _, owners, rows in self._chunks(query, json.dumps(wanted.tolist())):
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
        last = self._last()
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
        if self._index is not None and self._seen - self._stored > max(1000, len(self._index) // 10):
            self._store(self._index)
        self._index = None

    def _caught_up(self) -> VehicleIndex:
        if self._index is None:
            self._index = self._opened()
        elif not len(self._again) and self._last() == self._seen:
            return self._index
        try:
            whole = self._catch_up(self._index)
        except BaseException:
            self._index = None  # half caught up
            raise
        if not whole or self._index.worn:
            self._index = self._filled()
            self._store(self._index)
        return self._index

    def _catch_up(self, index: VehicleIndex) -> bool:
        """Whether the log goes back far enough; prototypes are read after it, so they are never older than it says."""
        last = self._last()
        with store.spoken(self._path):
            log = self._connection.execute(
                "SELECT id, prototype FROM changes WHERE id > ? AND id <= ?", (self._seen, last)
            )
            rows = np.array(log.fetchall(), np.int64).reshape(-1, 2)
        if len(rows) != last - self._seen:
            return False
        if self._connection.in_transaction:
            self._open.append((rows[:, 0], rows[:, 1]))
        changed = np.unique(np.concatenate([self._again, rows[:, 1]]))
        for start in range(0, len(changed), CHUNK):
            asked = changed[start : start + CHUNK]
            there, vehicles, features = self._read(asked)
            index.remove(np.setdiff1d(asked, there, assume_unique=True))
            if len(there):
                index.add(there, vehicles, features)
        self._seen, self._again = last, NONE
        return True

    def _opened(self) -> VehicleIndex:
        """From its file when that fits, else from the gallery."""
        index = VehicleIndex(self._kind, self._dim, self._read)
        if not self._connection.in_transaction and self._loaded(index):
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
        with store.spoken(self._path):
            self._connection.execute("BEGIN")  # so that nobody writes between the two that are compared
            try:
                fits = self._catch_up(index) and len(index) == self._count()
            finally:
                self._connection.execute("ROLLBACK")
                self.settled()
        if not fits:  # a repair has lost rows that the log says nothing of
            index_file.doubted(file_of(self._path, self._kind), "the gallery holds other prototypes than it says")
        return fits

    def _filled(self) -> VehicleIndex:
        self._seen, self._again, self._open = self._last(), NONE, []
        self._floor = self._seen if self._connection.in_transaction else 0
        index = VehicleIndex(self._kind, self._dim, self._read, self._count())
        for prototypes, vehicles, features in self._chunks("SELECT id, vehicle, feature FROM prototypes ORDER BY id"):
            index.add(prototypes, vehicles, features)
        return index

    def _store(self, index: VehicleIndex) -> None:
        if not self._connection.in_transaction and index_file.stored(
            self._path, self._kind, index, self._connection, self._seen
        ):
            self._stored = self._seen

    def _count(self) -> int:
        with store.spoken(self._path):
            return int(self._connection.execute("SELECT count(*) FROM prototypes").fetchone()[0])

    def _last(self) -> int:
        with store.spoken(self._path):
            row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return int(row[0]) if row else 0

    def _read(self, prototypes: Ints) -> tuple[Ints, Ints, Floats]:
        """Those of `prototypes` (N,) that the file holds: ids rising, vehicles, features."""
        some = "SELECT id, vehicle, feature FROM prototypes WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        parts = list(self._chunks(some, json.dumps(prototypes.tolist())))
        if not parts:
            return NONE, NONE, np.empty((0, self._dim), np.float32)
        ids, vehicles, features = zip(*parts, strict=True)
        return np.concatenate(ids), np.concatenate(vehicles), np.concatenate(features)

    def _chunks(self, query: str, *values: str) -> Iterator[tuple[Ints, Ints, Floats]]:
        with store.spoken(self._path):
            cursor = self._connection.execute(query, values)
            while rows := cursor.fetchmany(CHUNK):
                ids, vehicles, blobs = zip(*rows, strict=True)
                yield np.array(ids, np.int64), np.array(vehicles, np.int64), from_blobs(blobs, self._dim)
