"""Numbers by which sightings and vehicles of a gallery's file are known elsewhere, none of which is ever given again."""

import json
import secrets
from collections.abc import Collection

from vreid.runtime.gallery.sqlite.database import Database

TABLE = "outbox_numbers"
# The number of a sighting or vehicle is its id plus the base of the last row that begins at or below it.
_MADE = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    id INTEGER PRIMARY KEY, sighting INTEGER NOT NULL, vehicle INTEGER NOT NULL, base INTEGER NOT NULL UNIQUE)"""
_BITS = 52  # of a base, so that other languages read the numbers out of JSON exactly


class Numbers:
    """Ids begin again in a gallery that is made anew, and go back in one that is put back from a backup. So whatever is written
    from a new beginning on has another base, drawn at random."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self) -> None:
        """Make the table; what is there stays."""
        self._database.run(_MADE)

    def begin(self) -> None:
        """Give what is written from now on a new base, inside a transaction: this file may have become another one's copy."""
        self.make()
        first = self._database.row(f"SELECT 1 FROM {TABLE}") is None
        ids = [0 if first else self._database.last_id(table) + 1 for table in ("sightings", "vehicles")]
        self._database.run(
            f"DELETE FROM {TABLE} WHERE sighting = ? AND vehicle = ?", *ids
        )  # nothing was written under it
        base = secrets.randbits(_BITS)
        self._database.run(f"INSERT INTO {TABLE} (sighting, vehicle, base) VALUES (?, ?, ?)", *ids, base)

    def ids_of(self, numbers: Collection[int]) -> dict[int, int]:
        """The ids of sightings by their numbers, but for those of another file, or of a time that this one has not seen."""
        rows = self._database.rows(
            f"""SELECT value, value - base FROM json_each(?) JOIN {TABLE} n
                ON n.base = (SELECT max(base) FROM {TABLE} WHERE base < value)
                WHERE {base_of("sighting", "value - n.base")} = n.base AND value - n.base <= ?""",
            json.dumps([*numbers]),
            self._database.last_id("sightings"),
        )
        return {int(number): int(id_) for number, id_ in rows}


def base_of(what: str, id_: str) -> str:
    """SQL for the base of a sighting or a vehicle with this id."""
    return f"(SELECT base FROM {TABLE} WHERE {what} <= {id_} ORDER BY id DESC LIMIT 1)"
