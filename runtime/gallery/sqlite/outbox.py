"""The outbox in a gallery's SQLite file: one optional table, which triggers fill, so that every writer's sightings are in it."""

import json
from collections.abc import Collection
from dataclasses import fields

from vreid.runtime.gallery.outbox import CHANGED, MOVED, NEW, REMOVED, OutboxMessage, OutboxSizes
from vreid.runtime.gallery.records import SightingRow
from vreid.runtime.gallery.sqlite.database import Database
from vreid.runtime.gallery.sqlite.identities import SqliteIdentities
from vreid.runtime.gallery.sqlite.numbers import Numbers, base_of
from vreid.runtime.gallery.sqlite.rows import sighting_row, typed

PICTURE = "picture"
DROPPED = "outbox dropped"  # the setting that counts (pictures, messages)
_ENVELOPE = 600  # bytes of a message without its feature
# Above all that was ever given, and not below the clock, in microseconds, since it says how long a message waits. The sequence is
# written when a statement ends, and one may change many sightings: both are looked at.
_NEXT = (
    "max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0) + 1,"
    " coalesce((SELECT max(seq) FROM outbox), 0) + 1, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)"
)
_SIZE = f"{_ENVELOPE} + coalesce(length(new.feature), 0) * 4 / 3"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, sighting INTEGER, vehicle INTEGER NOT NULL,
    bytes INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS outbox_of ON outbox (sighting)",
    f"CREATE INDEX IF NOT EXISTS outbox_messages ON outbox (seq) WHERE what <> '{PICTURE}'",
    f"CREATE INDEX IF NOT EXISTS outbox_pictures ON outbox (seq) WHERE what = '{PICTURE}'",
    f"""CREATE TRIGGER IF NOT EXISTS outbox_new AFTER INSERT ON sightings BEGIN
    INSERT INTO outbox VALUES ({_NEXT}, '{NEW}', new.id, new.vehicle, {_SIZE});
    INSERT INTO outbox SELECT {_NEXT}, '{PICTURE}', new.id, new.vehicle, length(new.thumbnail) WHERE new.thumbnail NOTNULL;
    END""",
    f"""CREATE TRIGGER IF NOT EXISTS outbox_set AFTER UPDATE OF vehicle, seen, first_time, last_time ON sightings BEGIN
    INSERT INTO outbox VALUES ({_NEXT}, CASE new.vehicle WHEN old.vehicle THEN '{CHANGED}' ELSE '{MOVED}' END, new.id, new.vehicle,
        {_SIZE}); END""",
    f"""CREATE TRIGGER IF NOT EXISTS outbox_gone AFTER DELETE ON sightings BEGIN
    DELETE FROM outbox WHERE sighting = old.id AND what <> '{MOVED}';
    UPDATE outbox SET bytes = {_ENVELOPE} WHERE sighting = old.id; END""",
    f"""CREATE TRIGGER IF NOT EXISTS outbox_old AFTER INSERT ON audit WHEN new.verb = 'remove' BEGIN
    INSERT INTO outbox VALUES ({_NEXT}, '{REMOVED}', NULL, new.vehicle, {_ENVELOPE}); END""",
)
_FIELDS = ", ".join(f"s.{field.name}" for field in fields(SightingRow))


class SqliteOutbox:
    """See `vreid.runtime.gallery.outbox.Outbox`."""

    def __init__(self, database: Database, dim: int) -> None:
        self._database, self._dim = database, dim

    def make(self) -> None:
        """Make the table and its triggers, and that of the answers; what is there stays. What is written from now on has numbers
        of a new base."""
        with self._database.transaction():
            for statement in _TABLES:
                self._database.run(statement)
            Numbers(self._database).begin()
            SqliteIdentities(self._database).make()

    def add_removal(self, vehicle: int) -> None:
        self._database.run(f"INSERT INTO outbox VALUES ({_NEXT}, '{REMOVED}', NULL, ?, {_ENVELOPE})", vehicle)

    def messages(self, limit: int) -> list[OutboxMessage]:
        path, found = self._database.path, []
        rows = self._database.rows(
            f"SELECT o.seq, o.what, coalesce(s.vehicle, o.vehicle), {base_of('vehicle', 'coalesce(s.vehicle, o.vehicle)')},"
            f" o.sighting, {base_of('sighting', 'o.sighting')}, s.id, {_FIELDS} FROM outbox o"
            f" LEFT JOIN sightings s ON s.id = o.sighting WHERE o.what <> '{PICTURE}' ORDER BY o.seq LIMIT ?",
            limit,
        )
        for seq, what, vehicle, base, sighting, base_of_sighting, there, *cells in rows:
            typed(path, (seq, what, vehicle, base), int, str, int, int)
            row = number = None
            if sighting is not None:
                typed(path, (sighting, base_of_sighting), int, int)
                number = base_of_sighting + sighting
            if there is not None:
                what, row = (CHANGED if what == MOVED else what), sighting_row(path, cells, self._dim)
            found.append(OutboxMessage(seq, what, vehicle, sighting, row, base + vehicle, number))
        return found

    def ids_of(self, numbers: Collection[int]) -> dict[int, int]:
        return Numbers(self._database).ids_of(numbers)

    def pictures(self, limit: int) -> list[tuple[int, bytes]]:
        rows = self._database.rows(
            "SELECT o.seq, s.thumbnail FROM outbox o JOIN sightings s ON s.id = o.sighting"
            f" WHERE o.what = '{PICTURE}' AND o.seq < coalesce((SELECT min(seq) FROM outbox WHERE what <> '{PICTURE}'), 1 << 62)"
            " ORDER BY o.seq LIMIT ?",
            limit,
        )
        return [(int(seq), bytes(jpeg or b"")) for seq, jpeg in rows]

    def drop(self, numbers: Collection[int]) -> None:
        among = "seq IN (SELECT value FROM json_each(?))"
        self._database.run(f"DELETE FROM outbox WHERE {among}", json.dumps([*numbers]))

    def sizes(self) -> OutboxSizes:
        row = self._database.row(
            f"SELECT count(*), coalesce(sum(what = '{PICTURE}'), 0), coalesce(sum(bytes), 0), min(seq) FROM outbox"
        )
        count, pictures, size, oldest = row
        gone_pictures, gone_messages = self._dropped()
        return OutboxSizes(count - pictures, pictures, size, oldest, gone_messages, gone_pictures)

    def trim(self, room: int) -> tuple[int, int]:
        (size,) = self._database.row("SELECT coalesce(sum(bytes), 0) FROM outbox")
        surplus, gone = size - room, {True: 0, False: 0}
        for is_picture in (True, False):
            dropped = []
            where = f"what = '{PICTURE}'" if is_picture else f"what IN ('{NEW}', '{CHANGED}')"
            for seq, each in self._database.rows(f"SELECT seq, bytes FROM outbox WHERE {where} ORDER BY seq"):
                if surplus <= 0:
                    break
                dropped.append(seq)
                surplus -= each
            self.drop(dropped)
            gone[is_picture] = len(dropped)
        if any(gone.values()):
            before = self._dropped()
            counts = json.dumps([before[0] + gone[True], before[1] + gone[False]])
            self._database.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", DROPPED, counts)
        return gone[True], gone[False]

    def _dropped(self) -> tuple[int, int]:
        row = self._database.row("SELECT value FROM meta WHERE key = ? AND json_valid(value)", DROPPED)
        pictures, messages = (0, 0) if row is None else json.loads(row[0])
        return int(pictures), int(messages)


def outbox_of(database: Database, dim: int, make: bool = False) -> SqliteOutbox | None:
    """The outbox of an open gallery, made on demand; None where there is none."""
    outbox = SqliteOutbox(database, dim)
    if make:
        outbox.make()
        return outbox
    there = database.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'outbox'")
    return outbox if there else None
