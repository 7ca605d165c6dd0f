"""Opening a gallery: for one embedding space, for reading whatever its model, or for writing whatever its model."""

from pathlib import Path

from vreid.models.errors import Refused
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.index.table import open_index
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.store import open_store


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

    `index`: a member of index/table.py with its options, as "hnsw" or "ivf?nprobe=32".
    One writer at a time, any number of readers at the same time. A refused opening leaves nothing behind.
    Raises WrongModel, GalleryLocked (another writer), GalleryDamaged, and Refused for a missing one.
    """
    if index != "flat":
        open_index(index, dim)  # refuses what it does not know or this machine does not have
    if max_prototypes < 1:
        raise Refused(f"max_prototypes must be at least 1, not {max_prototypes}")
    store = open_store(Path(path), write, About(fingerprint, dim, model))
    return Gallery(store, index, Rule(max_prototypes, merge_above))


def read_gallery(path: str | Path, index: str = "flat") -> Gallery:
    """The gallery at `path` for reading, whatever its model. Raises Refused as `open_gallery` does."""
    store = open_store(Path(path), write=False)
    try:
        if index != "flat":
            open_index(index, store.about.dim)
    except Refused:
        store.close()
        raise
    return Gallery(store, index, Rule())


def edit_gallery(path: str | Path) -> Gallery:
    """The gallery at `path` for writing, whatever its model. Raises Refused as `open_gallery` does, and for a missing one."""
    return Gallery(open_store(Path(path), write=True), "flat", Rule())
