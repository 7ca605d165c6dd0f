"""Every index answers as the plain one does, whatever is added, changed, removed and filtered; nothing dead is ever found."""

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.gallery.index import flat
from vreid.runtime.gallery.index.flat import GpuIndex
from vreid.runtime.gallery.index.row_map import GONE, IdMap
from vreid.runtime.gallery.index.table import Index, Stored, open_index
from vreid.runtime.gallery.index.vehicle_index import VehicleIndex
from vreid.runtime.gallery.index.with_faiss import faiss
from vreid.runtime.records import Floats, Ints

DIM = 16
CENTRES = np.random.default_rng(0).standard_normal((60, DIM)).astype(np.float32)
NO_GPU = not getattr(faiss, "get_num_gpus", lambda: 0)()
ON_GPU = pytest.param("gpu", marks=[pytest.mark.gpu, pytest.mark.skipif(NO_GPU, reason="FAISS finds no GPU")])
EXACT = ["flat", "numpy", "gpu beside none"]
ROUGH = ["hnsw?m=8&ef=24", "ivf?train=300", "ivfpq?train=300&code=8"]


def opened(name: str, expected: int = 0) -> Index:
    """`gpu beside none` is the GPU's index over FAISS's flat one on the CPU, which has the same methods."""
    return GpuIndex(DIM, make=faiss.IndexFlatIP) if name == "gpu beside none" else open_index(name, DIM, expected)


def near(random: np.random.Generator, count: int) -> Floats:
    """(count, DIM) of unit length in 60 heaps."""
    rows = CENTRES[random.integers(len(CENTRES), size=count)] + 0.5 * random.standard_normal((count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def picked(random: np.random.Generator, ids: Ints, count: int) -> Ints:
    return np.asarray(random.choice(ids, min(count, len(ids)), replace=False), np.int64)


@pytest.mark.parametrize("name", [*EXACT, ON_GPU, *ROUGH])
@pytest.mark.parametrize("seed", [0, 1])
def test_after_any_sequence_an_index_finds_what_the_plain_one_finds(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "FEW_ON_GPU", 50)
    monkeypatch.setattr("vreid.runtime.gallery.index.flat.LITTLE", 50)
    random = np.random.default_rng(seed)
    index, plain, last = opened(name), open_index("numpy", DIM), 0
    alive = dict.fromkeys(range(0))
    hits = expected = 0
    for step in range(40):
        fresh = np.arange(last + 1, last + 1 + random.integers(20, 60))
        last = int(fresh[-1])
        again = picked(random, np.array([*alive], np.int64), 8) if alive else fresh[:0]
        for ids in (fresh, again):  # new ones, and new features of old ones
            rows = near(random, len(ids))
            index.add(ids, rows)
            plain.add(ids, rows)
            alive.update(dict.fromkeys(ids.tolist()))
        gone = np.append(picked(random, np.array([*alive], np.int64), int(random.integers(0, 20))), 10**9)
        index.remove(gone)
        plain.remove(gone)
        for id_ in gone.tolist():
            alive.pop(id_, None)
        assert len(index) == len(plain) == len(alive)
        if index.worn:
            index = refilled(name, plain)
        queries, k = near(random, int(random.integers(1, 9))), int(random.integers(1, 12))
        held = np.array([*alive], np.int64)
        share = step % 4 * len(held) // 3
        among = None if not share else np.append(picked(random, held, share), [10**9, 3 * 10**6])
        scores, ids = index.search(queries, k, among)
        best, truth = plain.search(queries, k, among)
        assert scores.shape == ids.shape == (len(queries), k)
        assert np.isin(ids, np.append(held if among is None else among, GONE)).all()
        assert (np.isneginf(scores) == (ids == GONE)).all()
        assert (np.diff(scores[:, : min(k, len(held))], axis=1) <= 1e-6).all()
        if name in ROUGH:
            hits += sum(len({*o} & {*t} - {GONE}) for o, t in zip(ids.tolist(), truth.tolist(), strict=True))
            expected += int((truth != GONE).sum())
            assert (ids == GONE).sum() == (truth == GONE).sum()
        else:
            np.testing.assert_array_equal(ids, truth)
            np.testing.assert_allclose(scores, best, atol=1e-6)
    assert hits >= (0.6 if name.startswith("ivfpq") else 0.9) * expected  # PQ's are compared again, see below


def refilled(name: str, plain: Index) -> Index:
    index = opened(name, len(plain))
    scores, ids = plain.search(np.eye(DIM, dtype=np.float32), len(plain))
    held = np.unique(ids)
    # every cosine with the axes is the feature itself
    rows = np.stack([scores[axis][np.argsort(ids[axis])] for axis in range(DIM)], axis=1)
    index.add(held, rows)
    assert not index.worn
    return index


@pytest.mark.parametrize("name", ["hnsw", "gpu beside none"])
def test_what_cannot_forget_says_when_a_fifth_is_dead(name: str) -> None:
    random, index = np.random.default_rng(0), opened(name)
    index.add(np.arange(1000), near(random, 1000))
    index.remove(np.arange(200))
    assert not index.worn
    index.remove(np.arange(150, 201))
    assert index.worn
    assert len(index) == 799


def test_lists_are_made_anew_when_there_are_four_times_as_many_rows() -> None:
    random, index = np.random.default_rng(0), open_index("ivf?train=100", DIM)
    index.add(np.arange(100), near(random, 100))
    index.add(np.arange(100, 400), near(random, 300))
    assert not index.worn
    index.add(np.arange(400, 401), near(random, 1))
    assert index.worn


def test_a_slightly_moved_feature_stays_in_the_graph() -> None:
    random, index = np.random.default_rng(0), open_index("hnsw", DIM)
    rows = near(random, 500)
    index.add(np.arange(500), rows)
    for _ in range(3):
        moved = rows + np.float32(0.02) * random.standard_normal(rows.shape).astype(np.float32)
        rows = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        index.add(np.arange(500), rows)
    assert not index.worn
    scores, ids = index.search(rows[:50], 1)
    assert ids[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(scores, 1, atol=1e-5)


@pytest.mark.parametrize("name", ["flat", "ivfpq?train=300&code=8", "hnsw?ef=24"])
def test_vehicles_are_ranked_by_exact_scores_even_over_a_rough_index(name: str) -> None:
    random = np.random.default_rng(3)
    rows, owners = near(random, 1500), random.integers(1, 200, 1500)

    def read(ids: Ints) -> tuple[Ints, Ints, Floats]:
        return ids, owners[ids], rows[ids]

    index = VehicleIndex(name, DIM, read, 1500)
    index.add(np.arange(1500), owners, rows)
    queries, found, expected = near(random, 40), 0, 0
    for k, vehicles in ((1, None), (5, None), (5, [*range(1, 200, 3)]), (300, None), (3, [7, 5000]), (3, [])):
        every = queries @ rows.T  # (40, 1500)
        for query, best in zip(every, index.search(queries, k, vehicles), strict=True):
            true: dict[int, float] = {}
            for score, owner in zip(query.tolist(), owners.tolist(), strict=True):
                if vehicles is None or owner in vehicles:
                    true[owner] = max(score, true.get(owner, -1.0))
            slow = sorted(true.items(), key=lambda one: -one[1])[:k]
            np.testing.assert_allclose([score for _, score in best], [true[one] for one, _ in best], atol=1e-6)
            found += len({one for one, _ in best} & {one for one, _ in slow})
            expected += len(slow)
            if name == "flat":
                assert [one for one, _ in best] == [one for one, _ in slow]
    assert found >= 0.95 * expected


def test_options_are_whole_numbers_that_the_member_knows() -> None:
    stored = open_index("ivf?nlist=7&nprobe=3&train=50", DIM)
    assert isinstance(stored, Stored)
    assert stored.made_with["nlist"] == 7
    for wrong in ("ivf?nprobe=0", "ivf?nprobe=", "ivf?code=4", "ivf?nprobe=-1", "hnsw?nlist=3", "ivf?nprobe=1e3"):
        with pytest.raises(Refused, match=r"does not take .* choose from"):
            open_index(wrong, DIM)
    with pytest.raises(Refused, match="it has no options"):
        open_index("flat?nprobe=3", DIM)
    with pytest.raises(Refused, match="there is no index 'annoy'"):
        open_index("annoy", DIM)
    with pytest.raises(Refused, match="divides 16"):
        open_index("ivfpq?code=5", DIM)


@pytest.mark.skipif(not NO_GPU, reason="FAISS finds a GPU")
def test_without_a_gpu_the_refusal_says_what_works() -> None:
    with pytest.raises(Refused, match=r"pip install faiss-gpu .* 'flat' works everywhere"):
        open_index("gpu", DIM)


@pytest.mark.parametrize("seed", range(3))
def test_places_are_a_dictionary(seed: int) -> None:
    random, places, slow = np.random.default_rng(seed), IdMap(), dict[int, int]()
    for _ in range(200):
        ids = np.unique(random.integers(0, 400, random.integers(0, 30)))
        if random.random() < 0.5:
            values = random.integers(0, 1000, len(ids))
            places.put(ids, values)
            slow.update(zip(ids.tolist(), values.tolist(), strict=True))
        else:
            places.drop(ids)
            for id_ in ids.tolist():
                slow.pop(id_, None)
        assert len(places) == len(slow)
        assert places.of(np.arange(-1, 401)).tolist() == [slow.get(id_, GONE) for id_ in range(-1, 401)]
        keys, values = places.items()
        assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == slow
