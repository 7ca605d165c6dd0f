"""Opening a gallery: for one embedding space, for reading whatever its model, or for writing whatever its model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from vreid.models.errors import Refused
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.index.table import refuse_index
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.sqlite.database import new_gallery
from vreid.runtime.gallery.store import Store, open_store
from vreid.runtime.gallery_place import DatabaseAddress, GalleryPlace, place_of

Given: TypeAlias = str | PathLike[str] | DatabaseAddress  # see `place_of`


def open_gallery(
    place: Given,
    *,
    fingerprint: str,
    dim: int,
    model: str,
    write: bool,
    index: str = "flat",
    max_prototypes: int = 8,
    merge_above: float = 0.9,
) -> Gallery:
    """The gallery at `place` for features of one embedding space; made when `write` is set and there is none.

    `index`: a member of index/table.py with its options, as "hnsw" or "ivf?nprobe=32".
    A file has one writer and any number of readers at a time, a database any of both. A refused opening leaves nothing behind.
    Raises WrongModel, GalleryLocked (another writer), GalleryDamaged, and Refused for a missing one.
    """
    if index != "flat":
        refuse_index(index, dim, place_of(place))
    if max_prototypes < 1:
        raise Refused(f"max_prototypes must be at least 1, not {max_prototypes}")
    store = open_store(place_of(place), write, About(fingerprint, dim, model))
    return _over(store, index, Rule(max_prototypes, merge_above))


def read_gallery(place: Given, index: str = "flat") -> Gallery:
    """The gallery at `place` for reading, whatever its model. Raises Refused as `open_gallery` does."""
    return _whatever(place, False, index)


def edit_gallery(place: Given, index: str = "flat") -> Gallery:
    """The gallery at `place` for writing, whatever its model. Raises Refused as `open_gallery` does, and for a missing one."""
    return _whatever(place, True, index)


def _whatever(place: Given, write: bool, index: str) -> Gallery:
    store = open_store(place_of(place), write)
    try:
        if index != "flat":
            refuse_index(index, store.about.dim, place_of(place))
    except Refused:
        store.close()
        raise
    return _over(store, index, Rule())


def _over(store: Store, index: str, rule: Rule) -> Gallery:
    try:
        return Gallery(store, index, rule)
    except Refused:
        store.close()
        raise


@contextmanager
def begun_gallery(place: GalleryPlace, opening: Callable[..., Gallery]) -> Iterator[Gallery]:
    """The gallery that `opening` gives for `place` and write=True. A file that is missing appears when the body succeeds."""
    if isinstance(place, Path) and not place.exists():
        with new_gallery(place) as temporary, opening(temporary, write=True) as gallery:
            yield gallery
    else:
        with opening(place, write=True) as gallery:
            yield gallery
