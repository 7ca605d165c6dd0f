"""Prototypes as rows of the gallery's file, many at a time, and an index filled with all of them."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vreid.runtime.gallery.index.vehicle_index import Read, VehicleIndex
from vreid.runtime.gallery.prototypes import from_blobs
from vreid.runtime.gallery.sqlite import database
from vreid.runtime.records import Floats, Ints

CHUNK = 1 << 13  # prototypes at a time: 16 MB of 512-d features
NONE: Ints = np.empty(0, np.int64)
Rows = tuple[Ints, Ints, Floats]  # ids (N,), their vehicles (N,), features (N, D)


class PrototypeRows:
    """What one connection sees of a gallery's prototypes of `dim` numbers."""

    def __init__(self, connection: sqlite3.Connection, path: Path, dim: int) -> None:
        self._connection, self._path, self.dim = connection, path, dim

    def count(self) -> int:
        with database.spoken(self._path):
            return int(self._connection.execute("SELECT count(*) FROM prototypes").fetchone()[0])

    def last_change(self) -> int:
        with database.spoken(self._path):
            row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return int(row[0]) if row else 0

    def changes(self, after: int, last: int) -> Ints:
        """(N, 2) change and prototype of those of the log."""
        with database.spoken(self._path):
            log = self._connection.execute(
                "SELECT id, prototype FROM changes WHERE id > ? AND id <= ?", (after, last)
            ).fetchall()
        return np.array(log, np.int64).reshape(-1, 2)

    def of(self, prototypes: Ints) -> Rows:
        """Those of `prototypes` (N,) that there are, ids rising."""
        some = "SELECT id, vehicle, feature FROM prototypes WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        parts = list(self._chunks(some, json.dumps(prototypes.tolist())))
        if not parts:
            return NONE, NONE, np.empty((0, self.dim), np.float32)
        ids, vehicles, features = zip(*parts, strict=True)
        return np.concatenate(ids), np.concatenate(vehicles), np.concatenate(features)

    def of_vehicles(self, vehicles: Ints) -> Iterator[Rows]:
        """All of those `vehicles` (N,), vehicle by vehicle."""
        query = "SELECT id, vehicle, feature FROM prototypes WHERE vehicle IN (SELECT value FROM json_each(?)) ORDER BY vehicle"
        yield from self._chunks(query, json.dumps(vehicles.tolist()))

    def all(self) -> Iterator[Rows]:
        """All there are, ids rising; of no one moment, since each page is read when it is asked for."""
        query, last = "SELECT id, vehicle, feature FROM prototypes WHERE id > ? ORDER BY id LIMIT ?", -1
        while pages := list(self._chunks(query, last, CHUNK)):
            last = int(pages[-1][0][-1])
            yield from pages

    def _chunks(self, query: str, *values: object) -> Iterator[Rows]:
        with database.spoken(self._path):
            cursor = self._connection.execute(query, values)
            while rows := cursor.fetchmany(CHUNK):
                ids, vehicles, blobs = zip(*rows, strict=True)
                yield np.array(ids, np.int64), np.array(vehicles, np.int64), from_blobs(blobs, self.dim)


def filled(
    rows: PrototypeRows, kind: str, read: Read, wanted: Callable[[], bool] = lambda: True
) -> tuple[VehicleIndex, int]:
    """An index of that kind of all `rows`, and the change that it is at: what came later has to be caught up with.

    `read`: as VehicleIndex takes it. Gives up, half filled, between two pages once it is not `wanted` any more.
    """
    seen = rows.last_change()  # read first, so that no prototype is older than this says
    index = VehicleIndex(kind, rows.dim, read, rows.count())
    for prototypes, vehicles, features in rows.all():
        if not wanted():
            break
        index.add(prototypes, vehicles, features)
    return index, seen
