"""The open-set threshold holds on vehicles that it was not made of, in galleries of another size."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from vreid.deploy import threshold as module
from vreid.deploy.threshold import OpenSet, Scores, best_of, calibrated, pareto, scores_of, tail_of
from vreid.models.errors import Refused
from vreid.train.evaluate import Embedded

NOBODY = np.zeros(0)


def at(degrees: list[float], vehicles: list[int], cameras: list[int]) -> Embedded:
    """Features on the unit circle."""
    angles = np.radians(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Embedded(features, np.array(vehicles), np.array(cameras))


def strangers(impostor: np.ndarray) -> Scores:
    """Scores (Q, V) of queries of Q vehicles that are not enrolled."""
    queries, vehicles = impostor.shape
    return Scores(impostor, NOBODY, np.arange(queries) + vehicles, np.arange(vehicles))


def crowd(random: np.random.Generator, vehicles: int, pictures: int, dim: int) -> Embedded:
    """Vehicles as directions in space, pictures scattered around them; a camera for each of a vehicle's pictures."""
    centres = random.standard_normal((vehicles, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    features = np.repeat(centres, pictures, 0) + 0.8 * random.standard_normal((vehicles * pictures, dim)) / np.sqrt(dim)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Embedded(
        features.astype(np.float32), np.repeat(np.arange(vehicles), pictures), np.tile(np.arange(pictures), vehicles)
    )


def test_scores_equal_a_slow_version() -> None:
    random = np.random.default_rng(0)
    query, gallery = crowd(random, 7, 2, 5), crowd(random, 9, 3, 5)
    found = scores_of(query, gallery)
    genuine = []
    for row, (feature, vehicle, camera) in enumerate(zip(query.features, query.vehicles, query.cameras, strict=True)):
        best: dict[int, float] = {}
        own = []
        for other, v, c in zip(gallery.features, gallery.vehicles, gallery.cameras, strict=True):
            score = float(feature @ other)
            if v != vehicle:
                best[int(v)] = max(best.get(int(v), -1.0), score)
            elif c != camera:
                own.append(score)
        genuine.append(max(own))
        expected = [best.get(v, -np.inf) for v in range(9)]
        np.testing.assert_allclose(found.impostor[row], expected, atol=1e-6)
    np.testing.assert_allclose(found.genuine, genuine, atol=1e-6)
    assert scores_of(query, gallery, camera_rule=False).genuine.min() >= found.genuine.min()


def test_what_a_threshold_is_by_hand() -> None:
    """40 strangers at 11, 12 ... 50 degrees from the only vehicle: 30 of them reach the cosine of 40 degrees."""
    query = at(list(range(11, 51)), list(range(100, 140)), [0] * 40)
    tail = tail_of(scores_of(query, at([0], [1], [0])), 1)
    assert tail.threshold(0.76, 1) == pytest.approx(np.cos(np.radians(40)))
    low = np.cos(np.radians([60, 40.5]))
    assert tail.rate(low, 1) == pytest.approx([1, 0.75])
    assert tail.rate(low, 3) == pytest.approx([1, 1 - 0.25**3])


def test_the_best_of_a_few_is_counted_exactly() -> None:
    """Against all subsets, drawn one by one."""
    assert best_of(3, 3) == pytest.approx([1])
    assert best_of(1, 4) == pytest.approx([0.25] * 4)
    random = np.random.default_rng(0)
    drawn = [random.permutation(8)[:3].min() for _ in range(20000)]
    assert best_of(3, 8) == pytest.approx(np.bincount(drawn) / 20000, abs=0.01)
    scores = np.random.default_rng(1).random((60, 12))
    tail = tail_of(strangers(scores), 4)
    slow = np.concatenate([scores[:, random.permutation(12)[:4]].max(1) for _ in range(2000)])
    for level in (0.5, 0.7, 0.85):
        assert tail.rate(np.array([level]), 4)[0] == pytest.approx((slow >= level).mean(), abs=0.01)


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.2])
def test_the_pareto_is_found_again_and_is_scipys(shape: float) -> None:
    drawn = stats.genpareto.rvs(shape, scale=0.05, size=20000, random_state=0)
    drawn = np.sort(drawn)[::-1]
    assert pareto(drawn, np.ones(len(drawn))) == (pytest.approx(shape, abs=0.03), pytest.approx(0.05, rel=0.03))
    likely, _, scale = stats.genpareto.fit(drawn[::10], floc=0)
    assert pareto(drawn[::10], np.ones(2000)) == (pytest.approx(likely, abs=0.06), pytest.approx(scale, rel=0.08))
    twice = np.repeat(drawn[::40], 2)
    assert pareto(twice, np.ones(1000)) == pytest.approx(pareto(drawn[::40], np.full(500, 2.0)), abs=0.01)


DRAWN: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "beta, short tail": lambda random, size: 2 * random.beta(8, 3, size) - 1,
    "beta, long tail": lambda random, size: 2 * random.beta(3, 12, size) - 1,
    "normal": lambda random, size: random.normal(0.2, 0.12, size),
    "queries differ": lambda random, size: random.normal(0.2, 0.1, size) + random.normal(0, 0.08, (size[0], 1)),
    # one query in ten is so blurred that it resembles everybody
    "a few resemble all": lambda random, size: (
        random.normal(0.2, 0.1, size) + 0.2 * (random.random((size[0], 1)) < 0.1)
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("times", [10, 1, 0.1])
def test_it_holds_on_fresh_vehicles_in_a_gallery_of_another_size(name: str, times: float) -> None:
    """300 strangers and 100 vehicles make the threshold; thousands of fresh strangers ask ten times as many."""
    draw, rate, size = DRAWN[name], 0.02, int(100 * times)
    realised = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        found = calibrated(strangers(draw(random, (300, 100))), rate, size)
        fresh = np.concatenate([draw(random, (500, size)).max(1) for _ in range(4)])
        realised.append((fresh >= found.threshold).mean() / rate)
        assert found.estimate <= found.threshold
    assert np.mean(realised) <= 1 and max(realised) <= 2
    if name != "a few resemble all" or times < 10:  # whose tail has a step that no Pareto has: far too strict
        assert np.mean(realised) > 0.02  # strict, not shut


@pytest.mark.parametrize("dim", [6, 24])
def test_it_holds_where_vehicles_ask_several_times_and_share_one_gallery(dim: int) -> None:
    """The slow reference: a gallery of ten times as many fresh vehicles, searched by fresh strangers."""
    rate, realised, estimated = 0.02, [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        known = crowd(random, 80, 5, dim)
        found = calibrated(scores_of(known, known), rate, 800)
        gallery, queries = crowd(random, 800, 5, dim), crowd(random, 1000, 1, dim)
        best = (queries.features @ gallery.features.T).max(1)
        realised.append((best >= found.threshold).mean() / rate)
        estimated.append((best >= found.estimate).mean() / rate)
    assert np.mean(realised) <= 1 and np.mean(np.array(realised) <= 1) >= 0.8
    assert 0.1 < np.median(estimated) < 3  # the estimate alone is about right, and half of the time too low


def test_the_threshold_rises_with_the_gallery_and_falls_with_the_rate() -> None:
    scores = strangers(np.random.default_rng(0).normal(0.2, 0.1, (300, 60)))
    sizes = [calibrated(scores, 0.01, size).estimate for size in (1, 6, 30, 60, 61, 600, 6000)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    rates = [calibrated(scores, rate, 60).estimate for rate in (0.5, 0.1, 0.01, 0.001, 0.0001)]
    assert rates == sorted(rates)
    assert rates[-1] > scores.impostor.max()  # 1 in 10,000 is beyond what 300 queries showed
    assert calibrated(scores, 1e-9, 10**6).threshold <= 1.0


def test_misses_and_the_curve() -> None:
    random = np.random.default_rng(0)
    genuine = random.uniform(0.3, 0.9, 500)
    found = calibrated(
        Scores(random.normal(0.2, 0.1, (300, 60)), genuine, np.arange(300) + 60, np.arange(60)), 0.02, 60
    )
    assert isinstance(found, OpenSet) and found.gallery == found.vehicles == 60 and found.queries == 300
    assert found.miss_rate == pytest.approx((genuine < found.threshold).mean())
    levels, taken, missed = np.array(found.curve).T
    assert (np.diff(levels) > 0).all() and levels[-1] == 1.0
    assert (np.diff(taken) <= 1e-12).all() and (np.diff(missed) >= 0).all()
    assert np.interp(found.estimate, levels, taken) == pytest.approx(0.02, rel=0.3)
    assert calibrated(strangers(random.normal(0.2, 0.1, (300, 60))), 0.02).gallery == 60


def test_the_same_scores_give_the_same_threshold() -> None:
    scores = strangers(np.random.default_rng(0).normal(0.2, 0.1, (100, 20)))
    assert calibrated(scores, 0.01, 200) == calibrated(scores, 0.01, 200)


def test_scores_that_are_all_equal_are_their_own_threshold() -> None:
    found = calibrated(strangers(np.full((40, 5), 0.4)), 0.01, 5)
    assert 0.4 <= found.threshold <= 0.401


def test_many_queries_are_drawn_from() -> None:
    random = np.random.default_rng(0)
    assert len(scores_of(crowd(random, 700, 3, 4), crowd(random, 10, 1, 4)).impostor) == module.MOST


@pytest.mark.parametrize(
    ("shape", "rate", "size", "said"),
    [
        ((40, 5), 0.0, 5, "false match rate"),
        ((40, 5), 1.0, 5, "false match rate"),
        ((40, 5), float("nan"), 5, "false match rate"),
        ((40, 5), 0.01, 0, "at least 1 vehicle"),
        ((10, 5), 0.01, 5, "20 queries"),
        ((40, 0), 0.01, 5, "2 vehicles"),
    ],
)
def test_what_makes_no_sense_is_refused(shape: tuple[int, int], rate: float, size: int, said: str) -> None:
    with pytest.raises(Refused, match=said):
        calibrated(strangers(np.zeros(shape)), rate, size)
