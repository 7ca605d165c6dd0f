"""By every route a gallery of 20,000 prototypes is searched as the plain index does, whatever it is searched through."""

from collections.abc import Iterator

import gallery_route_data as made
import numpy as np
import pytest
from made_gallery import sql
from real_postgres import Server

from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery
from vreid.runtime.gallery.postgres import hnsw, search
from vreid.runtime.gallery_place import DatabaseAddress

SIZE, DIM, QUERIES, K = 20_000, 64, 40, 10
FEATURES, OF_KIND = made.queries(SIZE, DIM, QUERIES)
Answers = dict[str, list[list[tuple[int, float]]]]
LEAST = {
    "none": 0.98,
    "camera + time": 1.0,
    "type": 0.98,
    "another type": 0.98,
}  # of the recall of an index of neighbours


@pytest.fixture(scope="module")
def place(postgres: Server) -> DatabaseAddress:
    """The made gallery, without an index."""
    gallery = postgres.new_place("routes")
    made.filled(gallery, SIZE, DIM)
    return gallery


def answered(place: DatabaseAddress, index: str) -> Answers:
    """What each route answers to every query."""
    with open_gallery(place, write=False, index=index, **made.space(DIM)) as gallery:
        return {route: [found(gallery, route, query) for query in range(QUERIES)] for route in made.ROUTES}


def found(gallery: Gallery, route: str, query: int) -> list[tuple[int, float]]:
    """The best of one query."""
    (hits,) = gallery.search(FEATURES[query][None], K, only=made.ROUTES[route](query, int(OF_KIND[query])))
    return [(hit.vehicle, hit.score) for hit in hits]


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


def assert_equal(answers: Answers, plain: Answers) -> None:
    for route, expected in plain.items():
        for one, other in zip(answers[route], expected, strict=True):
            assert [vehicle for vehicle, _ in one] == [vehicle for vehicle, _ in other], route
            np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=1e-6)


def recall(answers: Answers, plain: Answers, route: str) -> float:
    """Of the vehicles that comparing everything finds; the scores of those that are found are exact."""
    shares = []
    for one, other in zip(answers[route], plain[route], strict=True):
        assert len(one) == len(other)
        true = dict(other)
        for vehicle, score in one:
            assert abs(true.get(vehicle, score) - score) < 1e-6
        shares.append(len({vehicle for vehicle, _ in one} & true.keys()) / len(other))
    return float(np.mean(shares))


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
    (scans,) = sql(
        indexed, "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = ? AND idx_scan > 0", hnsw.NAME
    )
    assert scans[0] >= 3 * QUERIES
