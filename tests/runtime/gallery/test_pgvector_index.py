"""The index in the database: who makes it, what is left of one that failed, and what it is refused for."""

import threading
import time
from functools import partial
from pathlib import Path

import made_gallery
import numpy as np
import pytest
from made_gallery import answers, compared, enrolled, features, sql
from real_postgres import Server, database_connection

from vreid.models.errors import Refused
from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.postgres import search
from vreid.runtime.gallery.postgres.hnsw import NAME
from vreid.runtime.gallery_place import DatabaseAddress

opened = partial(made_gallery.opened, index="pgvector")


def silent(done: int, steps: int) -> None:
    """No progress is shown."""


def state(place: DatabaseAddress) -> list[bool]:
    """Of the index: whether it is valid; empty: it is not there."""
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(?)"
    return [row[0] for row in sql(place, query, f"{place.gallery}.{NAME}")]


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    """A gallery of 40 vehicles in the database."""
    gallery = postgres.new_place("near")
    with opened(gallery) as made:
        enrolled(made, 40, 0)
    return gallery


def test_it_is_made_once_and_dropped(place: DatabaseAddress) -> None:
    with edit_gallery(place, "pgvector?m=8&built=32") as gallery:
        gallery.index.build(silent)
        assert state(place) == [True]
        (options,) = sql(
            place, "SELECT reloptions FROM pg_class WHERE oid = to_regclass(?)", f"{place.gallery}.{NAME}"
        )[0]
        assert options == ["m=8", "ef_construction=32"]
        gallery.index.build(silent)
        assert state(place) == [True]
        gallery.index.drop()
        assert state(place) == []
        gallery.index.drop()


def test_answers_are_those_of_the_rows_with_and_without_it(
    place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "EXACT", 0)
    with opened(place) as gallery:
        assert answers(gallery) == compared(gallery)
        gallery.index.build(silent)
        for _ in range(3):
            assert answers(gallery) == compared(gallery)
            assert answers(gallery, 99) == compared(gallery, 99)  # more than there are
            gallery.remove(gallery.vehicles()[0].id)
        for hits in gallery.search(features(5, 7), 99, [3, 5, 10**9, -1]):
            assert {hit.vehicle for hit in hits} <= {3, 5}
        assert gallery.search(features(2, 7), 3, []) == [[], []]


def test_a_prototype_that_is_averaged_again_and_again_is_found(
    place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time leaves a dead row in the index, which lies as near as the living one."""
    monkeypatch.setattr(search, "EXACT", 0)
    with opened(place, merge_above=0.5) as gallery:
        gallery.index.build(silent)
        with gallery.transaction():
            near = gallery.prototypes(1)[0].feature
            for seed in range(1200):
                gallery.add_prototype(1, "front", near + 0.05 * features(1, seed)[0])
        assert len(gallery.prototypes(1)) == 1
        assert [hit.vehicle for hit in gallery.search(near[None], 3)[0]] == [
            vehicle
            for vehicle, _ in sorted(
                ((one.id, float(near @ gallery.prototypes(one.id)[0].feature)) for one in gallery.vehicles()),
                key=lambda one: -one[1],
            )[:3]
        ]


def test_only_an_owner_makes_it(place: DatabaseAddress, postgres: Server) -> None:
    with database_connection(place) as connection:
        connection.execute("DROP ROLE IF EXISTS near_writer")
        connection.execute("CREATE ROLE near_writer LOGIN PASSWORD 'near'")
        connection.execute(f"GRANT {place.gallery}_writer TO near_writer".encode())
    writer = postgres.place(place.gallery, user="near_writer", password="near")
    with edit_gallery(writer, "pgvector") as gallery:
        for act in (partial(gallery.index.build, silent), gallery.index.drop):
            with pytest.raises(Refused, match=f"only an owner .* grant {place.gallery}_admin"):
                act()
    assert state(place) == []
    with edit_gallery(place, "pgvector") as gallery:
        gallery.index.build(silent)
    with edit_gallery(writer, "pgvector") as gallery:
        assert gallery.search(features(1, 3), 1)[0]


def test_one_that_was_broken_off_leaves_nothing(place: DatabaseAddress) -> None:
    """It waits for an older transaction, and its server process is ended there."""
    with database_connection(place) as older, edit_gallery(place, "pgvector") as gallery:
        older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        older.execute("INSERT INTO settings VALUES ('older', '1')")
        older.execute("LOCK TABLE prototypes IN ROW EXCLUSIVE MODE")

        def end() -> None:
            query = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%'"
                " AND wait_event_type = 'Lock'"
            )
            until = time.monotonic() + 60
            while not sql(place, query) and time.monotonic() < until:
                time.sleep(0.05)
            older.execute("ROLLBACK")

        ending = threading.Thread(target=end)
        ending.start()
        with pytest.raises(Refused, match="connection"):
            gallery.index.build(silent)
        ending.join()
        assert state(place) == []
        gallery.index.build(silent)
        assert state(place) == [True]


def test_what_it_is_refused_for(place: DatabaseAddress, tmp_path: Path) -> None:
    for wrong, words in {
        "pgvector?lists=3": r"does not take 'lists=3'; choose from: m, built, ef",
        "pgvector:db-2": "without an address",
    }.items():
        with pytest.raises(Refused, match=words):
            made_gallery.opened(place, index=wrong)
    with pytest.raises(Refused, match=r"for a gallery in PostgreSQL, and .*g\.db is a file"):
        made_gallery.opened(tmp_path / "g.db", index="pgvector")
    assert list(tmp_path.iterdir()) == []
    with opened(place) as gallery, gallery.transaction(), pytest.raises(Refused, match="outside of a transaction"):
        gallery.index.build(silent)


def test_batches_are_single_searches(place: DatabaseAddress) -> None:
    with opened(place) as gallery:
        rows = features(9, 5)
        for row, hits in zip(rows, gallery.search(rows, 4), strict=True):
            single = gallery.search(row[None], 4)[0]
            assert [hit.vehicle for hit in hits] == [hit.vehicle for hit in single]
            np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in single], atol=1e-6)
        assert gallery.search(np.empty((0, made_gallery.DIM), np.float32), 4) == []
