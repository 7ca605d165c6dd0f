"""An open gallery over each kind of store there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_gallery import DIM

from vreid.models.seam import open_seam
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.prototypes import Rule
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery.store import STORES, Store


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, open for writing."""
    opened: Store = open_seam("store", STORES, request.param)(tmp_path / "g.db", True, About("aaaaaaaa", DIM, "small"))
    yield opened
    opened.close()


@pytest.fixture
def gallery(store: Store) -> Gallery:
    """An empty gallery, open for writing."""
    return Gallery(store, "flat", Rule())
