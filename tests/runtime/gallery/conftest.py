"""Galleries over each kind of store there is: a file, and a database of a real PostgreSQL server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_gallery import DIM
from real_postgres import Server

from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.store import STORES, Store, open_store
from vreid.runtime.gallery_place import GalleryPlace


@pytest.fixture(params=sorted(STORES))
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], GalleryPlace]:
    """The place of a gallery of that name, which is not there yet."""
    if request.param == "sqlite":
        return lambda name: tmp_path / f"{name}.db"
    server: Server = request.getfixturevalue("postgres")
    return server.new_place


@pytest.fixture
def place(new_place: Callable[[str], GalleryPlace]) -> GalleryPlace:
    """The place of a gallery that is not there yet."""
    return new_place("g")


@pytest.fixture
def store(place: GalleryPlace) -> Iterator[Store]:
    """An empty store, open for writing."""
    opened = open_store(place, True, About("aaaaaaaa", DIM, "small"))
    yield opened
    opened.close()


@pytest.fixture
def gallery(store: Store) -> Gallery:
    """An empty gallery, open for writing."""
    return Gallery(store, "flat", Rule())
