"""The features of prototypes in an SQLite file, many at a time, and the log of their changes: see `FeatureSource`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from vreid.runtime.gallery.records import Features
from vreid.runtime.gallery.sqlite.database import Database, damaged
from vreid.runtime.records import Floats, Ints

PAGE = 1 << 13  # prototypes at a time: 16 MB of 512-d features
NONE: Ints = np.empty(0, np.int64)
_FEATURES = "SELECT id, vehicle, feature FROM prototypes"


class PrototypeFeatures:
    """What one connection sees."""

    def __init__(self, database: Database, dim: int) -> None:
        self.path, self.dim = database.path, dim
        self._database = database

    def reader(self) -> "PrototypeFeatures":
        return PrototypeFeatures(Database(self.path, False), self.dim)

    def close(self) -> None:
        self._database.close()

    @property
    def in_transaction(self) -> bool:
        return self._database.connection.in_transaction

    def reading(self) -> AbstractContextManager[None]:
        return self._database.reading()

    def count(self) -> int:
        return int(self._database.row("SELECT count(*) FROM prototypes")[0])

    def of(self, prototypes: Ints) -> Features:
        some = f"{_FEATURES} WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
        parts = list(self._pages(some, json.dumps(prototypes.tolist())))
        if not parts:
            return NONE, NONE, np.empty((0, self.dim), np.float32)
        ids, vehicles, features = zip(*parts, strict=True)
        return np.concatenate(ids), np.concatenate(vehicles), np.concatenate(features)

    def of_vehicles(self, vehicles: Ints) -> Iterator[Features]:
        query = f"{_FEATURES} WHERE vehicle IN (SELECT value FROM json_each(?)) ORDER BY vehicle"
        return self._pages(query, json.dumps(vehicles.tolist()))

    def pages(self) -> Iterator[Features]:
        last = -1
        while pages := list(self._pages(f"{_FEATURES} WHERE id > ? ORDER BY id LIMIT ?", last, PAGE)):
            last = int(pages[-1][0][-1])
            yield from pages

    def last_change(self) -> int:
        return self._database.last_id("changes")

    def changes(self, after: int, last: int) -> Ints:
        log = self._database.rows("SELECT id, prototype FROM changes WHERE id > ? AND id <= ?", after, last)
        return np.array([*log], np.int64).reshape(-1, 2)

    def stamp_of(self, change: int) -> tuple[str, int] | None:
        identity = self._database.row("SELECT value FROM meta WHERE key = 'identity'")
        mark = self._database.row("SELECT mark FROM changes WHERE id = ?", change)
        return None if identity is None or mark is None else (identity[0], mark[0])

    def _pages(self, query: str, *values: Any) -> Iterator[Features]:
        for page in self._database.pages(PAGE, query, *values):
            ids, vehicles, blobs = zip(*page, strict=True)
            if set(map(type, vehicles)) != {int}:
                raise damaged(self.path, "a prototype whose vehicle is not a number")
            yield np.array(ids, np.int64), np.array(vehicles, np.int64), decoded(blobs, self.dim, self.path)


def decoded(blobs: Sequence[bytes], dim: int, path: Path) -> Floats:
    """N stored features of the gallery at `path` -> (N, D). Raises GalleryDamaged for one of another length."""
    if not set(map(type, blobs)) <= {bytes} or not set(map(len, blobs)) <= {4 * dim}:
        raise damaged(path, "a feature of the wrong length")
    return np.frombuffer(bytearray().join(blobs), np.dtype("<f4")).reshape(-1, dim).astype(np.float32, copy=False)
