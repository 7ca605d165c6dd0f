"""Every index answers as a sorted list does, and follows whatever happens to the gallery."""

from pathlib import Path

import numpy as np
import pytest
from made_gallery import DIM, features, opened

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.table import INDEXES, open_index
from vreid.runtime.gallery.index.with_faiss import faiss
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.records import Floats

NO_GPU = not getattr(faiss, "get_num_gpus", lambda: 0)()
EVERY = [
    pytest.param(name, marks=[pytest.mark.gpu, pytest.mark.skipif(NO_GPU, reason="FAISS finds no GPU")])
    if name == "gpu"
    else name
    for name in sorted(INDEXES)
]


# The index


@pytest.mark.parametrize("name", EVERY)
def test_index_is_a_sorted_list_of_products(name: str) -> None:
    rng, index, held = np.random.default_rng(1), open_index(name, DIM), dict[int, Floats]()
    for step in range(60):
        ids = np.arange(step * 5, step * 5 + rng.integers(1, 6))
        rows = features(len(ids), step)
        index.add(ids, rows)
        held.update(zip(ids.tolist(), rows, strict=True))
        gone = rng.choice([*held, 10**6], size=min(2, len(held)), replace=False)
        index.remove(gone)
        for id_ in gone.tolist():
            held.pop(id_, None)
        assert len(index) == len(held)
        queries, k = features(3, 1000 + step), int(rng.integers(1, 9))
        scores, ids = index.search(queries, k)
        assert scores.shape == ids.shape == (3, k)
        for query, falling, found in zip(queries, scores, ids, strict=True):
            best = sorted(((float(row @ query), id_) for id_, row in held.items()), reverse=True)[:k]
            assert found.tolist() == [id_ for _, id_ in best] + [-1] * (k - len(best))
            np.testing.assert_allclose(falling[: len(best)], [score for score, _ in best], atol=1e-6)
            assert np.isneginf(falling[len(best) :]).all()


def test_an_index_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="choose one of: flat, gpu, hnsw"):
        opened(tmp_path / "g.db", index="magic")
    assert list(tmp_path.iterdir()) == []


# Search


@pytest.mark.parametrize("index", EVERY)
def test_search_ranks_vehicles_by_their_best_prototype(place: GalleryPlace, index: str) -> None:
    with opened(place, index=index) as gallery:
        held: dict[int, list[Floats]] = {}
        for number, row in enumerate(features(120)):
            vehicle = gallery.add_vehicle() if number < 20 else 1 + number % 20
            if gallery.add_prototype(vehicle, f"view {number}", row) is not None:
                held.setdefault(vehicle, []).append(row)
        for query in features(10, 5):
            slow = sorted(((max(float(row @ query) for row in rows), id_) for id_, rows in held.items()), reverse=True)
            for k in (1, 3, 20, 99):
                (hits,) = gallery.search(query[None], k)
                assert [hit.vehicle for hit in hits] == [id_ for _, id_ in slow[:k]]
                np.testing.assert_allclose([hit.score for hit in hits], [score for score, _ in slow[:k]], atol=1e-6)
        vehicles = sorted(held)
        slow_scores = [[max(float(row @ query) for row in held[v]) for v in vehicles] for query in features(4, 6)]
        np.testing.assert_allclose(gallery.scores(features(4, 6), vehicles).cosines, slow_scores, atol=1e-6)


def test_an_empty_gallery_finds_nothing(place: GalleryPlace) -> None:
    with opened(place) as gallery:
        gallery.add_vehicle("without prototypes")
        assert gallery.search(features(2), 3) == [[], []]
        assert gallery.search(np.zeros((0, DIM), np.float32), 3) == []


@pytest.mark.parametrize("seed", range(4))
def test_after_any_sequence_the_index_is_what_a_new_one_would_be(place: GalleryPlace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with opened(place, max_prototypes=3, merge_above=0.6) as gallery:
        gallery.search(features(1), 1)  # so that the index is there and has to follow
        alive: list[int] = []
        for step in range(80):
            act = rng.choice(["vehicle", "prototype", "prototype", "prototype", "remove", "rollback"])
            if act == "vehicle" or not alive:
                alive.append(gallery.add_vehicle())
            elif act == "prototype":
                view = str(rng.choice(["front", "rear"]))
                gallery.add_prototype(int(rng.choice(alive)), view, features(1, step)[0], float(rng.uniform(0.1, 1)))
            elif act == "remove":
                gallery.remove(alive.pop(int(rng.integers(len(alive)))))
            else:
                with pytest.raises(KeyError), gallery.transaction():
                    gallery.add_prototype(gallery.add_vehicle(), "front", features(1, step)[0])
                    gallery.remove(alive[0])
                    raise KeyError
        queries = features(20, 99)
        followed = gallery.search(queries, 5)
        counts = {vehicle.id: vehicle.prototypes for vehicle in gallery.vehicles()}
    assert sorted(counts) == sorted(alive)
    assert max(counts.values()) <= 3
    for index in sorted({*INDEXES} - {"gpu"}):
        with opened(place, write=False, index=index) as again:
            for first, second in zip(followed, again.search(queries, 5), strict=True):
                assert [hit.vehicle for hit in first] == [hit.vehicle for hit in second]
                np.testing.assert_allclose([hit.score for hit in first], [hit.score for hit in second], atol=1e-5)
