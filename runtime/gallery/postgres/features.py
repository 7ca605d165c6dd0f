"""The features of a gallery's prototypes, and the log of their changes, for indexes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.gallery.postgres.database import Database, turn_of
from vreid.runtime.gallery.postgres.rows import features_of, vehicles_where
from vreid.runtime.gallery.records import FeatureRows, Filter
from vreid.runtime.records import Floats, Ints

_PAGE = 1 << 13  # prototypes at a time: 16 MB of 512-d features
_COLUMNS = "p.id, p.vehicle, vector_send(p.feature)"


class PrototypeFeatures:
    """What one connection sees: a `FeatureSource`."""

    def __init__(self, database: Database, dim: int) -> None:
        self.name, self.path, self.dim = database.name, database.address.path, dim
        self.database = database

    def reader(self) -> "PrototypeFeatures":
        return PrototypeFeatures(self.database.reader(), self.dim)

    def close(self) -> None:
        self.database.close()

    @property
    def in_transaction(self) -> bool:
        return self.database.in_transaction

    @property
    def identity(self) -> str:
        """Of the gallery, and of its copies."""
        return str(self.database.row("SELECT value FROM meta WHERE key = 'identity'")[0])

    @contextmanager
    def turn(self, what: str) -> Iterator[bool]:
        """Whether this is the only one inside for `what`, in whichever process; the others do not wait."""
        number = turn_of(f"{self.database.address.gallery} {what}")
        mine = bool(self.database.row("SELECT pg_try_advisory_lock(%s)", number)[0])
        try:
            yield mine
        finally:
            if mine:
                self.database.row("SELECT pg_advisory_unlock(%s)", number)

    def reading(self) -> AbstractContextManager[None]:
        return self.database.reading()

    def count(self) -> int:
        return int(self.database.row("SELECT count(*) FROM prototypes")[0])

    def vehicle_ids(self, only: Filter) -> list[int]:
        where, values = vehicles_where(only)
        return self.database.column(f"SELECT v.id FROM vehicles v WHERE {where} ORDER BY v.id", *values)

    def of(self, prototypes: Ints) -> FeatureRows:
        query = f"SELECT {_COLUMNS} FROM prototypes p WHERE p.id = ANY(%s::bigint[]) ORDER BY p.id"
        return self._arrays(self.database.rows(query, prototypes.tolist()))

    def of_vehicles(self, vehicles: Ints) -> Iterator[tuple[Ints, Floats, NDArray[np.object_]]]:
        wanted = vehicles.tolist()
        query = (
            "SELECT p.vehicle, vector_send(p.feature), p.view FROM prototypes p WHERE p.vehicle = ANY(%s::bigint[])"
            " ORDER BY p.vehicle, p.id"
        )
        for start in range(0, len(wanted), _PAGE):
            rows = self.database.rows(query, sorted(wanted)[start : start + _PAGE])
            if rows:
                owners, blobs, views = zip(*rows, strict=True)
                yield np.array(owners, np.int64), features_of(blobs, self.dim), np.array(views, object)

    def pages(self) -> Iterator[FeatureRows]:
        query = f"SELECT {_COLUMNS} FROM prototypes p WHERE p.id > %(last)s ORDER BY p.id LIMIT %(size)s"
        for rows in self.database.pages(_PAGE, query, {}, -1):
            yield self._arrays(rows)

    def last_change(self) -> int:
        return int(self.database.row("SELECT coalesce(max(id), 0) FROM changes")[0])

    def changes(self, after: int, last: int) -> Ints:
        query = "SELECT id, prototype FROM changes WHERE id > %s AND id <= %s ORDER BY id"
        return np.array(self.database.rows(query, after, last), np.int64).reshape(-1, 2)

    def stamp_of(self, change: int) -> tuple[str, int] | None:
        query = "SELECT m.value, c.mark FROM meta m, changes c WHERE m.key = 'identity' AND c.id = %s"
        row = self.database.row(query, change)
        return None if row is None else (str(row[0]), int(row[1]))

    def _arrays(self, rows: list[Any]) -> FeatureRows:
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, self.dim), np.float32)
        ids, vehicles, blobs = zip(*rows, strict=True)
        return np.array(ids, np.int64), np.array(vehicles, np.int64), features_of(blobs, self.dim)
