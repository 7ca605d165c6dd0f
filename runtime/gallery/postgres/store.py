"""A gallery's rows in a schema of a PostgreSQL database: see `Store` for what each method does."""

import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from vreid.models.errors import GalleryDamaged, Refused
from vreid.runtime.gallery import names
from vreid.runtime.gallery.inbox import Inbox
from vreid.runtime.gallery.postgres import audit, reading, sightings
from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.features import PrototypeFeatures
from vreid.runtime.gallery.postgres.inbox import PostgresInbox
from vreid.runtime.gallery.postgres.proposals import PostgresProposals
from vreid.runtime.gallery.postgres.rows import (
    VEHICLE,
    features_of,
    numbers,
    vehicles_where,
)
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
from vreid.runtime.records import Floats
from vreid.runtime.topology import Span

TABLES = (  # all but those that hold nothing of vehicles
    "settings", "vehicles", "prototypes", "sightings", "changes", "audit", "received", "box_sightings", "identities", "removals",
    "proposals",
)  # fmt: skip
_LAST_IDS, _RETENTION = {"vehicles": "last vehicle", "sightings": "last sighting"}, "retention"  # keys of settings


class PostgresStore:
    """A `Store`. What a transaction wrote is on the server's disk when it ends, unless its synchronous_commit is off."""

    def __init__(self, database: Database, about: About, writable: bool) -> None:
        self.name, self.path = database.name, database.address.path
        self.about, self.writable = about, writable
        self.features = PrototypeFeatures(database, about.dim)
        self._database, self._inbox = database, PostgresInbox(database)
        self._run, self._rows = database.run, database.rows
        self._row, self._column = database.row, database.column
        self._finish = weakref.finalize(self, database.close)  # also of one that nobody closed

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
            raise Refused(f"the gallery {self.name} has given its last id, {names.LAST_ID}; begin a new one")
        return vehicle

    def last_vehicle_id(self) -> int:
        return self._last_id("vehicles")

    def reserve_vehicle_ids(self, last: int) -> None:
        self._keep_last_id("vehicles", last)

    def _last_id(self, table: str) -> int:
        """The greatest id that there is, or that was kept before it was deleted. Only what is committed: a sequence is ahead."""
        kept = int(self._number(_LAST_IDS[table]) or 0)
        return max(kept, int(self._row(f"SELECT coalesce(max(id), 0) FROM {table}")[0]))

    def _keep_last_id(self, table: str, last: int) -> None:
        if last > (self._number(_LAST_IDS[table]) or 0):
            self.set_setting(_LAST_IDS[table], str(last))

    def add_vehicle(self, row: VehicleRow) -> None:
        insert = "INSERT INTO vehicles (id, name, named, created, kind, pictured, thumbnail, key) VALUES ({})"
        self._run(insert.format(", ".join(["%s"] * 8)), *astuple(row), names.key_of(row.name))

    def update_vehicle(self, row: VehicleRow) -> None:
        self._run(
            "UPDATE vehicles SET name = %s, named = %s, created = %s, kind = %s, pictured = %s, thumbnail = %s, key = %s"
            " WHERE id = %s",
            *astuple(row)[1:], names.key_of(row.name), row.id,
        )  # fmt: skip

    def delete_vehicle(self, vehicle: int) -> None:
        for table in _LAST_IDS:
            self._keep_last_id(table, self._last_id(table))
        self._run("DELETE FROM vehicles WHERE id = %s", vehicle)

    def vehicle(self, vehicle: int) -> VehicleRow | None:
        row = self._row(f"SELECT {VEHICLE} FROM vehicles v WHERE v.id = %s", vehicle)
        return None if row is None else VehicleRow(*row)

    def vehicle_rows(self, only: Filter = EVERYTHING) -> Iterator[VehicleRow]:
        for id_ in self.vehicle_ids(only):
            if (row := self.vehicle(id_)) is not None:
                yield row

    def name_of(self, vehicle: int) -> str | None:
        row = self._row("SELECT name FROM vehicles WHERE id = %s", vehicle)
        return None if row is None else str(row[0])

    def names(self, vehicles: Collection[int]) -> dict[int, str]:
        return dict(self._rows("SELECT id, name FROM vehicles WHERE id = ANY(%s::bigint[])", [*vehicles]))

    def vehicle_with_key(self, key: str) -> int | None:
        row = self._row("SELECT id FROM vehicles WHERE key = %s", key)
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
        with self.reading():
            counts = self._row(
                """SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes),
                          (SELECT count(*) FROM sightings), (SELECT min(seen) FROM sightings),
                          (SELECT max(seen) FROM sightings), (SELECT count(*) FROM audit),
                          (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                           WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r')"""
            )
            about, retention, cameras = self.about, self.retention(), len(self.cameras())
        vehicles, prototypes, sightings, oldest, newest, changes, size = counts
        return Stats(
            vehicles, prototypes, sightings, cameras, about.dim, about.model, about.fingerprint, size, oldest, newest,
            retention, changes,
        )  # fmt: skip

    def size(self) -> tuple[int, int]:
        vehicles, prototypes = self._row("SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes)")
        return int(vehicles), int(prototypes)

    # Prototypes

    def prototypes(self, vehicle: int) -> list[Prototype]:
        query = "SELECT id, view, vector_send(feature), weight, count FROM prototypes WHERE vehicle = %s ORDER BY id"
        return [
            Prototype(id_, view, features_of([blob], self.about.dim)[0], weight, count)
            for id_, view, blob, weight, count in self._rows(query, vehicle)
        ]

    def add_prototype(self, vehicle: int, prototype: Prototype, same_id: bool = False) -> int:
        new = "%s" if same_id else "nextval('prototypes_id_seq')"
        row = self._row(
            f"INSERT INTO prototypes (id, vehicle, view, feature, weight, count)"
            f" VALUES ({new}, %s, %s, %s::float8[]::vector, %s, %s) RETURNING id",
            *([prototype.id] if same_id else []), vehicle, prototype.view, numbers(prototype.feature), prototype.weight,
            prototype.count,
        )  # fmt: skip
        if same_id:
            self._row(
                "SELECT setval('prototypes_id_seq', greatest(%s, last_value)) FROM prototypes_id_seq", prototype.id
            )
        return int(row[0])

    def update_prototype(self, prototype: Prototype) -> None:
        self._run(
            "UPDATE prototypes SET feature = %s::float8[]::vector, weight = %s, count = %s WHERE id = %s",
            numbers(prototype.feature), prototype.weight, prototype.count, prototype.id,
        )  # fmt: skip

    def delete_prototypes(self, ids: Iterable[int]) -> None:
        self._run("DELETE FROM prototypes WHERE id = ANY(%s::bigint[])", [*ids])

    def move_prototypes(self, old: int, new: int) -> None:
        self._run("UPDATE prototypes SET vehicle = %s WHERE vehicle = %s", new, old)

    # Sightings

    def add_sighting(self, vehicle: int, row: SightingRow) -> int:
        return sightings.add_sighting(self._database, vehicle, row)

    def extend_sighting(self, vehicle: int, row: SightingRow) -> bool:
        return sightings.extend_sighting(self._database, vehicle, row)

    def begin_with(self, vehicle: int, moment: float) -> None:
        sightings.begin_with(self._database, vehicle, moment)

    def sighting_ids(self, vehicle: int) -> list[int]:
        return self._column("SELECT id FROM sightings WHERE vehicle = %s ORDER BY id", vehicle)

    def vehicles_of_sightings(self, ids: Collection[int]) -> dict[int, int]:
        return dict(self._rows("SELECT id, vehicle FROM sightings WHERE id = ANY(%s::bigint[])", [*ids]))

    def sightings(self, vehicle: int, only: Filter = EVERYTHING) -> list[SightingInfo]:
        return reading.sightings_of(self._database, vehicle, only)

    def latest_sightings(
        self, only: Filter = EVERYTHING, before: tuple[float, int] | None = None, limit: int = 50
    ) -> list[SightingInfo]:
        return reading.latest_sightings(self._database, only, before, limit)

    def sightings_after(self, sighting: int, limit: int) -> list[SightingInfo]:
        return reading.sightings_after(self._database, sighting, limit)

    def last_sighting_id(self) -> int:
        return self._last_id("sightings")

    def sighting(self, sighting: int) -> SightingInfo | None:
        return reading.sighting_of(self._database, sighting)

    def sightings_of_ids(self, ids: Collection[int]) -> list[SightingInfo]:
        return reading.sightings_of_ids(self._database, ids)

    def have_picture(self, ids: Collection[int], jpeg: bytes) -> bool:
        return reading.have_picture(self._database, ids, jpeg)

    def sighting_picture(self, sighting: int) -> bytes | None:
        return reading.sighting_picture(self._database, sighting)

    def sighting_feature(self, sighting: int) -> Floats | None:
        return reading.sighting_feature(self._database, sighting)

    def vehicle_picture(self, vehicle: int) -> bytes | None:
        return reading.vehicle_picture(self._database, vehicle)

    def cameras(self) -> list[str]:
        return reading.values_of(self._database, "camera")

    def kinds(self) -> list[str]:
        return reading.values_of(self._database, "kind")

    def sighting_rows(self, vehicle: int) -> Iterator[SightingRow]:
        return sightings.sighting_rows(self._database, vehicle)

    def pictures(self, vehicle: int, only: Filter = EVERYTHING, most: int | None = None) -> Iterator[SightingPicture]:
        return sightings.pictures(self._database, vehicle, only, most)

    def move_sightings(self, old: int, new: int, ids: Sequence[int] | None = None) -> None:
        sightings.move_sightings(self._database, old, new, ids)

    def delete_sightings(self, before: float) -> int:
        self._keep_last_id("sightings", self._last_id("sightings"))
        return sightings.delete_sightings(self._database, before)

    def remove_sightings(self, ids: Collection[int]) -> None:
        self._keep_last_id("sightings", self._last_id("sightings"))
        self._run("DELETE FROM sightings WHERE id = ANY(%s::bigint[])", [*ids])

    def seen_since(self, since: float) -> list[tuple[int, Span]]:
        return sightings.seen_since(self._database, since)

    def vehicles_with_plates(self, plates: Iterable[str] | None) -> set[int]:
        return sightings.vehicles_with_plates(self._database, plates)

    def backup(self, path: Path) -> None:
        raise Refused(
            f"a backup of {self.name} is made by pg_dump; 'vreid gallery export' writes its vehicles to a file"
        )

    def outbox(self, make: bool = False) -> None:
        if make:
            fix = "keep the box's gallery in a file, or leave [fleet] out"
            raise Refused(f"the gallery {self.name} is in a database and has no outbox for a centre; {fix}")

    def identities(self) -> None:
        return None

    def inbox(self) -> Inbox:
        return self._inbox

    def proposals(self) -> PostgresProposals:
        return PostgresProposals(self._database)

    # Retention

    def retention(self) -> float | None:
        return self._number(_RETENTION)

    def set_retention(self, seconds: float | None) -> None:
        self.set_setting(_RETENTION, None if seconds is None else str(seconds))

    def setting(self, key: str) -> str | None:
        row = self._row("SELECT value FROM settings WHERE key = %s", key)
        return None if row is None else str(row[0])

    def _number(self, key: str) -> float | None:
        """Raises GalleryDamaged for a setting that is not a number."""
        text = self.setting(key)
        try:
            return None if text is None else float(text)
        except ValueError as error:
            raise GalleryDamaged(
                f"the gallery {self.name} is damaged ('{key}' in its settings); restore a backup"
            ) from error

    def settings(self, prefix: str) -> dict[str, str]:
        return dict(self._rows("SELECT key, value FROM settings WHERE starts_with(key, %s)", prefix))

    def set_setting(self, key: str, value: str | None) -> None:
        self._run("DELETE FROM settings WHERE key = %s", key)
        if value is not None:
            self._run("INSERT INTO settings VALUES (%s, %s)", key, value)

    def trim_settings(self, prefix: str, before: str, most: int) -> None:
        self._run("DELETE FROM settings WHERE starts_with(key, %s) AND value < %s", prefix, before)
        newest = "SELECT key FROM settings WHERE starts_with(key, %s) ORDER BY value DESC OFFSET %s"
        self._run(f"DELETE FROM settings WHERE key IN ({newest})", prefix, most)

    def vehicles_without_sightings(self, before: float, named: bool) -> list[int]:
        return self._column(
            "SELECT v.id FROM vehicles v WHERE (NOT v.named OR %s) AND v.created < %s"
            " AND NOT EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id) ORDER BY v.id",
            named, float(before),
        )  # fmt: skip

    def delete_run_pictures(self, before: float) -> int:
        bare = "UPDATE vehicles SET thumbnail = NULL, pictured = NULL WHERE thumbnail IS NOT NULL AND pictured < %s"
        return self._run(bare, float(before))

    def compact(self) -> None:
        self._vacuum("VACUUM (FULL, ANALYZE, SKIP_LOCKED)")

    def wipe(self) -> None:
        """What was deleted may be overwritten from now on; the write-ahead log and backups still hold it (docs/gallery.md)."""
        if not self._database.in_transaction:
            self._vacuum("VACUUM")

    def _vacuum(self, statement: str) -> None:
        self._run(f"{statement} {', '.join(TABLES)}")

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
