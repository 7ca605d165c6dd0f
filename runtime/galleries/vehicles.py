"""An open gallery: the world's vehicles in an SQLite file, searched through an index that is derived from it."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.galleries import listing, names, store
from vreid.runtime.galleries.derived import VehicleIndex
from vreid.runtime.galleries.listing import Hit
from vreid.runtime.galleries.prototypes import Prototype, from_blobs, home_of, merged, surplus, unit
from vreid.runtime.records import Floats, Sighting, kind_name


class Gallery:
    """An open gallery; made by `open_gallery` or `read_gallery`. Any thread may call it.

    Every call that writes is on the disk when it returns (WAL, synchronous=FULL), unless it is inside `transaction`.
    The index is filled from the file at the first search, and again when another process has written.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        about: store.About,
        index: str,
        lock: int | None,
        max_prototypes: int,
        merge_above: float,
    ) -> None:
        self.path, self.about, self.writable = path, about, lock is not None
        self._connection, self._lock, self._kind = connection, lock, index
        self._most, self._above = max_prototypes, merge_above
        self._mutex = threading.RLock()
        self._depth = self._version = self._touched = 0
        self._index: VehicleIndex | None = None

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the writer's lock; a second call does nothing."""
        with self._mutex:
            self._connection.close()
            if self._lock is not None:
                store.unlocked(self.path, self._lock)
                self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept together, or nothing is, the index included. Nests (savepoints)."""
        if not self.writable:
            raise Refused(f"the gallery {self.path} was opened for reading; open it for writing")
        with self._mutex:
            mark = f"level{self._depth}"
            begin, end = ("SAVEPOINT " + mark, "RELEASE " + mark) if self._depth else ("BEGIN IMMEDIATE", "COMMIT")
            touched = self._touched
            self._run(begin)
            self._depth += 1
            try:
                yield
                self._run(end)
            except BaseException:
                if self._touched != touched:
                    self._index = None  # filled again at the next search
                if self._connection.in_transaction:  # SQLite itself rolls back on some errors of the disk
                    self._run(f"ROLLBACK TO {mark}" if self._depth > 1 else "ROLLBACK")
                    if self._depth > 1:
                        self._run(end)
                raise
            finally:
                self._depth -= 1

    def add_vehicle(self, name: str | None = None, picture: Image | None = None, kind: str | None = None) -> int:
        """The new vehicle's id, never used before; without a name it is "vehicle-0001" after its id.

        Raises Refused for a name that is taken, empty, too long or not printable.
        """
        thumbnail = None if picture is None else listing.thumbnail_of(picture)
        with self.transaction():
            row = self._run("SELECT seq FROM sqlite_sequence WHERE name = 'vehicles'").fetchone()
            vehicle = (row[0] if row else 0) + 1
            if vehicle > names.LAST_ID:  # MOT text and its readers have 31 bits for an id
                raise Refused(f"the gallery {self.path} has given its last id, {names.LAST_ID}; begin a new one")
            chosen = names.free(self._run, f"vehicle-{vehicle:04d}") if name is None else names.checked(self._run, name)
            self._run(
                "INSERT INTO vehicles (id, name, created, kind, thumbnail) VALUES (?, ?, ?, ?, ?)",
                vehicle, chosen, time.time(), kind, thumbnail,
            )  # fmt: skip
        return int(vehicle)

    def add_prototype(self, vehicle: int, view: str, feature: Floats, weight: float = 1.0) -> int | None:
        """Let a feature (D,) stand for `vehicle`, seen from `view` with a quality of `weight` > 0.

        It is averaged into the nearest prototype of the view when near enough, otherwise a new one, and beyond the
        cap the lightest goes. Returns the prototype that holds it; None when it was itself the lightest.
        """
        if not (np.isfinite(weight) and weight > 0):
            raise Refused(f"a prototype's weight must be above 0, not {weight}; pass the crop's quality")
        row = unit(np.asarray(feature)[None], self.about.dim)[0]
        with self.transaction():
            kept = self._prototypes(self._existing(vehicle))
            home = home_of(kept, view, row, self._above)
            mean = merged(home, row, weight) if home else None
            if mean is not None:
                self._run(
                    "UPDATE prototypes SET feature = ?, weight = ?, count = ? WHERE id = ?",
                    mean.feature.tobytes(), mean.weight, mean.count, mean.id,
                )  # fmt: skip
                self._place(vehicle, mean.id, mean.feature)
                return mean.id
            row_id = self._run(
                "INSERT INTO prototypes (vehicle, view, feature, weight, count) VALUES (?, ?, ?, ?, 1)",
                int(vehicle), view, row.tobytes(), float(weight),
            ).lastrowid  # fmt: skip
            new = int(row_id or 0)  # never None after an INSERT
            self._place(vehicle, new, row)
            dropped = [old.id for old in surplus([*kept, Prototype(new, view, row, weight, 1)], self._most)]
            self._drop(dropped)
        return None if new in dropped else new

    def add_sighting(self, vehicle: int, sighting: Sighting, score: float, run: str = "") -> int:
        """Write down where and when `vehicle` was seen, with a small picture; returns the sighting's id."""
        with self.transaction():
            new = self._run(
                "INSERT INTO sightings (vehicle, camera, track, first_time, last_time, first_frame, last_frame, score,"
                " thumbnail, run, seen, kind, plate, quality, feature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                self._existing(vehicle), sighting.camera, int(sighting.track), sighting.first_time, sighting.last_time,
                int(sighting.first_frame), int(sighting.last_frame), float(score),
                listing.thumbnail_of(sighting.picture), run, float(sighting.seen), kind_name(sighting.kind), sighting.plate,
                float(sighting.quality), np.asarray(sighting.feature, np.float16).tobytes(),
            ).lastrowid  # fmt: skip
        return int(new or 0)

    def rename(self, vehicle: int, name: str) -> None:
        """Give `vehicle` another name. Raises Refused when another vehicle has it."""
        with self.transaction():
            if self.name_of(vehicle) != name:
                self._run("UPDATE vehicles SET name = ? WHERE id = ?", names.checked(self._run, name), int(vehicle))

    def remove(self, vehicle: int) -> None:
        """Forget `vehicle`, its prototypes and its sightings; its id is never given again."""
        with self.transaction():
            rows = self._run("SELECT id FROM prototypes WHERE vehicle = ?", self._existing(vehicle)).fetchall()
            self._drop([row[0] for row in rows])
            self._run("DELETE FROM vehicles WHERE id = ?", int(vehicle))

    # Reading

    def search(self, features: Floats, k: int) -> list[list[Hit]]:
        """(B, D) -> for each row the best k vehicles (fewer in a small gallery), falling; of equals the older first."""
        if k < 1:
            raise Refused(f"k must be at least 1, not {k}")
        rows = unit(features, self.about.dim)
        with self._mutex:
            found = self._ready().search(rows, min(k, names.LAST_ID))
            return [[self._hit(vehicle, score) for vehicle, score in best] for best in found]

    def scores(self, features: Floats, vehicles: Sequence[int]) -> Floats:
        """(B, D) -> (B, len(vehicles)) of the best cosine over each vehicle's prototypes; -1 for one without any."""
        rows = unit(features, self.about.dim)
        every = np.full((len(rows), len(vehicles)), -1.0, np.float32)
        with self._mutex:
            for column, vehicle in enumerate(vehicles):
                kept = self._prototypes(int(vehicle))
                if kept:
                    every[:, column] = (rows @ np.stack([prototype.feature for prototype in kept]).T).max(axis=1)
        return every

    def name_of(self, vehicle: int) -> str:
        """The name of a vehicle. Raises Refused for an id that the gallery does not hold."""
        row = None
        if 1 <= vehicle <= names.LAST_ID:
            row = self._run("SELECT name FROM vehicles WHERE id = ?", int(vehicle)).fetchone()
        if row is None:
            raise Refused(f"there is no vehicle {vehicle} in the gallery; 'vreid gallery list' shows them")
        return str(row[0])

    def find(self, text: str) -> int:
        """The id of the vehicle that a person calls by name or by id. Raises Refused when none or two are meant."""
        return names.found(self._run, text)

    def vehicles(self, thumbnails: bool = True) -> list[listing.Vehicle]:
        """Every vehicle by rising id."""
        with self._mutex, store.spoken(self.path):
            return listing.listed(self._connection, thumbnails)

    def stats(self) -> listing.Stats:
        """The gallery in numbers."""
        about = self.about
        with self._mutex, store.spoken(self.path):
            return listing.counted(self._connection, self.path, about.dim, about.model, about.fingerprint)

    # Inside

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        # A camera named after a file may hold bytes that are no UTF-8.
        clean = [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in values]
        with self._mutex, store.spoken(self.path):
            return self._connection.execute(statement, clean)

    def _existing(self, vehicle: int) -> int:
        self.name_of(vehicle)
        return int(vehicle)

    def _prototypes(self, vehicle: int) -> list[Prototype]:
        query = "SELECT id, view, feature, weight, count FROM prototypes WHERE vehicle = ? ORDER BY id"
        rows = self._run(query, vehicle).fetchall()
        return [
            Prototype(id_, view, from_blobs([blob], self.about.dim)[0], weight, count)
            for id_, view, blob, weight, count in rows
        ]

    def _ready(self) -> VehicleIndex:
        """The index, filled anew when it was dropped or when another connection has written since."""
        (version,) = self._run("PRAGMA data_version").fetchone()
        if self._index is not None and version == self._version:
            return self._index
        index = VehicleIndex(self._kind, self.about.dim)
        cursor = self._run("SELECT id, vehicle, feature FROM prototypes ORDER BY id")
        with store.spoken(self.path):
            while rows := cursor.fetchmany(1 << 14):
                features = from_blobs([row[2] for row in rows], self.about.dim)
                index.add([row[0] for row in rows], [row[1] for row in rows], features)
        self._index, self._version = index, version
        return index

    def _place(self, vehicle: int, prototype: int, feature: Floats) -> None:
        self._touched += 1
        if self._index is not None:
            self._index.add([prototype], [int(vehicle)], feature[None])

    def _drop(self, prototypes: Sequence[int]) -> None:
        self._touched += len(prototypes)
        for prototype in prototypes:
            self._run("DELETE FROM prototypes WHERE id = ?", prototype)
        if self._index is not None:
            self._index.remove(prototypes)

    def _hit(self, vehicle: int, score: float) -> Hit:
        row = self._run("SELECT name FROM vehicles WHERE id = ?", vehicle).fetchone()
        return Hit(vehicle, row[0] if row else f"vehicle-{vehicle:04d}", score)  # a reader may be a moment behind
