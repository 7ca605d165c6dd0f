"""Opening a gallery's SQLite file, for reading or as its one writer; it is made or upgraded where that is asked for."""

import errno
from contextlib import ExitStack
from pathlib import Path

from vreid.models.errors import GalleryFull, Refused, unusable
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.sqlite.database import Database, lock, unlock
from vreid.runtime.gallery.sqlite.numbers import Numbers
from vreid.runtime.gallery.sqlite.outbox import outbox_of
from vreid.runtime.gallery.sqlite.schema import about_of, create, upgrade, view_older
from vreid.runtime.gallery.sqlite.store import SqliteStore
from vreid.runtime.gallery.store import refuse_other_model

_CACHE = "PRAGMA cache_size = -32768"  # KiB at most: the indexes of a million sightings are read at random


def open_sqlite(path: Path, write: bool, about: About | None) -> SqliteStore:
    """See `vreid.runtime.gallery.store.open_store`. A refused opening leaves nothing behind."""
    try:
        return _opened(path.resolve(), write, about)
    except RuntimeError as error:  # Python up to 3.12
        raise Refused(f"the gallery {path} is a symbolic link to itself; name its file") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GalleryFull(f"the disk of the gallery {path} is full; make room and try again") from error
        raise unusable(error) from error


def _opened(path: Path, write: bool, about: About | None) -> SqliteStore:
    if write and not path.exists() and about is not None:
        if not path.parent.is_dir():
            raise Refused(f"there is no folder {path.parent} for the gallery; make it first")
    else:
        with ExitStack() as opened:
            reader = _reader(path, old=write)
            opened.callback(reader.close)
            about = about or reader.about
            refuse_other_model(reader.about, about, str(path))
            if not write:
                opened.pop_all()
                return reader
    with ExitStack() as opened:
        handle = lock(path)
        opened.callback(unlock, path, handle)
        if not path.exists():
            create(path, about)
        database = Database(path, True)
        opened.callback(database.close)
        upgrade(database)
        found = about_of(database)
        refuse_other_model(found, about, str(path))
        database.run(_CACHE)
        database.run("BEGIN IMMEDIATE")  # another program may hold SQLite's own lock
        database.run("ROLLBACK")
        if outbox_of(database, found.dim) is not None:
            with database.transaction():
                Numbers(database).begin()
        opened.pop_all()
    return SqliteStore(database, found, handle)


def _reader(path: Path, old: bool = False) -> SqliteStore:
    """`old`: only to see whose features it holds, but of every schema that can be upgraded."""
    if path.exists() and not path.is_file():
        raise Refused(f"{path} is a folder, a pipe or a device and not a gallery; name a file")
    if not path.is_file():
        raise Refused(f"there is no gallery {path}; a run or 'vreid gallery enrol' makes one")
    with ExitStack() as opened:
        database = Database(path, False)
        opened.callback(database.close)
        about = about_of(database, old)
        database.run(_CACHE)
        if not old:
            view_older(database)
        opened.pop_all()
    return SqliteStore(database, about, None)
