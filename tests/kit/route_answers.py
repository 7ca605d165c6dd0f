"""What a made gallery of 20,000 prototypes answers by every route (bench/gallery_route_data.py), and how it is compared."""

import gallery_route_data as made
import numpy as np

from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery_place import DatabaseAddress

SIZE, DIM, QUERIES, K = 20_000, 64, 40, 10
FEATURES, OF_KIND = made.queries(SIZE, DIM, QUERIES)
LEAST = {
    "none": 0.98,
    "camera + time": 1.0,
    "type": 0.98,
    "another type": 0.98,
}  # of the recall of an index of neighbours
Answers = dict[str, list[list[tuple[int, float]]]]


def answered(place: DatabaseAddress, index: str) -> Answers:
    """What each route answers to every query."""
    with open_gallery(place, write=False, index=index, **made.space(DIM)) as gallery:
        return {route: [found(gallery, route, query) for query in range(QUERIES)] for route in made.ROUTES}


def found(gallery: Gallery, route: str, query: int) -> list[tuple[int, float]]:
    """The best of one query."""
    (hits,) = gallery.search(FEATURES[query][None], K, only=made.ROUTES[route](query, int(OF_KIND[query])))
    return [(hit.vehicle, hit.score) for hit in hits]


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
