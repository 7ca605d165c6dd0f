"""An open gallery and its file: closed, forgotten, forked, or its file taken away."""

import gc
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from made_gallery import features, opened, sighted, sighting, sql

from vreid.models.errors import BadInput, GalleryDamaged, GalleryLocked, Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.sqlite.database import Database, sentences


def test_every_call_after_close_says_that_it_is_closed(tmp_path: Path) -> None:
    gallery = opened(tmp_path / "g.db")
    vehicle = gallery.add_vehicle("red")
    gallery.search(features(1), 1)
    gallery.close()
    gallery.close()
    for call in (
        lambda: gallery.search(features(1), 1),
        lambda: gallery.vehicles(),
        lambda: gallery.add_vehicle("blue"),
        lambda: gallery.remove(vehicle),
        lambda: gallery.stats(),
    ):
        with pytest.raises(BadInput, match=r"the gallery .*g\.db is closed"):
            call()


def test_our_own_mistake_with_sqlite_is_no_damage(tmp_path: Path) -> None:
    refused = (sqlite3.ProgrammingError, sqlite3.InterfaceError)  # the second is Python 3.10's
    with pytest.raises(refused), sentences(tmp_path / "g.db"):
        sqlite3.connect(":memory:").execute("SELECT ?", ([],))


def test_a_gallery_that_is_dropped_lets_go_of_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    gallery = opened(path)
    with pytest.raises(GalleryLocked, match="being written by this process itself"):
        opened(path)
    del gallery
    gc.collect()
    opened(path).close()
    assert not path.with_name("g.db.lock").exists()


def test_rows_that_were_begun_may_be_dropped_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        vehicle = gallery.add_vehicle("red")
        sighted(gallery, vehicle, sighting(1, feature=features(1)[0], seen=5.0))
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    database = Database(path, False)
    rows = database.rows("SELECT 1 UNION SELECT 2")
    assert next(rows) == (1,)
    database.close()
    del rows
    gc.collect()
    assert not unraisable
    sql(path, "UPDATE prototypes SET feature = x'0000'", foreign_keys=False)
    with read_gallery(path) as gallery, pytest.raises(GalleryDamaged, match=r"g\.db"):
        gallery.details(vehicle)


def test_nothing_is_written_into_a_file_that_is_gone_or_another(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    gallery = opened(path)
    gallery.add_vehicle("red")
    kept = path.rename(tmp_path / "kept.db")
    with pytest.raises(Refused, match="removed, moved or replaced"):
        gallery.add_vehicle("blue")
    path.write_bytes(kept.read_bytes())
    with pytest.raises(Refused, match="removed, moved or replaced"):
        gallery.add_vehicle("blue")
    kept.replace(path)
    gallery.add_vehicle("blue")
    with pytest.raises(Refused, match="removed, moved or replaced"), gallery.transaction():
        gallery.add_vehicle("green")
        path.rename(kept)
    kept.rename(path)
    assert [vehicle.name for vehicle in gallery.vehicles()] == ["red", "blue"]
    gallery.close()


def test_a_forked_process_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    gallery = opened(path)
    gallery.add_vehicle("red")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                gallery.add_vehicle("blue")
            except Refused as error:
                code = 0 if "forked" in str(error) else 2
            gallery.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.with_name("g.db.lock").exists()
    gallery.add_vehicle("green")
    assert [vehicle.name for vehicle in gallery.vehicles()] == ["red", "green"]
    gallery.close()
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
