"""The tables of a gallery: making them, reading whose features they hold, and upgrading those of an older vreid."""

import json
import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.files import sync_folder
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import names
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.sqlite.database import Database, refuse_stray_log, sentences

_LOG = logging.getLogger("vreid")
SCHEMA = 4
APPLICATION = 0x76726964  # "vrid" in the database's header: this file is a gallery

CHANGES = """
INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))));
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, prototype INTEGER NOT NULL, mark INTEGER NOT NULL DEFAULT (random()));
CREATE TRIGGER changes_bounded AFTER INSERT ON changes WHEN new.id % 4096 = 0 BEGIN
    DELETE FROM changes WHERE id <= new.id - max(100000, (SELECT count(*) FROM prototypes)); END;
CREATE TRIGGER prototype_new AFTER INSERT ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (new.id); END;
CREATE TRIGGER prototype_old AFTER DELETE ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (old.id); END;
CREATE TRIGGER prototype_set AFTER UPDATE ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (new.id); END;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, verb TEXT NOT NULL, vehicle INTEGER,
    detail TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0);
"""
KEYS = "CREATE UNIQUE INDEX vehicles_key ON vehicles (key);"
INDEXES = """
CREATE INDEX vehicles_list ON vehicles (named, key, kind, created);
CREATE INDEX sightings_of ON sightings (vehicle, camera, seen, kind);
CREATE INDEX sightings_last ON sightings (vehicle, seen);
CREATE INDEX sightings_at ON sightings (seen, id, camera, kind, vehicle);
CREATE INDEX sightings_from ON sightings (camera, seen, id, kind, vehicle);
CREATE INDEX sightings_kind ON sightings (kind, vehicle, seen);
CREATE INDEX sightings_plate ON sightings
    (replace(replace(upper(plate), ' ', ''), '-', ''), seen, id, vehicle, plate, camera, kind) WHERE plate NOTNULL;
CREATE INDEX sightings_zones ON sightings (zones, seen, id, vehicle, camera, kind) WHERE zones NOTNULL;
CREATE INDEX sightings_zones_of ON sightings (vehicle, zones, seen, camera, kind) WHERE zones NOTNULL;
"""
TABLES = f"""
PRAGMA application_id = {APPLICATION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vehicles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL, kind TEXT, thumbnail BLOB,
    key TEXT NOT NULL DEFAULT '', named INTEGER NOT NULL DEFAULT 0, pictured REAL);
{KEYS}
CREATE TABLE prototypes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    view TEXT NOT NULL, feature BLOB NOT NULL, weight REAL NOT NULL, count INTEGER NOT NULL);
CREATE INDEX prototypes_of ON prototypes (vehicle);
CREATE TABLE sightings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    camera TEXT NOT NULL, track INTEGER NOT NULL, first_time REAL NOT NULL, last_time REAL NOT NULL,
    first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL, score REAL NOT NULL, thumbnail BLOB, run TEXT NOT NULL,
    seen REAL NOT NULL DEFAULT 0, kind TEXT, plate TEXT, quality REAL NOT NULL DEFAULT 0, feature BLOB, zones TEXT);
{INDEXES}{CHANGES}"""
# key: names.key_of(name); named: 1 if somebody named or enrolled it; pictured: when a run took the picture; seen: a sighting's
# end; feature: (D,) float32 of a prototype, float16 of a sighting's whole track; changes: what an index in a file of its own
# has to catch up with, mark differs in a copy of the gallery that went another way; audit: who changed what by hand, detail (JSON)
# holds what undoing it needs; zones: a JSON array of names, NULL for none. Times are in seconds since 1970. The indexes hold what
# lists are filtered and sorted by, so that rows, which are long, are read for one page only (reading.py).

_FROM_1 = (
    "ALTER TABLE vehicles ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN seen REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN kind TEXT",
    "ALTER TABLE sightings ADD COLUMN plate TEXT",
    "ALTER TABLE sightings ADD COLUMN quality REAL NOT NULL DEFAULT 0",
    "ALTER TABLE sightings ADD COLUMN feature BLOB",
)
_FROM_2 = (
    "ALTER TABLE vehicles ADD COLUMN key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE vehicles ADD COLUMN named INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vehicles ADD COLUMN pictured REAL",
)
_FROM_3 = (
    "ALTER TABLE sightings ADD COLUMN zones TEXT",
    "DROP INDEX IF EXISTS sightings_of",
    "DROP INDEX IF EXISTS sightings_at",
)
# `created` was the time of the processing; of whom nobody named it is that of the first sighting, if there is one left
_NAMED = (
    f"UPDATE vehicles SET named = name NOT GLOB '{names.GIVEN}'",
    "UPDATE vehicles SET created = min(created, coalesce((SELECT min(seen) FROM sightings WHERE vehicle = vehicles.id),"
    " created)) WHERE NOT named",
    "UPDATE vehicles SET pictured = CASE WHEN named THEN (SELECT min(seen) FROM sightings s WHERE s.vehicle = vehicles.id"
    " AND s.thumbnail = vehicles.thumbnail) ELSE created END WHERE thumbnail NOTNULL",
)


def about_of(database: Database, old: bool = False) -> About:
    """Whose features the database holds; `old` lets one pass that can only be upgraded, and not be read.

    Raises Refused for another application's file, another schema, or a damaged one.
    """
    path = database.path
    (application,) = database.row("PRAGMA application_id")
    if application != APPLICATION:
        raise Refused(f"{path} is not a vreid gallery; name another file")
    meta = dict(database.rows("SELECT key, value FROM meta WHERE key IN ('schema', 'fingerprint', 'dim', 'model')"))
    schema = meta.get("schema", "none")
    if schema == "1" and not old:
        fix = f"this vreid reads {SCHEMA}; upgrade it with 'vreid gallery check --gallery {path} --repair'"
        raise Refused(f"the gallery {path} has schema 1 and {fix}")
    if schema not in ("1", "2", "3", str(SCHEMA)):
        fix = "use a newer vreid" if schema.isdecimal() else "restore a copy"
        raise Refused(f"the gallery {path} has schema {schema} and this vreid reads {SCHEMA}; {fix}")
    try:
        return About(meta["fingerprint"], int(meta["dim"]), meta["model"])
    except (KeyError, ValueError) as error:
        raise Refused(f"the gallery {path} is damaged ({error} in its meta table); restore a copy") from error


def create(path: Path, about: About) -> None:
    """Make an empty gallery at `path`, atomically; the caller holds the lock."""
    temporary = path.with_name(path.name + ".new")
    refuse_stray_log(path)
    try:
        temporary.unlink(missing_ok=True)
        with sentences(path), closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.executescript(TABLES)
            fields = {"schema": SCHEMA, "fingerprint": about.fingerprint, "dim": about.dim, "model": about.model}
            rows = [(key, str(value)) for key, value in fields.items()]
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            connection.execute("PRAGMA journal_mode = WAL")
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise Refused(
            f"no gallery can be made at {path} ({error.strerror}); name a file in a folder you may write"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


@dataclass(frozen=True)
class Renamed:
    """A vehicle whose name is another one's but for Unicode's forms or case, and got a number."""

    vehicle: int
    old: str
    new: str

    @property
    def sentence(self) -> str:
        """What happened to the name, for a person."""
        return (
            f"vehicle {self.vehicle} '{self.old}' is called '{self.new}' now, for another vehicle has the same name but"
            " for case"
        )


def upgrade(database: Database) -> list[Renamed] | None:
    """Upgrade an open gallery if it is of schema 1, 2 or 3; the caller holds the writer's lock. None: it was not.

    Sightings of schema 1 had no clock time. They get the last that they can have, when the file last changed: filters may
    take them for younger than they are, but no retention deletes them too early, and none keeps them for ever.
    """
    path = database.path
    schema = database.row("SELECT value FROM meta WHERE key = 'schema'")
    if schema not in (("1",), ("2",), ("3",)):
        return None
    log = path.with_name(path.name + "-wal")  # made empty by opening the gallery
    written = [path, log] if log.exists() and log.stat().st_size else [path]
    latest = max(file.stat().st_mtime for file in written)
    renamed: list[Renamed] = []
    with database.transaction():
        if schema == ("1",):
            for statement in (*_FROM_1, *_statements(CHANGES)):
                database.run(statement)
            database.run("UPDATE sightings SET seen = ?", latest)
        if schema != ("3",):
            for statement in _FROM_2:
                database.run(statement)
            fill_named(database)
            renamed = fill_keys(database)
        for statement in (*_FROM_3, *_statements(INDEXES)):
            database.run(statement)
        database.run("UPDATE meta SET value = ? WHERE key = 'schema'", str(SCHEMA))
    for one in renamed:
        _LOG.warning("%s: %s", path, one.sentence)
    return renamed


def fill_named(database: Database) -> None:
    """Fill the columns `named` and `pictured` of schema 3 from those of an older one."""
    for statement in _NAMED:
        database.run(statement)


def fill_keys(database: Database) -> list[Renamed]:
    """Write every name in NFC with its key, and make the index of the keys; inside of a transaction.

    Of vehicles whose names are equal but for case the one with the lowest id keeps it, the others get the first of name-2,
    name-3, ... that no vehicle has. Each is in the audit.
    """
    rows = [(int(id_), str(name)) for id_, name in database.rows("SELECT id, name FROM vehicles ORDER BY id")]
    taken = {names.key_of(name) for _, name in rows}
    used: set[str] = set()
    new: dict[int, str] = {}
    renamed = []
    for id_, name in rows:
        normal = chosen = nfc(name)
        if names.key_of(chosen) in used:
            chosen = names.numbered(normal, lambda key: key in used | taken)
            renamed.append(Renamed(id_, name, chosen))
        used.add(names.key_of(chosen))
        new[id_] = chosen
    changed = {id_: new[id_] for id_, name in rows if new[id_] != name}
    for id_ in changed:  # out of the way first: one may take a name that another gives up
        database.run("UPDATE vehicles SET name = char(0) || id WHERE id = ?", id_)
    for id_, name in changed.items():
        database.run("UPDATE vehicles SET name = ? WHERE id = ?", name, id_)
    for id_, name in new.items():
        database.run("UPDATE vehicles SET key = ? WHERE id = ?", names.key_of(name), id_)
    database.run(KEYS)
    for one in renamed:
        detail = json.dumps({"from": one.old, "to": one.new, "reason": "upgrade"})
        insert = "INSERT INTO audit (at, who, verb, vehicle, detail) VALUES (?, ?, ?, ?, ?)"
        database.run(insert, time.time(), "vreid", "renumber", one.vehicle, detail)
    return renamed


def view_older(database: Database) -> None:
    """Let a reader of a gallery of schema 2 or 3 see the columns of schema 4, made as it reads; the file stays as it is."""
    (schema,) = database.row("SELECT value FROM meta WHERE key = 'schema'")
    if schema not in ("2", "3"):
        return
    database.run("PRAGMA query_only = OFF")
    database.run("PRAGMA temp_store = MEMORY")
    database.run("CREATE TEMP VIEW sightings AS SELECT *, NULL AS zones FROM main.sightings")
    if schema == "2":
        with sentences(database.path):
            database.connection.create_function("vreid_key", 1, names.key_of, deterministic=True)
        database.run(
            "CREATE TEMP VIEW vehicles AS SELECT id, name, vreid_key(name) AS key, created, kind, thumbnail,"
            f" name NOT GLOB '{names.GIVEN}' AS named, NULL AS pictured FROM main.vehicles"
        )
    database.run("PRAGMA query_only = ON")


def _statements(script: str) -> list[str]:
    """A script's statements, one by one: `executescript` would commit the transaction."""
    found, part = [], ""
    for piece in script.split(";"):
        part += piece + ";"
        if sqlite3.complete_statement(part):
            if part.strip(" \n;"):
                found.append(part)
            part = ""
    return found
