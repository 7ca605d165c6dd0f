"""An open gallery: the world's vehicles in an SQLite file, searched through an index that is derived from it."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import audit, listing, names, writing
from vreid.runtime.gallery.index.sync import Following
from vreid.runtime.gallery.listing import Hit
from vreid.runtime.gallery.prototypes import Prototype, from_blobs, home_of, merged, surplus, unit
from vreid.runtime.gallery.sqlite import database
from vreid.runtime.gallery.sqlite.filter import EVERYTHING, Filter
from vreid.runtime.records import Floats, Sighting


class Gallery:
    """An open gallery; made by `open_gallery` or `read_gallery`. Any thread may call it.

    Every call that writes is on the disk when it returns (WAL, synchronous=FULL), unless it is inside `transaction`.
    The index is made at the first search, and catches up at each with what was written, by whoever it was.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        about: database.About,
        index: str,
        lock: int | None,
        max_prototypes: int,
        merge_above: float,
    ) -> None:
        self.path, self.about, self.writable = path, about, lock is not None
        self._connection, self._lock = connection, lock
        self.who = audit.login()  # is written beside each change; a run calls itself run:NAME
        self.most, self.above = max_prototypes, merge_above  # prototypes a vehicle; the cosine of near ones
        self._mutex = threading.RLock()
        self._depth = 0
        self._following = Following(connection, path, index, about.dim)

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the writer's lock; a second call does nothing."""
        with self._mutex:
            self._following.close()
            self._connection.close()
            if self._lock is not None:
                database.unlocked(self.path, self._lock)
                self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept together, or nothing is, the index included. Nests (savepoints)."""
        if not self.writable:
            raise Refused(f"the gallery {self.path} was opened for reading; open it for writing")
        with self._mutex:
            mark = f"level{self._depth}"
            begin, end = ("SAVEPOINT " + mark, "RELEASE " + mark) if self._depth else ("BEGIN IMMEDIATE", "COMMIT")
            self.run(begin)
            self._depth += 1
            try:
                yield
                self.run(end)
                if self._depth == 1:
                    self._following.settled()
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back on some errors of the disk
                    self.run(f"ROLLBACK TO {mark}" if self._depth > 1 else "ROLLBACK")
                    if self._depth > 1:
                        self.run(end)
                self._following.undone()
                raise
            finally:
                self._depth -= 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read inside is of one moment, whoever writes meanwhile."""
        with self._mutex:
            if self._connection.in_transaction:
                yield
                return
            self.run("BEGIN")
            try:
                yield
            finally:
                self.run("COMMIT")

    def add_vehicle(self, name: str | None = None, picture: Image | None = None, kind: str | None = None) -> int:
        """The new vehicle's id, never used before; without a name it is "vehicle-0001" after its id.

        Raises Refused for a name that is taken, empty, too long or not printable.
        """
        with self.transaction():
            return writing.vehicle(self.run, self.path, self.who, name, picture, kind)

    def add_prototype(self, vehicle: int, view: str, feature: Floats, weight: float = 1.0) -> int | None:
        """Let a feature (D,) stand for `vehicle`, seen from `view` with a quality of `weight` > 0.

        It is averaged into the nearest prototype of the view when near enough, otherwise a new one, and beyond the
        cap the lightest goes. Returns the prototype that holds it; None when it was itself the lightest.
        """
        if not (np.isfinite(weight) and weight > 0):
            raise Refused(f"a prototype's weight must be above 0, not {weight}; pass the crop's quality")
        row, view = unit(np.asarray(feature)[None], self.about.dim)[0], nfc(view)
        with self.transaction():
            kept = self.prototypes(self._existing(vehicle))
            home = home_of(kept, view, row, self.above)
            mean = merged(home, row, weight) if home else None
            if mean is not None:
                self.run(
                    "UPDATE prototypes SET feature = ?, weight = ?, count = ? WHERE id = ?",
                    mean.feature.tobytes(), mean.weight, mean.count, mean.id,
                )  # fmt: skip
                return mean.id
            row_id = self.run(
                "INSERT INTO prototypes (vehicle, view, feature, weight, count) VALUES (?, ?, ?, ?, 1)",
                int(vehicle), view, row.tobytes(), float(weight),
            ).lastrowid  # fmt: skip
            new = int(row_id or 0)  # never None after an INSERT
            dropped = [old.id for old in surplus([*kept, Prototype(new, view, row, weight, 1)], self.most)]
            for old in dropped:
                self.run("DELETE FROM prototypes WHERE id = ?", old)
        return None if new in dropped else new

    def add_sighting(self, vehicle: int, sighting: Sighting, score: float, run: str = "") -> int:
        """Write down where and when `vehicle` was seen, with a small picture; returns the sighting's id."""
        with self.transaction():
            return writing.sighting(self.run, self._existing(vehicle), sighting, score, run)

    def rename(self, vehicle: int, name: str) -> None:
        """Give `vehicle` another name. Raises Refused when another vehicle has it."""
        with self.transaction():
            writing.rename(self.run, self.who, int(vehicle), self.name_of(vehicle), name)

    def remove(self, vehicle: int) -> None:
        """Forget `vehicle`, its prototypes and its sightings, for good; its id is never given again."""
        with self.transaction():
            writing.remove(self.run, self.who, self._existing(vehicle))

    # Reading

    def search(self, features: Floats, k: int, vehicles: Sequence[int] | None = None) -> list[list[Hit]]:
        """(B, D) -> for each row the best k vehicles (fewer in a small gallery), falling; of equals the older first.

        `vehicles`: only these ids, those that the gallery does not hold passed over; None: all.
        """
        if k < 1:
            raise Refused(f"k must be at least 1, not {k}")
        rows = unit(features, self.about.dim)
        with self._mutex:
            found = self._following.search(rows, min(k, names.LAST_ID), vehicles)
            called = names.of(self.run, {vehicle for best in found for vehicle, _ in best})
        # a reader may be a moment behind its gallery
        return [[Hit(one, called.get(one, names.given(one)), score) for one, score in best] for best in found]

    def scores(self, features: Floats, vehicles: Sequence[int]) -> Floats:
        """(B, D) -> (B, len(vehicles)) of the best cosine over each vehicle's prototypes; -1 for one without any."""
        rows = unit(features, self.about.dim)
        with self._mutex:
            return self._following.scores(rows, vehicles)

    def name_of(self, vehicle: int) -> str:
        """The name of a vehicle. Raises Refused for an id that the gallery does not hold."""
        row = None
        if 1 <= vehicle <= names.LAST_ID:
            row = self.run("SELECT name FROM vehicles WHERE id = ?", int(vehicle)).fetchone()
        if row is None:
            raise Refused(f"there is no vehicle {vehicle} in the gallery; 'vreid gallery list' shows them")
        return str(row[0])

    def find(self, text: str) -> int:
        """The id of the vehicle that a person calls by name or by id. Raises Refused when none or two are meant."""
        return names.found(self.run, text)

    def vehicles(self, thumbnails: bool = True, only: Filter = EVERYTHING) -> list[listing.Vehicle]:
        """The vehicles that `only` lets through, by rising id."""
        with self._mutex, database.spoken(self.path):
            return listing.listed(self._connection, thumbnails, only)

    def stats(self) -> listing.Stats:
        """The gallery in numbers."""
        about = self.about
        with self._mutex, database.spoken(self.path):
            return listing.counted(self._connection, self.path, about.dim, about.model, about.fingerprint)

    # Inside

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """One SQL statement, for the files of runtime/gallery/; what writes belongs inside `transaction`."""
        # A camera named after a file may hold bytes that are no UTF-8.
        clean = [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in values]
        with self._mutex, database.spoken(self.path):
            cursor = self._connection.cursor(database.Cursor)
            cursor.path = self.path
            return cursor.execute(statement, clean)

    def _existing(self, vehicle: int) -> int:
        self.name_of(vehicle)
        return int(vehicle)

    def prototypes(self, vehicle: int) -> list[Prototype]:
        """What stands for `vehicle`, the oldest first."""
        query = "SELECT id, view, feature, weight, count FROM prototypes WHERE vehicle = ? ORDER BY id"
        rows = self.run(query, vehicle).fetchall()
        return [
            Prototype(id_, view, from_blobs([blob], self.about.dim)[0], weight, count)
            for id_, view, blob, weight, count in rows
        ]
