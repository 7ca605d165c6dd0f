"""Impostor scores of a pair of cameras, and what share of strangers will pass a threshold.

That share is mostly wanted where it is smaller than 1 / pairs, so the upper tail is fitted (peaks over threshold: Pickands,
Annals of Statistics 3, 1975; Balkema and de Haan, 1974) on s = -log(1 - cosine), where it is near an exponential (see
deploy/threshold.py). What is used is not the best estimate of its scale but the predictive distribution under a gamma prior, a
Lomax distribution: its tail is the heavier the fewer tracks have been seen, so that doubt makes the threshold stricter, and no
confidence level has to be chosen. Peaks count by tracks, not by pairs, since pairs that share a track are not independent.

Where nothing was seen yet the manifest's point counts: its rate at its threshold in its gallery, with the same kind of tail.
It weighs as much as `PRIOR_TRACKS` tracks and so fades as evidence comes; a site that is harder than the model's data moves
the threshold up at once, an easier one moves it down slowly.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.manifest import Match as ManifestMatch
from vreid.runtime.score_norm import stretched

Values = NDArray[np.float64]

STEP = 0.02  # width of a bin of s
EDGES = np.arange(-35, 806) * STEP  # from a cosine of -1 to 1 - 1e-7, as near to 1 as float32 holds cosines
PEAKS_SHARE = 0.1  # of a pair's scores that the tail is fitted to
FEWEST_PEAKS = 20
PRIOR_SCALE = 0.35  # of the tail of s; 0.30 to 0.42 between vehicles of two real and one rendered road
PRIOR_PEAKS = 10.0
PRIOR_TRACKS = 20.0
MOST_TRACKS = 1000.0  # of a pair of cameras; then what was seen counts by half


def lomax(excess: NDArray[Any], shape: float, scale: float) -> Values:
    """P(X >= excess) of the predictive distribution of exponential excesses: `shape` peaks with a mean of `scale`."""
    return np.asarray((1 + np.maximum(excess, 0) / (shape * scale)) ** -shape)


@dataclass
class StrangerScores:
    """Impostor scores of one pair of cameras: counts of s in bins between EDGES, and how many tracks and pairs they are of."""

    counts: Values = field(default_factory=lambda: np.zeros(len(EDGES) - 1))
    tracks: float = 0.0
    pairs: int = 0

    def add(self, cosine: float, new_tracks: int) -> None:
        """One more pair; `new_tracks` of its two tracks count for the first time here."""
        place = int((float(stretched(cosine)) - EDGES[0]) / STEP)
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1
        self.pairs += 1
        self.tracks += new_tracks
        if self.tracks > MOST_TRACKS:
            self.counts, self.tracks, self.pairs = self.counts / 2, self.tracks / 2, self.pairs // 2

    def passing(self) -> Values:
        """(len(EDGES),): the predicted share of impostor pairs whose s is at least each of EDGES."""
        total = self.counts.sum()
        above = np.concatenate([np.cumsum(self.counts[::-1])[::-1], [0.0]]) / total
        share = min(max(PEAKS_SHARE, FEWEST_PEAKS / total), 0.5)
        start = max(int(np.searchsorted(-above, -share, side="right")) - 1, 0)  # the last edge with that share above
        excesses = EDGES[start:-1] + STEP / 2 - EDGES[start]
        excess = float(self.counts[start:] @ excesses / self.counts[start:].sum())
        over = float(above[start])
        peaks = over * self.tracks
        shape = PRIOR_PEAKS + peaks
        scale = (PRIOR_PEAKS * PRIOR_SCALE + peaks * excess) / shape
        tail = over * lomax(EDGES - EDGES[start], shape, scale)
        return np.where(EDGES[start] <= EDGES, tail, above)


def manifest_curve(match: ManifestMatch) -> Values:
    """(len(EDGES),): the share of impostor pairs at each of EDGES before anything was seen: through the manifest's point."""
    rate = min(max(match.false_match_rate, 1e-6), 0.99)
    passing = -math.expm1(math.log1p(-rate) / max(match.gallery, 1))
    at = float(stretched(match.threshold))
    start = at + PRIOR_SCALE * math.log(passing / PEAKS_SHARE)
    tail = PEAKS_SHARE * lomax(EDGES - start, PRIOR_PEAKS, PRIOR_SCALE)
    through = passing / float(PEAKS_SHARE * lomax(np.array(at - start), PRIOR_PEAKS, PRIOR_SCALE))
    return np.where(start <= EDGES, tail * through, 1.0)
