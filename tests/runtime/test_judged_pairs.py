"""Judged pairs move a threshold as far as they speak for it: the fit against a slow one, few pairs, both directions, by way."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from vreid.models.manifest import Match
from vreid.runtime import judged_pairs
from vreid.runtime.judged_pairs import FEWEST, LEAST, MOST, REFERENCE, SLOPE, SPREADS, JudgedPair, JudgedPairs
from vreid.runtime.site_evidence import Evidence, evidence_of
from vreid.runtime.site_threshold import SiteThreshold

WAY, BACK = ("gate", "yard"), ("yard", "gate")
POINT = Match(threshold=0.6, false_match_rate=0.05, gallery=20)


def drawn(
    count: int, offset: float, slope: float = SLOPE, way: tuple[str, str] = WAY, seed: int = 0
) -> list[JudgedPair]:
    """Pairs near the threshold of 5 % whose log odds of being the same are `offset` there."""
    rng = np.random.default_rng(seed)
    rates = 0.05 * 4 ** rng.uniform(-1, 1, count)
    odds = offset + slope * np.log(REFERENCE / rates)
    same = rng.random(count) < 1 / (1 + np.exp(-odds))
    return [JudgedPair(way, 0.5, float(rate), bool(one)) for rate, one in zip(rates, same, strict=True)]


def test_the_fit_is_the_most_probable_one() -> None:
    pairs = [*drawn(60, 1.0), *drawn(30, -1.0, way=BACK, seed=1)]
    x = np.array([np.log(REFERENCE / pair.rate) for pair in pairs])
    back = np.array([pair.cameras == BACK for pair in pairs])
    same = np.array([pair.same for pair in pairs])

    def improbable(theta: np.ndarray) -> float:
        odds = theta[0] + theta[1] * x + np.where(back, theta[3], theta[2])
        spreads = np.array([*SPREADS, SPREADS[2]])
        prior = ((theta - [0, SLOPE, 0, 0]) / spreads) ** 2 / 2
        return float(np.log1p(np.exp(np.where(same, -odds, odds))).sum() + prior.sum())

    slow = minimize(
        improbable, np.array([0, SLOPE, 0, 0]), method="Nelder-Mead", options={"xatol": 1e-7, "maxiter": 9999}
    )
    fit = JudgedPairs(pairs)._fit
    assert fit is not None
    np.testing.assert_allclose(fit[0], slow.x, atol=1e-3)
    step = 1e-3 * np.eye(4)
    curvature = [
        [
            (
                improbable(fit[0] + a + b)
                - improbable(fit[0] + a - b)
                - improbable(fit[0] - a + b)
                + improbable(fit[0] - a - b)
            )
            / 4e-6
            for b in step
        ]
        for a in step
    ]
    np.testing.assert_allclose(fit[1], np.linalg.inv(np.array(curvature)), atol=1e-3)


def test_few_pairs_move_nothing_and_ten_not_far() -> None:
    assert JudgedPairs([]).times(WAY, 0.05) == 1
    same = [JudgedPair(WAY, 0.5, 0.05, True)] * FEWEST
    assert JudgedPairs(same[1:]).times(WAY, 0.05) == 1
    laxer = JudgedPairs(same).times(WAY, 0.05)
    stricter = JudgedPairs([replace(pair, same=False) for pair in same]).times(WAY, 0.05)
    assert 0.4 < stricter < 1 < laxer < 2.5


@pytest.mark.parametrize("requested", [0.01, 0.05, 0.1])
def test_pairs_as_the_prior_expects_them_move_nothing(requested: float) -> None:
    found = [JudgedPairs(drawn(200, 0.0, seed=seed)).times(WAY, requested) for seed in range(20)]
    assert np.mean([0.75 < times < 1.34 for times in found]) >= 0.8 and np.mean(np.array(found) == 1) >= 0.6


def test_the_threshold_goes_to_where_the_odds_are_those_of_the_prior() -> None:
    """With a slope of a half and an offset of half a logarithm of two, that is at twice the rate."""
    for offset, times in ((0.5 * np.log(2), 2.0), (-0.5 * np.log(2), 0.5)):
        found = np.median([JudgedPairs(drawn(1000, offset, seed=seed)).times(WAY, 0.05) for seed in range(10)])
        assert abs(np.log(found)) <= abs(np.log(times)) + 0.1  # the confidence keeps it nearer to 1
        assert np.log(found) / np.log(times) > 0.4


def test_nothing_moves_further_than_anybody_was_in_doubt() -> None:
    assert JudgedPairs(drawn(500, 9.0)).times(WAY, 0.05) == pytest.approx(MOST)
    assert JudgedPairs(drawn(500, -9.0)).times(WAY, 0.05) == pytest.approx(LEAST)


def test_a_way_that_nobody_takes_is_learnt_apart_from_its_opposite() -> None:
    pairs = JudgedPairs([*drawn(60, 1.5), *drawn(60, -3.0, way=BACK, seed=1)])
    assert pairs.times(BACK, 0.05) < 0.5 < 1 < pairs.times(WAY, 0.05)
    assert pairs.times(BACK, 0.05) < pairs.times(("hall", "hall"), 0.05) <= pairs.times(WAY, 0.05)


def test_a_site_threshold_follows_the_way_and_says_so() -> None:
    pairs = [*drawn(60, 2.0), *drawn(60, -3.0, way=BACK, seed=1)]
    plain = SiteThreshold(POINT)
    rule = SiteThreshold(POINT, kept=Evidence(judged=pairs).as_text())
    before = plain.level("yard", "gate", 50.0)
    assert before == plain.level("gate", "yard", 50.0)
    there, back = rule.level("yard", "gate", 50.0), rule.level("gate", "yard", 50.0)
    assert there.threshold < before.threshold < back.threshold
    assert (before.origin, there.origin) == ("manifest", "manifest (120 judged)")
    features, cameras = np.eye(2, 4, dtype=np.float32), ["gate", "yard"]
    least = rule.compare(features, cameras, features, cameras, 50.0).least
    assert (least[1, 0], least[0, 1]) == (there.threshold, back.threshold)
    assert rule.summary(50.0)["judged"]["pairs"] == 120 and evidence_of(
        str(Evidence(judged=pairs).as_text())
    ).judged == [replace(pair, score=round(pair.score, 5)) for pair in pairs]


def test_a_rate_is_that_at_which_a_score_just_passes() -> None:
    """Without evidence, with a small and a large gallery, and with what time says."""
    for rate in (0.02, 0.2):
        rule = SiteThreshold(POINT, rate)
        for compared in (1.0, 20.0, 5000.0):
            for weight in (0.5, 1.0, 3.0):
                level = rule.level("a", "b", compared, weight).threshold
                assert rule.rate_of("a", "b", level, compared, weight) == pytest.approx(rate, rel=0.15)


@pytest.mark.parametrize(
    "row", [["a", "b", 0.5, 2.0, 1], ["a", "b", 9.0, 0.1, 1], [1, "b", 0.5, 0.1, 1], ["a", "b", 0.5, 0.1, 3]]
)
def test_rows_that_are_no_pairs_are_refused(row: list[object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        judged_pairs.judged_pair_of(row)
