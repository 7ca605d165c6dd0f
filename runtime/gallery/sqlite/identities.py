"""What a centre has said of sightings, in a gallery's SQLite file: one optional table, made together with the outbox."""

import json
from collections.abc import Collection, Sequence
from dataclasses import astuple, fields
from typing import Any

from vreid.runtime.gallery.identities import CentreIdentity, CentreVehicle, IdentitySizes
from vreid.runtime.gallery.sqlite.database import Database
from vreid.runtime.gallery.sqlite.rows import record_of, typed

STATE = "identities"  # the setting: when the centre was heard, the last id before all this
_TABLE = """CREATE TABLE IF NOT EXISTS identities (
    sighting INTEGER PRIMARY KEY REFERENCES sightings (id) ON DELETE CASCADE, region TEXT NOT NULL, epoch INTEGER NOT NULL,
    vehicle INTEGER NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL)"""
_COLUMNS = [field.name for field in fields(CentreIdentity)]
_KEPT = ", ".join(f"i.{name}" for name in _COLUMNS)
_KEEP = f"""INSERT INTO identities ({", ".join(_COLUMNS)}) SELECT ?1, ?2, ?3, ?4, ?5, ?6
    WHERE EXISTS (SELECT 1 FROM sightings WHERE id = ?1)
    ON CONFLICT (sighting) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
    WHERE excluded.region <> region OR (excluded.epoch, excluded.number) > (epoch, number)"""


class SqliteIdentities:
    """See `vreid.runtime.gallery.identities.Identities`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self) -> None:
        """Make the table; what is there stays."""
        with self._database.transaction():
            self._database.run(_TABLE)
            if not self._state():
                self._set(since=self._database.last_id("sightings"))

    def keep(self, identities: Sequence[CentreIdentity], heard: float) -> None:
        for one in identities:
            self._database.run(_KEEP, *astuple(one))
        self._set(heard=heard)

    def of_sightings(self, sightings: Collection[int]) -> dict[int, CentreIdentity]:
        query = f"SELECT {_KEPT} FROM json_each(?) page JOIN identities i ON i.sighting = page.value"
        rows = self._database.rows(query, json.dumps([*sightings]))
        found = (record_of(self._database.path, CentreIdentity, row) for row in rows)
        return {one.sighting: one for one in found}

    def of_vehicles(self, vehicles: Collection[int]) -> dict[int, CentreVehicle]:
        rows = self._database.rows(  # of the row with the greatest time, since that is the only max of the query
            f"""SELECT s.vehicle, count(DISTINCT i.region || char(10) || i.vehicle), max(s.seen), {_KEPT}
            FROM json_each(?) page JOIN sightings s ON s.vehicle = page.value JOIN identities i ON i.sighting = s.id
            GROUP BY s.vehicle""",
            json.dumps([*vehicles]),
        )
        return {
            vehicle: CentreVehicle(record_of(self._database.path, CentreIdentity, cells), different)
            for vehicle, different, _, *cells in rows
        }

    def sizes(self) -> IdentitySizes:
        state = self._state()
        counts = self._database.row(
            """SELECT (SELECT count(*) FROM identities), (SELECT count(*) FROM sightings WHERE id > ?1)
               - (SELECT count(*) FROM identities WHERE sighting > ?1)""",
            state.get("since", 0),
        )
        known, unanswered = typed(self._database.path, counts, int, int)
        return IdentitySizes(known, unanswered, state.get("heard"))

    def _state(self) -> dict[str, Any]:
        row = self._database.row("SELECT value FROM meta WHERE key = ? AND json_valid(value)", STATE)
        kept = {} if row is None else json.loads(row[0])
        return kept if isinstance(kept, dict) else {}

    def _set(self, **changed: Any) -> None:
        text = json.dumps({**self._state(), **changed})
        self._database.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", STATE, text)


def identities_of(database: Database) -> SqliteIdentities | None:
    """The identities of an open gallery; None where the table was never made."""
    there = database.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'identities'")
    return SqliteIdentities(database) if there else None
