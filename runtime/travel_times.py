"""How long vehicles take from one camera to another, learnt from matches, as evidence in addition to the cosine.

Who comes when one is expected may look a little less alike than who does not. Among the N vehicles that a track is compared
with, each pair gets a weight

    w(x) = f(x) / g(x),   x: seconds from the end of the earlier passage to the start of the later one,

where f is the density of the gaps of matches of these two cameras and g that of all pairs which are possible. The share of
strangers that may pass is w times what it is without time (weighted hypothesis tests: Genovese, Roeder and Wasserman,
Biometrika 93, 2006). The weights of strangers have a mean of 1 whatever f is, so the requested false-match rate stays; how the
densities are estimated is of this project. Both are kernel estimates on asinh(x / SCALE), which is linear about 0, where views
overlap or follow each other, and logarithmic further on; they are kept as counts in bins. f is shrunk towards g by PRIOR gaps,
and a share UNUSUAL of the matches is taken to come at any time: a vehicle that parked on its way is still found by its looks.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vreid.runtime.topology import Span

Values = NDArray[np.float64]
Places = NDArray[np.int64]

SCALE = 4.0  # seconds
BANDWIDTH = 0.15  # of asinh: 0.6 s about 0, then 15 % of the time
PRIOR = 2.0  # gaps that g weighs as much as, in f
UNUSUAL = 0.1
LONGEST = 3600.0  # seconds; what is further apart says nothing
STEP = 0.05  # width of a bin of asinh
HALF = round(float(np.arcsinh(LONGEST / SCALE)) / STEP)
BINS = 2 * HALF + 1
MOST_MATCHES = 500.0  # of a way; then what was seen counts by half
MOST_PAIRS = 20_000.0
_KERNEL = np.exp(
    -0.5 * (np.arange(-round(4 * BANDWIDTH / STEP), round(4 * BANDWIDTH / STEP) + 1) * STEP / BANDWIDTH) ** 2
)


def place_of(gaps: ArrayLike) -> Places:
    """Seconds -> bins; gaps longer than LONGEST fall into the first and the last one."""
    scaled = np.arcsinh(np.asarray(gaps, np.float64) / SCALE)
    return np.asarray(np.rint(scaled / STEP).clip(-HALF, HALF).astype(np.int64) + HALF)


@dataclass
class Way:
    """From one camera to another: counts (BINS,) of the gaps of matches, and of all pairs that were possible."""

    matched: Values = field(default_factory=lambda: np.zeros(BINS))
    possible: Values = field(default_factory=lambda: np.zeros(BINS))
    _smooth: tuple[Values, Values] | None = field(default=None, repr=False, compare=False)  # both, until there are more

    def weights(self, places: Places, own: NDArray[np.bool_] | bool = False) -> Values:
        """w in each of the bins `places` (N,); `own` (N,): the pair is itself one of the matches, and does not count."""
        itself = np.asarray(own, np.float64)
        if self._smooth is None:
            self._smooth = np.convolve(self.matched, _KERNEL, "same"), np.convolve(self.possible, _KERNEL, "same")
        matched, possible = self._smooth
        f = matched[places] - itself
        g = (possible[places] + 1) / (self.possible.sum() + 1)
        weights = (f / g + PRIOR) / (self.matched.sum() - itself + PRIOR)
        return np.asarray((1 - UNUSUAL) * weights + UNUSUAL)

    def add(self, matched: Places, possible: Places) -> None:
        """More gaps, as bins."""
        self._smooth = None
        self.matched += np.bincount(matched, minlength=BINS)
        self.possible += np.bincount(possible, minlength=BINS)
        if self.matched.sum() > MOST_MATCHES:
            self.matched /= 2
        if self.possible.sum() > MOST_PAIRS:
            self.possible /= 2

    def seconds(self, share: float) -> float:
        """The gap that this share of the matches stays under."""
        place = int(np.searchsorted(np.cumsum(self.matched), share * self.matched.sum()))
        return float(SCALE * np.sinh((place - HALF) * STEP))


class TravelTimes:
    """The ways of each ordered pair of cameras."""

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        """`rows`: what `as_rows` gave earlier. Raises ValueError, KeyError, IndexError or TypeError for others."""
        self.ways: dict[tuple[str, str], Way] = {}
        for row in rows:
            one, other = row["cameras"]
            self.ways[str(one), str(other)] = Way(_counts(row["matched"]), _counts(row["possible"]))

    def add(self, earlier: Span, later: Span, matched: bool) -> None:
        """A match's gap, or that of a pair drawn from all that were possible."""
        gap = later.first - earlier.last
        if abs(gap) > LONGEST:
            return
        place, none = place_of([gap]), np.zeros(0, np.int64)
        way = self.ways.setdefault((earlier.camera, later.camera), Way())
        way.add(place if matched else none, none if matched else place)

    def weight(self, earlier: Span | None, later: Span) -> float:
        """w of a vehicle that was seen last as `earlier`, None where that is not known, for the track `later`."""
        way = None if earlier is None else self.ways.get((earlier.camera, later.camera))
        if earlier is None or way is None or abs(later.first - earlier.last) > LONGEST:
            return 1.0
        return float(way.weights(place_of([later.first - earlier.last]))[0])

    def between(
        self, spans: Sequence[Span], apart: NDArray[np.bool_], label: NDArray[np.int64]
    ) -> tuple[Values, "TravelTimes"]:
        """N tracks, which of them (N, N) are `apart`, and the cluster of each (N,) -> w of each pair (N, N), 1 for those that
        say nothing, and the travel times with these pairs."""
        first, last = np.array([(span.first, span.last) for span in spans], np.float64).reshape(-1, 2).T
        names, camera = np.unique([span.camera for span in spans], return_inverse=True)
        before = (first[:, None] < first) | (
            (first[:, None] == first) & (np.arange(len(spans))[:, None] < np.arange(len(spans)))
        )
        gaps = first[None] - last[:, None]  # from row to column
        counts = before & ~apart & (np.abs(gaps) <= LONGEST)
        weights, seen = np.ones(gaps.shape), deepcopy(self)
        for one, name in enumerate(names.tolist()):
            for other, other_name in enumerate(names.tolist()):
                row, column = np.nonzero(counts & (camera[:, None] == one) & (camera == other))
                if not len(row):
                    continue
                places, own = place_of(gaps[row, column]), label[row] == label[column]
                way = seen.ways.setdefault((name, other_name), Way())
                way.add(places[own], places)
                weights[row, column] = weights[column, row] = way.weights(places, own)
        return weights, seen

    def as_rows(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [
            {
                "cameras": list(ends),
                **{
                    name: {str(place): float(counts[place]) for place in np.flatnonzero(counts).tolist()}
                    for name, counts in (("matched", way.matched), ("possible", way.possible))
                },
            }
            for ends, way in sorted(self.ways.items())
        ]

    def summary(self) -> list[dict[str, Any]]:
        """For the report: of each way how many matches, and the seconds that a tenth, half and nine tenths of them stay under."""
        return [
            {
                "cameras": list(ends),
                "matches": round(float(way.matched.sum())),
                "seconds": [round(way.seconds(share), 1) for share in (0.1, 0.5, 0.9)],
            }
            for ends, way in sorted(self.ways.items())
            if way.matched.sum() >= 0.5
        ]


def _counts(row: dict[str, Any]) -> Values:
    counts = np.zeros(BINS)
    for place, count in row.items():
        if not 0 <= int(place) < BINS:
            raise ValueError(f"a travel time in bin {place}")
        counts[int(place)] = float(count)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError("a count of travel times that is not a number from 0")
    return counts
