"""Impostor scores of a pair of cameras, and what share of strangers will pass a threshold.

That share is mostly wanted where it is smaller than 1 / pairs, so the upper tail is fitted (peaks over threshold: Pickands,
Annals of Statistics 3, 1975) on s = -log(1 - cosine). Above its upper tenth s falls off as a normal distribution does: between
163,620 pairs of different vehicles of two real cameras it rises by 0.56, 0.39 and 0.36 for each tenfold smaller share, where a
normal one with a spread of 0.53 rises by 0.55, 0.40 and 0.33 (bench/site_threshold.py). So the spread of a normal tail is
estimated from the mean excess over the start, and what is used is a t distribution, which is its predictive distribution when
the spread is uncertain: the heavier the fewer peaks there are, so that doubt makes the threshold stricter, and no confidence
level has to be chosen. Peaks count by tracks, not by pairs, since pairs that share a track are not independent.

Where nothing was seen yet the manifest's point counts: its rate at its threshold in its gallery, with the same kind of tail.
It weighs as much as `PRIOR_TRACKS` tracks and so fades as evidence comes; a site that is harder than the model's data moves
the threshold up at once, an easier one moves it down slowly.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from vreid.models.manifest import Match as ManifestMatch
from vreid.runtime.score_norm import stretched

Values = NDArray[np.float64]

STEP = 0.02  # width of a bin of s
EDGES = np.arange(-35, 806) * STEP  # from a cosine of -1 to 1 - 1e-7, as near to 1 as float32 holds cosines
PEAKS_SHARE = 0.1  # of a pair's scores that the tail is fitted to
FEWEST_PEAKS = 10
MOST_SHARE = 0.3  # where that share has too few peaks
PRIOR_SPREAD = 0.55  # of s, without what cameras and neighbours share: the root mean square over four synthetic scenes
PRIOR_PEAKS = 30.0  # that the prior spread weighs as much as
PRIOR_TRACKS = 20.0  # that the manifest's point weighs as much as
MOST_TRACKS = 1000.0  # of a pair of cameras; then what was seen counts by half


@dataclass
class StrangerScores:
    """Impostor scores of one pair of cameras: counts of s in bins between EDGES, and how many tracks and pairs they are of."""

    counts: Values = field(default_factory=lambda: np.zeros(len(EDGES) - 1))
    tracks: float = 0.0
    pairs: int = 0

    def add(self, s: float, new_tracks: int) -> None:
        """One more pair; `new_tracks` of its two tracks count for the first time here."""
        place = int((s - EDGES[0]) / STEP)
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1
        self.pairs += 1
        self.tracks += new_tracks
        if self.tracks > MOST_TRACKS:
            self.counts, self.tracks, self.pairs = self.counts / 2, self.tracks / 2, self.pairs // 2

    def passing(self) -> Values:
        """(len(EDGES),): the predicted share of impostor pairs whose s is at least each of EDGES."""
        total = self.counts.sum()
        above = np.concatenate([np.cumsum(self.counts[::-1])[::-1], [0.0]]) / total
        share = min(max(PEAKS_SHARE, FEWEST_PEAKS / total), MOST_SHARE)
        start = max(int(np.searchsorted(-above, -share, side="right")) - 1, 0)  # the last edge with that share above
        over = min(float(above[start]), 0.9)
        excess = float(self.counts[start:] @ (EDGES[start:-1] + STEP / 2 - EDGES[start]) / self.counts[start:].sum())
        at = -float(ndtri(over))  # of a normal distribution
        spread = excess / (math.exp(-at * at / 2) / math.sqrt(2 * math.pi) / over - at)
        peaks = over * self.tracks
        freedom = PRIOR_PEAKS + peaks
        spread = math.sqrt((PRIOR_PEAKS * PRIOR_SPREAD**2 + peaks * spread**2) / freedom)
        return np.where(EDGES[start] <= EDGES, tail(EDGES - EDGES[start], over, spread, freedom), above)


def tail(excess: NDArray[Any], share: float, spread: float, freedom: float) -> Values:
    """The share whose s is `excess` over a point that `share` passes: the upper tail of a t distribution."""
    at = -float(stdtrit(freedom, share))
    return np.asarray(stdtr(freedom, -(at + excess / spread)))


def manifest_curve(match: ManifestMatch) -> Values:
    """(len(EDGES),): the share of impostor pairs at each of EDGES before anything was seen: through the manifest's point."""
    rate = min(max(match.false_match_rate, 1e-6), 0.99)
    passing = -math.expm1(math.log1p(-rate) / max(match.gallery, 1))
    return tail(EDGES - float(stretched(match.threshold)), passing, PRIOR_SPREAD, PRIOR_PEAKS)
