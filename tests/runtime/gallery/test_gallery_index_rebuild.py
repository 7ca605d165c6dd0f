"""A worn index goes on answering while a new one is made beside it, which takes its place with all that came meanwhile."""

import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import made_gallery
import pytest
from made_gallery import anew, answers, enrolled

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.index import sync, vehicle_index

opened = partial(made_gallery.opened, index="hnsw")


def removed(gallery: Gallery, vehicles: list[int]) -> None:
    with gallery.transaction():
        for vehicle in vehicles:
            gallery.remove(vehicle)


def worn_out(gallery: Gallery) -> list[int]:
    """300 vehicles that are left, and an index with dead rows of a hundred others as soon as it is searched."""
    vehicles = enrolled(gallery, 400, 0)
    answers(gallery)
    removed(gallery, vehicles[:100])
    return vehicles[100:]


def dead(gallery: Gallery) -> int:
    index = gallery.index.current
    assert index is not None
    return len(index.kept()[1]["rows"]) - len(index)


def renewed(gallery: Gallery) -> None:
    """Search until the new index is in place."""
    end = time.monotonic() + 60
    while gallery.index.rebuild is not None and time.monotonic() < end:
        answers(gallery)
        time.sleep(0.005)
    assert gallery.index.rebuild is None


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes are kept from 100 prototypes on."""
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 100)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """New indexes are not begun before this event."""
    let, real = threading.Event(), sync.filled

    def waiting(*given: Any) -> Any:
        assert threading.current_thread().name != "gallery index" or let.wait(60)
        return real(*given)

    monkeypatch.setattr(sync, "filled", waiting)
    yield let
    let.set()


def test_the_worn_index_answers_until_the_new_one_is_there(tmp_path: Path, held: threading.Event) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        left = worn_out(gallery)
        assert answers(gallery) == anew(path) and dead(gallery) == 100
        removed(gallery, left[:10])
        enrolled(gallery, 20, 1)
        assert answers(gallery) == anew(path)
        held.set()
        renewed(gallery)
        assert answers(gallery) == anew(path) and dead(gallery) == 0
        enrolled(gallery, 20, 2)
        assert answers(gallery) == anew(path)
    with opened(path, write=False) as reader:  # from the file that was written beside
        answers(reader)
        assert dead(reader) == 0


def test_changes_during_the_making_are_caught_up_with(
    tmp_path: Path, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "g.db", vehicle_index.save_index
    with opened(path) as gallery:
        left = worn_out(gallery)
        answers(gallery)
        made, go = threading.Event(), threading.Event()

        def stored(*given: Any) -> bool:
            made.set()
            assert go.wait(60)
            return real(*given)

        monkeypatch.setattr(vehicle_index, "save_index", stored)
        held.set()
        assert made.wait(60)  # the new index is at a change that the next ones come after
        removed(gallery, left[:10])
        enrolled(gallery, 20, 1)
        go.set()
        renewed(gallery)
        assert answers(gallery) == anew(path) and dead(gallery) == 10


def test_within_a_transaction_nothing_is_put_in_its_place(tmp_path: Path, held: threading.Event) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        worn_out(gallery)
        before, renewal = answers(gallery), gallery.index.rebuild
        assert renewal is not None
        with pytest.raises(KeyError), gallery.transaction():
            enrolled(gallery, 30, 1)
            held.set()
            renewal.thread.join(20)
            assert renewal.made is not None
            assert answers(gallery) != before and gallery.index.rebuild is renewal
            raise KeyError
        assert answers(gallery) == before == anew(path) and gallery.index.rebuild is None
        enrolled(gallery, 30, 2)
        assert answers(gallery) == anew(path)


def test_closing_ends_the_making_and_the_next_opening_does_it(tmp_path: Path, held: threading.Event) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        worn_out(gallery)
        answers(gallery)
        file = path.with_name("g.db.hnsw.index")
        before = file.read_bytes()
        threading.Timer(0.1, held.set).start()
    assert "gallery index" not in {thread.name for thread in threading.enumerate()}
    assert file.read_bytes() == before
    with opened(path, write=False) as reader:
        assert answers(reader) == anew(path)
        assert dead(reader) == 0 and reader.index.rebuild is None


def test_what_goes_wrong_is_said_once_and_the_worn_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, real = tmp_path / "g.db", sync.filled

    def full(*given: Any) -> Any:
        if threading.current_thread().name == "gallery index":
            raise Refused("the disk is full")
        return real(*given)

    monkeypatch.setattr(sync, "filled", full)
    with opened(path) as gallery, caplog.at_level(logging.WARNING):
        worn_out(gallery)
        for place in range(3):
            assert answers(gallery) == anew(path)
            enrolled(gallery, 2, place)
    assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["the disk is full"]
