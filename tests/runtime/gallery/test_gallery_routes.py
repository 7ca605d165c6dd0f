"""By every route a gallery of 20,000 prototypes is searched as the plain index does, whatever it is searched through."""

from collections.abc import Iterator

import gallery_route_data as made
import pytest
from made_gallery import sql
from real_postgres import Server
from route_answers import DIM, LEAST, QUERIES, SIZE, Answers, answered, assert_equal, recall

from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.postgres import hnsw, search
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture(scope="module")
def place(postgres: Server) -> DatabaseAddress:
    """The made gallery, without an index."""
    gallery = postgres.new_place("routes")
    made.filled(gallery, SIZE, DIM)
    return gallery


@pytest.fixture(scope="module")
def plain(place: DatabaseAddress) -> Answers:
    """What comparing everything answers."""
    return answered(place, "numpy")


@pytest.fixture(scope="module")
def indexed(place: DatabaseAddress) -> Iterator[DatabaseAddress]:
    """The same gallery with pgvector's index."""
    with edit_gallery(place, "pgvector") as gallery:
        gallery.index.build(lambda done, steps: None)
    yield place
    with edit_gallery(place, "pgvector") as gallery:
        gallery.index.drop()


@pytest.mark.parametrize("index", ["flat", "ivf?nprobe=1000", "pgvector"])
def test_exact_routes_answer_as_the_plain_index(place: DatabaseAddress, plain: Answers, index: str) -> None:
    assert_equal(answered(place, index), plain)


def test_few_rows_are_compared_although_there_is_an_index(indexed: DatabaseAddress, plain: Answers) -> None:
    assert search.EXACT == SIZE
    assert_equal(answered(indexed, "pgvector?ef=1"), plain)


def test_beyond_them_a_filter_takes_nothing_from_the_recall(
    indexed: DatabaseAddress, plain: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured with this seed: 0.9975, 1.0, 1.0 and 0.9975."""
    monkeypatch.setattr(search, "EXACT", 1000)
    answers = answered(indexed, "pgvector")
    for route, least in LEAST.items():
        assert recall(answers, plain, route) >= least, route
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = ? AND indexrelname = ? AND idx_scan > 0"
    (scans,) = sql(indexed, used, indexed.gallery, hnsw.NAME)  # other tests' galleries have such an index, too
    assert scans[0] >= 3 * QUERIES
