"""A gallery's rows in an SQLite file in WAL mode: see `Store` for what each method does."""

import json
import logging
import sqlite3
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from vreid.models.errors import GalleryFull, Refused
from vreid.runtime.gallery import names
from vreid.runtime.gallery.records import (
    EVERYTHING,
    WHOLE,
    About,
    Change,
    Filter,
    Part,
    Place,
    Prototype,
    SightingInfo,
    SightingPicture,
    SightingRow,
    Stats,
    Vehicle,
    VehicleRow,
    with_merged,
)
from vreid.runtime.gallery.sqlite import audit, reading
from vreid.runtime.gallery.sqlite.database import Database, unlock
from vreid.runtime.gallery.sqlite.identities import SqliteIdentities, identities_of
from vreid.runtime.gallery.sqlite.outbox import SqliteOutbox, outbox_of
from vreid.runtime.gallery.sqlite.rows import (
    PrototypeFeatures,
    record_of,
    sighting_row,
    sightings_where,
    stored_features,
    typed,
    vehicle_row,
    vehicles_where,
    zones_text,
)
from vreid.runtime.records import Floats
from vreid.runtime.topology import Span

_VEHICLE = "id, name, named, created, kind, pictured, thumbnail"
_FIELDS = tuple(field.name for field in fields(SightingRow))
_SIGHTING = ", ".join(_FIELDS)
_log = logging.getLogger("vreid.gallery")


class SqliteStore:
    """A `Store`. What a transaction wrote is on the disk when it ends (WAL, synchronous=FULL)."""

    def __init__(self, database: Database, about: About, handle: int | None) -> None:
        """`handle`: of the writer's lock; None: for reading."""
        self.name, self.path, self.about, self.writable = str(database.path), database.path, about, handle is not None
        self.features = PrototypeFeatures(database, about.dim)
        self._database = database
        self._run, self._rows, self._row, self._column = database.run, database.rows, database.row, database.column
        self._finish = weakref.finalize(self, _let_go, database, self.path, handle)  # also of one that nobody closed

    def close(self) -> None:
        self._finish()

    def transaction(self) -> AbstractContextManager[None]:
        return self._database.transaction()

    def reading(self) -> AbstractContextManager[None]:
        return self._database.reading()

    # Vehicles

    def new_vehicle_id(self) -> int:
        vehicle = self.last_vehicle_id() + 1
        if vehicle > names.LAST_ID:  # MOT text and its readers have 31 bits for an id
            raise Refused(f"the gallery {self.path} has given its last id, {names.LAST_ID}; begin a new one")
        return vehicle

    def last_vehicle_id(self) -> int:
        return self._database.last_id("vehicles")

    def reserve_vehicle_ids(self, last: int) -> None:
        if not self._row("SELECT 1 FROM sqlite_sequence WHERE name = 'vehicles'"):  # no vehicle was ever added
            self._run("INSERT INTO sqlite_sequence (name, seq) VALUES ('vehicles', 0)")
        self._run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'vehicles'", last)

    def add_vehicle(self, row: VehicleRow) -> None:
        insert = f"INSERT INTO vehicles ({_VEHICLE}, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        self._run(insert, *astuple(row), names.key_of(row.name))

    def update_vehicle(self, row: VehicleRow) -> None:
        columns = ", ".join(f"{name} = ?" for name in (*_VEHICLE.split(", ")[1:], "key"))
        self._run(f"UPDATE vehicles SET {columns} WHERE id = ?", *astuple(row)[1:], names.key_of(row.name), row.id)

    def delete_vehicle(self, vehicle: int) -> None:
        self._run("DELETE FROM prototypes WHERE vehicle = ?", vehicle)
        self._run("DELETE FROM vehicles WHERE id = ?", vehicle)

    def vehicle(self, vehicle: int) -> VehicleRow | None:
        row = self._row(f"SELECT {_VEHICLE} FROM vehicles WHERE id = ?", vehicle)
        return None if row is None else vehicle_row(self.path, row)

    def vehicle_rows(self, only: Filter = EVERYTHING) -> Iterator[VehicleRow]:
        where, values = vehicles_where(only)
        return (
            vehicle_row(self.path, row)
            for row in self._rows(f"SELECT {_VEHICLE} FROM vehicles v WHERE {where} ORDER BY v.id", *values)
        )

    def name_of(self, vehicle: int) -> str | None:
        row = self._row("SELECT name FROM vehicles WHERE id = ?", vehicle)
        return None if row is None else str(row[0])

    def names(self, vehicles: Collection[int]) -> dict[int, str]:
        query = "SELECT id, name FROM vehicles WHERE id IN (SELECT value FROM json_each(?))"
        rows = (typed(self.path, row, int, str) for row in self._rows(query, json.dumps([*vehicles])))
        return {vehicle: name for vehicle, name in rows}

    def vehicle_with_key(self, key: str) -> int | None:
        row = self._row("SELECT id FROM vehicles WHERE key = ?", key)
        return None if row is None else int(row[0])

    def vehicle_ids(self, only: Filter = EVERYTHING) -> list[int]:
        return self.features.vehicle_ids(only)

    def vehicles(self, only: Filter = EVERYTHING, thumbnails: bool = True, part: Part = WHOLE) -> list[Vehicle]:
        with self.reading():
            return reading.vehicle_page(self._database, only, thumbnails, part)

    def place(self, vehicle: int, sort: str) -> Place:
        return reading.place_of(self._database, vehicle, sort)

    def count(self, only: Filter) -> int:
        where, values = vehicles_where(only)
        return int(self._row(f"SELECT count(*) FROM vehicles v WHERE {where}", *values)[0])

    def stats(self) -> Stats:
        counts = self._row(
            """SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes),
                      (SELECT count(*) FROM sightings), (SELECT count(DISTINCT camera) FROM sightings),
                      (SELECT min(seen) FROM sightings), (SELECT max(seen) FROM sightings),
                      (SELECT CAST(value AS REAL) FROM meta WHERE key = 'retention'), (SELECT count(*) FROM audit)"""
        )
        about, size = self.about, self.path.stat().st_size
        cells = (*counts[:4], about.dim, about.model, about.fingerprint, size, *counts[4:])
        return record_of(self.path, Stats, cells)

    def size(self) -> tuple[int, int]:
        vehicles, prototypes = self._row("SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes)")
        return int(vehicles), int(prototypes)

    # Prototypes

    def prototypes(self, vehicle: int) -> list[Prototype]:
        query = "SELECT id, view, feature, weight, count FROM prototypes WHERE vehicle = ? ORDER BY id"
        dim = self.about.dim
        return [
            record_of(self.path, Prototype, (id_, view, stored_features([blob], dim, self.path)[0], weight, count))
            for id_, view, blob, weight, count in self._rows(query, vehicle)
        ]

    def add_prototype(self, vehicle: int, prototype: Prototype, same_id: bool = False) -> int:
        row = self._run(
            "INSERT INTO prototypes (id, vehicle, view, feature, weight, count) VALUES (?, ?, ?, ?, ?, ?)",
            prototype.id if same_id else None, vehicle, prototype.view, prototype.feature.tobytes(), prototype.weight,
            prototype.count,
        )  # fmt: skip
        return int(row.lastrowid or 0)  # never None after an INSERT

    def update_prototype(self, prototype: Prototype) -> None:
        self._run(
            "UPDATE prototypes SET feature = ?, weight = ?, count = ? WHERE id = ?",
            prototype.feature.tobytes(), prototype.weight, prototype.count, prototype.id,
        )  # fmt: skip

    def delete_prototypes(self, ids: Iterable[int]) -> None:
        for id_ in ids:
            self._run("DELETE FROM prototypes WHERE id = ?", id_)

    def move_prototypes(self, old: int, new: int) -> None:
        self._run("UPDATE prototypes SET vehicle = ? WHERE vehicle = ?", new, old)

    # Sightings

    def add_sighting(self, vehicle: int, row: SightingRow) -> int:
        cells = [getattr(row, name) for name in _FIELDS]
        cells[-2:] = [None if row.feature is None else row.feature.tobytes(), zones_text(row.zones)]
        marks = ", ".join("?" * (1 + len(cells)))
        inserted = self._run(f"INSERT INTO sightings (vehicle, {_SIGHTING}) VALUES ({marks})", vehicle, *cells)
        return int(inserted.lastrowid or 0)

    def extend_sighting(self, vehicle: int, row: SightingRow) -> bool:
        found = self._run(
            "UPDATE sightings SET seen = ?, last_time = ?, last_frame = ?, zones = ? WHERE id = (SELECT max(id) FROM sightings"
            " WHERE vehicle = ? AND camera = ? AND track = ? AND run = ? AND first_time = ?)",
            row.seen, row.last_time, row.last_frame, zones_text(row.zones), vehicle, row.camera, row.track, row.run, row.first_time,
        )  # fmt: skip
        return found.rowcount > 0

    def begin_with(self, vehicle: int, moment: float) -> None:
        self._run(
            "UPDATE vehicles SET created = min(created, ?1), pictured = min(pictured, ?1) WHERE id = ?2 AND NOT named"
            " AND created > ?1 AND NOT EXISTS (SELECT 1 FROM sightings WHERE vehicle = ?2)",
            moment, vehicle,
        )  # fmt: skip

    def sighting_ids(self, vehicle: int) -> list[int]:
        return self._column("SELECT id FROM sightings WHERE vehicle = ? ORDER BY id", vehicle)

    def vehicles_of_sightings(self, ids: Collection[int]) -> dict[int, int]:
        query = "SELECT id, vehicle FROM sightings WHERE id IN (SELECT value FROM json_each(?))"
        rows = (typed(self.path, row, int, int) for row in self._rows(query, json.dumps([*ids])))
        return {sighting: vehicle for sighting, vehicle in rows}

    def sightings(self, vehicle: int, only: Filter = EVERYTHING) -> list[SightingInfo]:
        return reading.sightings_of(self._database, vehicle, only)

    def latest_sightings(
        self, only: Filter = EVERYTHING, before: tuple[float, int] | None = None, limit: int = 50
    ) -> list[SightingInfo]:
        return reading.latest_sightings(self._database, only, before, limit)

    def sightings_after(self, sighting: int, limit: int) -> list[SightingInfo]:
        return reading.sightings_after(self._database, sighting, limit)

    def last_sighting_id(self) -> int:
        return self._database.last_id("sightings")

    def sighting(self, sighting: int) -> SightingInfo | None:
        return reading.sighting_of(self._database, sighting)

    def sightings_of_ids(self, ids: Collection[int]) -> list[SightingInfo]:
        return reading.sightings_of_ids(self._database, ids)

    def have_picture(self, ids: Collection[int], jpeg: bytes) -> bool:
        return reading.have_picture(self._database, ids, jpeg)

    def sighting_picture(self, sighting: int) -> bytes | None:
        return reading.sighting_picture(self._database, sighting)

    def sighting_feature(self, sighting: int) -> Floats | None:
        return reading.sighting_feature(self._database, sighting, self.about.dim)

    def vehicle_picture(self, vehicle: int) -> bytes | None:
        return reading.vehicle_picture(self._database, vehicle)

    def cameras(self) -> list[str]:
        return reading.values_of(self._database, "camera")

    def kinds(self) -> list[str]:
        return reading.values_of(self._database, "kind")

    def sighting_rows(self, vehicle: int) -> Iterator[SightingRow]:
        for cells in self._rows(f"SELECT {_SIGHTING} FROM sightings WHERE vehicle = ? ORDER BY id", vehicle):
            yield sighting_row(self.path, cells, self.about.dim)

    def pictures(self, vehicle: int, only: Filter = EVERYTHING, most: int | None = None) -> Iterator[SightingPicture]:
        where, values = sightings_where(only)
        rows = self._rows(
            f"SELECT s.id, s.camera, s.seen, s.thumbnail FROM sightings s WHERE s.vehicle = ? AND {where}"
            " AND s.thumbnail NOTNULL ORDER BY s.id DESC LIMIT ?",
            vehicle, *values, -1 if most is None else most,
        )  # fmt: skip
        return (record_of(self.path, SightingPicture, row) for row in rows)

    def move_sightings(self, old: int, new: int, ids: Sequence[int] | None = None) -> None:
        if ids is None:
            self._run("UPDATE sightings SET vehicle = ? WHERE vehicle = ?", new, old)
        else:
            for id_ in ids:
                self._run("UPDATE sightings SET vehicle = ? WHERE id = ? AND vehicle = ?", new, id_, old)

    def delete_sightings(self, before: float) -> int:
        return self._run("DELETE FROM sightings WHERE seen < ?", before).rowcount

    def remove_sightings(self, ids: Collection[int]) -> None:
        self._run("DELETE FROM sightings WHERE id IN (SELECT value FROM json_each(?))", json.dumps([*ids]))

    def seen_since(self, since: float) -> list[tuple[int, Span]]:
        rows = self._rows(
            "SELECT vehicle, id, camera, seen - (last_time - first_time), seen FROM sightings WHERE seen >= ? ORDER BY id",
            since,
        )
        cells = (typed(self.path, row, int, int, str, float, float) for row in rows)
        return [(vehicle, Span(camera, -sighting, first, last)) for vehicle, sighting, camera, first, last in cells]

    def vehicles_with_plates(self, plates: Iterable[str] | None) -> set[int]:
        if plates is None:
            return set(self._column("SELECT DISTINCT vehicle FROM sightings WHERE plate IS NOT NULL"))
        query = "SELECT DISTINCT vehicle FROM sightings WHERE plate = ?"
        return {vehicle for plate in plates for vehicle in self._column(query, plate)}

    def backup(self, path: Path) -> None:
        self._database.backup(path)

    def outbox(self, make: bool = False) -> SqliteOutbox | None:
        return outbox_of(self._database, self.about.dim, make)

    def identities(self) -> SqliteIdentities | None:
        return identities_of(self._database)

    def inbox(self) -> None:
        return None

    def proposals(self) -> None:
        return None

    def retention(self) -> float | None:
        text = self.setting("retention")
        try:
            return None if text is None else float(text)
        except ValueError as error:
            kept = f"the gallery {self.path} keeps sightings for '{text}', which is not a number"
            raise Refused(f"{kept}; set it with 'vreid gallery retain'") from error

    def set_retention(self, seconds: float | None) -> None:
        self.set_setting("retention", None if seconds is None else str(seconds))

    def setting(self, key: str) -> str | None:
        row = self._row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    def settings(self, prefix: str) -> dict[str, str]:
        return dict(self._rows("SELECT key, value FROM meta WHERE key >= ?1 AND key < ?1 || char(1114111)", prefix))

    def set_setting(self, key: str, value: str | None) -> None:
        self._run("DELETE FROM meta WHERE key = ?", key)
        if value is not None:
            self._run("INSERT INTO meta VALUES (?, ?)", key, value)

    def trim_settings(self, prefix: str, before: str, most: int) -> None:
        among = "key >= ?1 AND key < ?1 || char(1114111)"
        self._run(f"DELETE FROM meta WHERE {among} AND value < ?2", prefix, before)
        newest = f"SELECT key FROM meta WHERE {among} ORDER BY value DESC LIMIT -1 OFFSET ?2"
        self._run(f"DELETE FROM meta WHERE key IN ({newest})", prefix, most)

    def vehicles_without_sightings(self, before: float, named: bool) -> list[int]:
        seen = "SELECT vehicle FROM sightings"
        where = f"(NOT named OR ?) AND created < ? AND id NOT IN ({seen})"
        return self._column(f"SELECT id FROM vehicles WHERE {where}", named, before)

    def delete_run_pictures(self, before: float) -> int:
        bare = "UPDATE vehicles SET thumbnail = NULL, pictured = NULL WHERE thumbnail NOTNULL AND pictured < ?"
        return self._run(bare, before).rowcount

    def compact(self) -> None:
        try:
            self._run("VACUUM")
        except GalleryFull:
            _log.warning("there is no room to make the file smaller: the gallery %s keeps its size", self.path)
        self.wipe()

    def wipe(self) -> None:
        try:  # the write-ahead log still holds what was deleted; a reader may put that off until the next time
            self._row("PRAGMA wal_checkpoint(TRUNCATE)")
        except Refused as error:  # inside of an outer transaction, which still may be taken back
            if not isinstance(error.__cause__, sqlite3.OperationalError):
                raise

    # Audit

    def add_change(self, who: str, verb: str, vehicle: int | None, detail: Mapping[str, Any]) -> int:
        return audit.add_change(self._database, who, verb, vehicle, detail)

    def changes(
        self,
        last: int | None = None,
        vehicle: int | None = None,
        verbs: Collection[str] | None = None,
        before: int | None = None,
    ) -> list[Change]:
        return audit.changes(self._database, last, vehicle, verbs, before)

    def changes_after(self, change: int, limit: int) -> list[Change]:
        return audit.changes_after(self._database, change, limit)

    def mark_undone(self, change: int, by: int) -> None:
        audit.mark_undone(self._database, change, by)

    def drop_undo(self, changes: Collection[int]) -> None:
        audit.drop_undo(self._database, changes)

    def forget_changes(self, vehicles: Collection[int], verbs: Collection[str] | None = None) -> None:
        gone = with_merged(vehicles, self.changes(verbs=("merge",)))
        gone -= self.names(gone).keys() - {*vehicles}
        audit.forget_changes(self._database, gone, verbs)

    def trim_changes(self, before: float) -> None:
        audit.trim_changes(self._database, before)


def _let_go(database: Database, path: Path, handle: int | None) -> None:
    database.close()
    if handle is not None:
        unlock(path, handle)
