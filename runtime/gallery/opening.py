"""The gallery: the world's vehicles in one file. Opens it for one embedding space, for reading or as its one writer."""

from pathlib import Path

from vreid.models.errors import Refused, WrongModel
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.index.table import open_index
from vreid.runtime.gallery.listing import Hit
from vreid.runtime.gallery.sqlite import database
from vreid.runtime.gallery.sqlite.upgrade import seen_as_new, upgraded

__all__ = ["Gallery", "Hit", "edit_gallery", "open_gallery", "read_gallery"]


def open_gallery(
    path: str | Path,
    *,
    fingerprint: str,
    dim: int,
    model: str,
    write: bool,
    index: str = "flat",
    max_prototypes: int = 8,
    merge_above: float = 0.9,
) -> Gallery:
    """The gallery at `path` for features of one embedding space; made when `write` is set and there is none.

    `index`: a member of gallery/index/table.py with its options, as "hnsw" or "ivf?nprobe=32".
    One writer at a time, any number of readers beside it. A refused opening leaves nothing behind.
    Raises WrongModel, GalleryLocked (another writer), GalleryDamaged, and Refused for a missing one.
    """
    path = Path(path).resolve()
    about = database.About(fingerprint, dim, model)
    if index != "flat":
        open_index(index, dim)  # refuses what it does not know or this machine does not have
    if max_prototypes < 1:
        raise Refused(f"max_prototypes must be at least 1, not {max_prototypes}")
    if not write or path.exists():
        seen = _reader(path, index, max_prototypes, merge_above, old=write)
        try:
            _match(seen.about, about, path)
        except Refused:
            seen.close()
            raise
        if not write:
            return seen
        seen.close()
    elif not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for the gallery; make it first")
    lock = database.locked(path)
    connection = None
    try:
        if not path.exists():
            database.created(path, about)
        connection = database.connected(path, True)
        upgraded(connection, path)
        found = database.about_of(connection, path)
        _match(found, about, path)
        with database.spoken(path):  # another program may hold SQLite's own lock
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        return Gallery(path, connection, found, index, lock, max_prototypes, merge_above)
    except BaseException:
        if connection is not None:
            connection.close()
        database.unlocked(path, lock)
        raise


def read_gallery(path: str | Path, index: str = "flat") -> Gallery:
    """The gallery at `path` for reading, whatever its model. Raises Refused as `open_gallery` does."""
    found = _reader(Path(path).resolve(), index, 8, 0.9)
    if index != "flat":
        try:
            open_index(index, found.about.dim)
        except Refused:
            found.close()
            raise
    return found


def edit_gallery(path: str | Path) -> Gallery:
    """The gallery at `path` for writing, whatever its model. Raises Refused as `open_gallery` does, and for a missing one."""
    with _reader(Path(path).resolve(), "flat", 8, 0.9, old=True) as seen:
        about = seen.about
    return open_gallery(path, fingerprint=about.fingerprint, dim=about.dim, model=about.model, write=True)


def _reader(path: Path, index: str, max_prototypes: int, merge_above: float, old: bool = False) -> Gallery:
    if not path.is_file():
        raise Refused(f"there is no gallery {path}; make one with 'vreid gallery enrol'")
    connection = database.connected(path, False)
    try:
        about = database.about_of(connection, path, old)
        if not old:
            seen_as_new(connection, path)
    except Refused:
        connection.close()
        raise
    return Gallery(path, connection, about, index, None, max_prototypes, merge_above)


def _match(found: database.About, wanted: database.About, path: Path) -> None:
    if (found.fingerprint, found.dim) != (wanted.fingerprint, wanted.dim):
        theirs = f"'{found.model}' ({found.dim}-d, {found.fingerprint})"
        ours = f"'{wanted.model}' ({wanted.dim}-d, {wanted.fingerprint})"
        fix = "use that model or enrol again into a new gallery"
        raise WrongModel(f"the gallery {path} holds features of the model {theirs}, not of {ours}; {fix}")
