"""The open-set threshold: which best score a stranger reaches no more often than requested, in a gallery of any size.

`vreid verify` calibrates it on a test part (`calibrated`). Until then a manifest has a first value (deploy/first_threshold.py).

Definitions. A query is a stranger to every vehicle but its own; its impostor score is the best cosine to any gallery
picture of the others, which a gallery of N vehicles makes a maximum of N. Its genuine score is the best cosine to its own
vehicle's pictures in other cameras. At a threshold t the false-match rate is the share of strangers whose best score is at
least t, the miss rate the share of known vehicles whose genuine score is below.

The data hold M other vehicles for each query, and a site has N. For N < M the maximum over a random gallery of N of them
is known exactly: the j-th best of M is the best of N with probability C(M-j, N-1) / C(M, N). For N > M

    P(best of N < t) = P(best of M < t) ** (N / M)

which needs rates far smaller than 1 / queries. The upper tail is therefore fitted by a generalised Pareto distribution
over a high start (peaks over threshold: Pickands, Annals of Statistics 3, 1975; Balkema and de Haan, 1974) by probability
weighted moments (Hosking and Wallis, Technometrics 29, 1987), which stay put with a few dozen peaks, where likelihood does
not. What is fitted is -log(1 - cosine): a cosine ends at 1, and among directions in space its tail near 1 is a power of
1 - t, so that the stretched one is near an exponential and no threshold is past 1. Where the data themselves say more,
they count: the threshold is never under the observed quantile.

What is assumed, and what if not:

* The vehicles of a gallery are independent draws from those of the data. Twins that come in pairs are counted as if ten
  times the gallery had ten times the twins: too strict. A fleet of equal vans that the data do not show: too lax.
* Queries may differ: a blurred one resembles everybody. By Jensen's inequality the mean over queries of x ** (N / M) is at
  least the power of the mean, so that for N > M one power for all of them can only be too strict; for N < M no power is used.
* Queries of one vehicle are not independent, nor are queries in one gallery, so that a few hundred queries say less than
  they seem to; ten times the gallery needs still more of them. Vehicles are therefore drawn with replacement, with all of
  their queries and in both roles, again and again (the subsets bootstrap of Bolle, Ratha and Pankanti, CVIU 93, 2004), and
  the threshold is the one that is enough in 95 of 100 draws. In simulations (tests/deploy/test_open_set_threshold.py) the
  rate on ten times as many fresh vehicles is then under the requested one in 8 to 9.5 of 10 cases, about a third of it in the
  mean; the best estimate by itself is right in the median and may be ten times off.
* A vehicle has as many tracks in the site's gallery as in the data's (deploy/verify.py hands tracks in, not pictures).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import genpareto

from vreid.models.errors import Refused
from vreid.train.evaluate import Embedded

Values = NDArray[np.float64]
PEAKS = 50  # that the tail is fitted to, at least, as far as half of the queries give as many
SHARE = 0.1  # of the queries, where that is more
FEWEST = 20  # queries
DRAWS = 100  # of the bootstrap
CONFIDENCE = 0.95
POINTS = 201  # of the curve
MOST = 2000  # queries: more only cost time


@dataclass(frozen=True)
class Scores:
    """impostor (Q, V): each query's best cosine to each gallery vehicle, -inf for its own; genuine (K,): of the queries whose
    vehicle other cameras saw; queries (Q,) and enrolled (V,): numbers of the vehicles."""

    impostor: Values
    genuine: Values
    queries: NDArray[np.int64]
    enrolled: NDArray[np.int64]


@dataclass(frozen=True)
class Tail:
    """The best of `size` vehicles: P(score >= scores[i]) = shares[i] as observed, scores falling; above `start`, which a
    share of `over` passes, the stretched score has a generalised Pareto distribution of `shape` and `scale`."""

    size: int
    scores: Values
    shares: Values
    start: float
    over: float
    shape: float
    scale: float

    def rate(self, threshold: Values, gallery: int) -> Values:
        """(T,) thresholds -> (T,) the false-match rate at each, in a gallery of that many vehicles."""
        seen = np.concatenate([[0.0], self.shares])[np.searchsorted(-self.scores, -threshold, side="right")]
        excess = stretched(threshold) - stretched(self.start)
        beyond = self.over * genpareto.sf(excess, self.shape, scale=self.scale)
        share = np.where(threshold > self.start, beyond, seen).clip(0, 1)
        return np.asarray(1 - (1 - share) ** (gallery / self.size))

    def threshold(self, rate: float, gallery: int) -> float:
        """The least threshold, within -1 and 1, that no more than `rate` of the strangers reach."""
        share = -np.expm1(self.size / gallery * np.log1p(-rate))
        within = int(np.searchsorted(self.shares, share, side="right"))  # observed scores that may still be reached
        found = float(self.scores[max(within - 1, 0)])
        if share < self.over:
            excess = genpareto.isf(share / self.over, self.shape, scale=self.scale)
            found = max(found, float(-np.expm1(-stretched(self.start) - excess)))
        return min(max(found, -1.0), 1.0)


@dataclass(frozen=True)
class OpenSet:
    """A threshold and what it costs: no more than `false_match_rate` of strangers pass it in a gallery of `gallery` vehicles,
    `miss_rate` of known vehicles do not. `estimate` is the threshold at which just that share of strangers would pass;
    `curve` are rows of (threshold, estimated false-match rate in that gallery, miss rate); `vehicles` and `queries` are
    the data's."""

    threshold: float
    estimate: float
    false_match_rate: float
    gallery: int
    miss_rate: float
    vehicles: int
    queries: int
    curve: tuple[tuple[float, float, float], ...]


def scores_of(query: Embedded, gallery: Embedded, camera_rule: bool = True, seed: int = 0) -> Scores:
    """All scores that a threshold is made of, of 2000 drawn queries where there are more; with `camera_rule` a vehicle is not
    looked for in the query's own camera."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(query.vehicles))[:MOST])
    order = np.argsort(gallery.vehicles, kind="stable")
    vehicles, cameras = gallery.vehicles[order], gallery.cameras[order]
    enrolled, first = np.unique(vehicles, return_index=True)
    impostor, genuine = np.empty((len(drawn), len(enrolled))), np.empty(len(drawn))
    for start in range(0, len(drawn), 256):
        rows = drawn[start : start + 256]
        cosines = (query.features[rows] @ gallery.features[order].T).astype(np.float64)  # (B, G)
        own = query.vehicles[rows, None] == vehicles
        seen = own & (query.cameras[rows, None] != cameras) if camera_rule else own
        genuine[start : start + 256] = np.where(seen, cosines, -np.inf).max(axis=1)
        impostor[start : start + 256] = np.maximum.reduceat(np.where(own, -np.inf, cosines), first, axis=1)
    return Scores(impostor, genuine[np.isfinite(genuine)], query.vehicles[drawn], enrolled)


def calibrated(scores: Scores, false_match_rate: float, gallery: int | None = None, seed: int = 0) -> OpenSet:
    """The threshold for a gallery of that many vehicles; as many as the data's when None. Raises Refused for numbers that
    make no sense and for too few queries."""
    if not 0 < false_match_rate < 1:
        raise Refused(f"a false match rate of {false_match_rate} means nothing; give one between 0 and 1, such as 0.01")
    vehicles = len(scores.enrolled)
    gallery = vehicles if gallery is None else gallery
    if gallery < 1:
        raise Refused(f"a gallery holds at least 1 vehicle, not {gallery}")
    tail = tail_of(scores, gallery)
    estimate = tail.threshold(false_match_rate, gallery)
    again = [drawn.threshold(false_match_rate, gallery) for drawn in _redrawn(scores, gallery, seed)]
    threshold = max(estimate, float(np.quantile(again, CONFIDENCE)) if again else 1.0)
    threshold = min(float(np.ceil(1e5 * threshold) / 1e5), 1.0)  # up, never down
    genuine, most = np.sort(scores.genuine), max(len(scores.genuine), 1)
    levels = np.linspace(min(float(tail.scores[-1]), threshold), 1.0, POINTS)
    misses = np.searchsorted(genuine, levels) / most
    curve = zip(levels.tolist(), tail.rate(levels, gallery).tolist(), misses.tolist(), strict=True)
    return OpenSet(
        threshold=threshold,
        estimate=estimate,
        false_match_rate=false_match_rate,
        gallery=gallery,
        miss_rate=float(np.searchsorted(genuine, threshold) / most),
        vehicles=vehicles,
        queries=len(scores.queries),
        curve=tuple(curve),
    )


def tail_of(scores: Scores, gallery: int, counts: Values | None = None) -> Tail:
    """The tail of the best of `gallery` vehicles, or of all that there are if those are fewer; `counts` (Q,) says how often
    a query is to be counted. Raises Refused for too few queries or vehicles."""
    others = int(np.isfinite(scores.impostor).sum(axis=1).min(initial=len(scores.enrolled)))
    if others < 1 or len(scores.impostor) < FEWEST:
        said = f"{len(scores.impostor)} queries and {len(scores.enrolled)} vehicles in the gallery"
        raise Refused(
            f"a threshold needs {FEWEST} queries and 2 vehicles at least, and the data have {said}; add pictures"
        )
    size = min(gallery, others)
    best = -np.sort(-scores.impostor, axis=1)[:, : others - size + 1]  # (Q, J), falling
    counts = np.ones(len(best)) if counts is None else counts
    weights = np.outer(counts / counts.sum(), best_of(size, others))
    place = np.argsort(-best, axis=None, kind="stable")
    values, shares = best.ravel()[place], np.cumsum(weights.ravel()[place])
    over = min(max(SHARE, PEAKS / len(best)), 0.5)
    peaks = max(int(np.searchsorted(shares, over)), 2)
    start = float(values[min(peaks, len(values) - 1)])
    shape, scale = pareto(stretched(values[:peaks]) - stretched(start), weights.ravel()[place][:peaks])
    return Tail(size, values, shares, start, float(shares[peaks - 1]), shape, scale)


def stretched(cosines: Values | float) -> Values:
    """-log(1 - t); float32 holds cosines near 1 no closer than 1e-7."""
    return np.asarray(-np.log(np.maximum(1 - np.asarray(cosines), 1e-7)))


def best_of(size: int, others: int) -> Values:
    """(others - size + 1,): the probability that the j-th best of `others` is the best of `size` drawn from them."""
    rank = np.arange(1, others - size + 2)

    def log_choose(n: Values | float, k: float) -> Values:
        return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))

    return np.exp(log_choose(others - rank.astype(np.float64), size - 1) - log_choose(others, size))


def pareto(excesses: Values, weights: Values) -> tuple[float, float]:
    """(shape, scale) of excesses (K,), falling, by probability weighted moments; the shape is under 1/2."""
    weights = weights / weights.sum()
    above = np.cumsum(weights) - 0.65 * weights  # 1 - (i - 0.35) / K for equal weights, as the authors advise
    first, second = float(weights @ excesses), float(weights @ (excesses * above))
    if first <= 0 or first <= 2 * second:  # no spread to speak of
        return 0.0, max(first, 1e-9)
    return 2 - first / (first - 2 * second), 2 * first * second / (first - 2 * second)


def _redrawn(scores: Scores, gallery: int, seed: int) -> list[Tail]:
    """Tails of as many vehicles drawn with replacement; none where a draw leaves too little."""
    random = np.random.default_rng(seed)
    vehicles = np.union1d(scores.queries, scores.enrolled)
    queries, enrolled = np.searchsorted(vehicles, scores.queries), np.searchsorted(vehicles, scores.enrolled)
    tails = []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, len(vehicles), len(vehicles)), minlength=len(vehicles))
        rows, columns = times[queries] > 0, times[enrolled] > 0
        impostor = scores.impostor[np.ix_(rows, columns)]
        if rows.sum() >= FEWEST and columns.sum() > 1:
            part = Scores(impostor, scores.genuine, scores.queries[rows], scores.enrolled[columns])
            tails.append(tail_of(part, gallery, times[queries][rows].astype(np.float64)))
    return tails


def tracks_of(pictures: Embedded) -> Embedded:
    """One row a vehicle and camera: the mean of its pictures' features at unit length."""
    pairs = np.stack([pictures.vehicles, pictures.cameras], 1)
    tracks, member = np.unique(pairs, axis=0, return_inverse=True)
    features = np.zeros((len(tracks), pictures.features.shape[1]), np.float32)
    np.add.at(features, member.ravel(), pictures.features)
    features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    return Embedded(features, tracks[:, 0], tracks[:, 1])
