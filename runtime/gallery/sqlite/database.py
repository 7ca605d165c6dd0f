"""The gallery's file: an SQLite database in WAL mode, who may open it, and its errors as sentences."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.models.errors import GalleryDamaged, GalleryFull, GalleryLocked, Refused

SCHEMA = 3
APPLICATION = 0x76726964  # "vrid" in the database's header: this file is a gallery
BUSY_S = 1.0

LOG = """
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
    seen REAL NOT NULL DEFAULT 0, kind TEXT, plate TEXT, quality REAL NOT NULL DEFAULT 0, feature BLOB);
CREATE INDEX sightings_of ON sightings (vehicle, camera);
CREATE INDEX sightings_at ON sightings (seen);
{LOG}"""
# key: names.key_of(name); named: 1 if somebody named or enrolled it; pictured: when a run took the picture; seen: a sighting's
# end; feature: (D,) float16 of the whole track; changes: what an index in a file of its own has to catch up with, mark tells a
# copy of the gallery that went another way; audit: who changed what by hand, detail (JSON) holds what undoing it needs. Times
# are in seconds since 1970.


@dataclass(frozen=True)
class About:
    """Whose features a gallery holds: the embedding space's fingerprint, its dimension, the model's name."""

    fingerprint: str
    dim: int
    model: str


@contextmanager
def spoken(path: Path) -> Iterator[None]:
    """Turns what SQLite raises inside into Refused."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            fix = "close that program and try again"
            raise GalleryLocked(f"the gallery {path} is locked by another program; {fix}") from error
        if "UTF-8" in text:  # it goes on with the text itself
            raise damaged(path, text.partition(" with text")[0]) from error
        if "full" in text:
            raise GalleryFull(f"the disk of the gallery {path} is full; make room and try again") from error
        raise Refused(f"the gallery {path} cannot be used ({text}); check its permissions or restore a copy") from error
    except sqlite3.IntegrityError as error:
        raise Refused(f"the gallery {path} does not take this ({error}); correct the request") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
    except UnicodeDecodeError as error:  # what SQLite says of a damaged file quotes it
        raise damaged(path, "text that is none") from error
    except MemoryError as error:  # what SQLite says of some damaged files too, whose lengths are beyond all sense
        fix = "free some, let 'vreid gallery check --repair' mend it or restore a copy"
        raise Refused(f"the gallery {path} asks for more memory than there is, or is damaged; {fix}") from error


def damaged(path: Path, reason: str) -> GalleryDamaged:
    """What is said of a file that cannot be read."""
    fix = "let 'vreid gallery check --repair' mend it or restore a copy"
    return GalleryDamaged(f"{path} is no gallery or is damaged ({reason}); name another file, {fix}")


class Cursor(sqlite3.Cursor):
    """A cursor whose errors are sentences, also those of rows that are fetched long after they were asked for."""

    path = Path()

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except (sqlite3.Error, UnicodeDecodeError):
            with spoken(self.path):
                raise

    def fetchone(self) -> Any:
        with spoken(self.path):
            return super().fetchone()

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        with spoken(self.path):
            return super().fetchmany(size)

    def fetchall(self) -> list[Any]:
        with spoken(self.path):
            return super().fetchall()


def connected(path: Path, write: bool) -> sqlite3.Connection:
    """An open connection to the existing database at the absolute `path`, for any thread, one at a time.

    The file is never opened beside SQLite: closing such a handle would drop this process's SQLite locks (POSIX).
    """
    # A reader that may not write the folder cannot make the WAL's shared memory; with no WAL it does not need one.
    still = not write and not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    mode = "immutable=1" if still else "mode=rw"
    with spoken(path):
        connection = sqlite3.connect(
            f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
    try:
        with spoken(path):
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL" if write else "PRAGMA query_only = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten
    except Refused:
        connection.close()
        raise
    return connection


def about_of(connection: sqlite3.Connection, path: Path, old: bool = False) -> About:
    """What the database says it is; `old` lets one pass that can be upgraded.

    Raises Refused for another application's file, another schema, or a damaged one.
    """
    with spoken(path):
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise Refused(f"{path} is not a vreid gallery; name another file")
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    schema = meta.get("schema", "none")
    if schema == "1" and not old:
        fix = f"this vreid reads {SCHEMA}; upgrade it with 'vreid gallery check --gallery {path} --repair'"
        raise Refused(f"the gallery {path} has schema 1 and {fix}")
    if schema not in ("1", "2", str(SCHEMA)):
        fix = "use a newer vreid" if schema.isdecimal() else "restore a copy"
        raise Refused(f"the gallery {path} has schema {schema} and this vreid reads {SCHEMA}; {fix}")
    try:
        return About(meta["fingerprint"], int(meta["dim"]), meta["model"])
    except (KeyError, ValueError) as error:
        raise Refused(f"the gallery {path} is damaged ({error} in its meta table); restore a copy") from error


def created(path: Path, about: About) -> None:
    """Make an empty gallery at `path`, whole or not at all; the caller holds the lock."""
    draft = path.with_name(path.name + ".new")
    refuse_stray_log(path)
    try:
        draft.unlink(missing_ok=True)
        with spoken(path), closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(TABLES)
            fields = {"schema": SCHEMA, "fingerprint": about.fingerprint, "dim": about.dim, "model": about.model}
            rows = [(key, str(value)) for key, value in fields.items()]
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            connection.execute("PRAGMA journal_mode = WAL")
        draft.replace(path)
        on_disk(path.parent)
    except OSError as error:
        raise Refused(
            f"no gallery can be made at {path} ({error.strerror}); name a file in a folder you may write"
        ) from error
    finally:
        if draft.exists():
            draft.unlink()


def refuse_stray_log(path: Path) -> None:
    """SQLite would take the write-ahead log of a gallery that is gone for the new one's, and bring its vehicles back."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise Refused(
            f"{log} belongs to a gallery that is no longer there; put that gallery back, or remove the log for a new one"
        )


def on_disk(folder: Path) -> None:
    """What was renamed in `folder` survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def locked(path: Path) -> int:
    """Take the one writer's lock, PATH.lock, for as long as the returned handle is open; waits half a second at most.

    The kernel lets go of it when the process dies, however it dies.
    """
    lock = path.with_name(path.name + ".lock")
    end = time.monotonic() + 0.5
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refused(
                f"{lock} cannot be written ({error.strerror}); name a gallery in a folder you may write"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode(errors="replace") or "unknown"
            os.close(handle)
            if time.monotonic() > end:
                fix = "stop it or use another gallery"
                raise GalleryLocked(f"the gallery {path} is being written by process {holder}; {fix}") from error
            time.sleep(0.05)
            continue
        # The last writer removes the file as it goes; a lock on a removed file would guard nothing.
        if _is_at(handle, lock):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            return handle
        os.close(handle)


def unlocked(path: Path, handle: int) -> None:
    """Give the writer's lock back and remove its file."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    os.close(handle)
