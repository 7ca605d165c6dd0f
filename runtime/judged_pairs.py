"""What people have said of doubtful sightings, and how far it moves the thresholds of a site.

Each judged pair, a sighting and a vehicle that it might be, has a rate p: the share of new vehicles that would score as high
by what is known of strangers (stranger_scores.py). For strangers p is uniform, for the same vehicle its density falls about as
p ** -SLOPE, so that the log of the likelihood ratio is linear in log p (Sellke, Bayarri and Berger, The American Statistician
55, 2001, section 3.2; Pounds and Morris, Bioinformatics 19, 2003). Hence a logistic regression,

    log odds of "same" = offset + offset of the pair of cameras + slope * log(REFERENCE / p),

which is valid although only pairs near the threshold are judged: which of them are depends on p alone. (Where a second vehicle
passes too it does not; such pairs are not used.) It is the most probable one under normal priors (Gelman and others, Annals of
Applied Statistics 2, 2008), with the normal approximation of its uncertainty; the offsets of pairs of cameras are shrunk towards
a common one, so that where nobody judged, the others count.

A vehicle counts as known where the odds are at least those that the prior has at the requested rate, that is, where without a
judgement it would. The rate moves only where this is certain by 95 %, and by a factor of four at most, since nobody judges
pairs that are further out. From then on the requested rate is no longer one of strangers alone: it is higher where people have
found that who scores so is mostly the same, and lower where they have not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Way = tuple[str, str]  # from the camera of a view to that of a sighting
Values = NDArray[np.float64]

REFERENCE = 0.05  # rate at which the log of the regression is 0: what runs request by default
SLOPE = 0.5  # log odds for each unit of log rate, of the prior
SPREADS = (0.5, 0.25, 0.7)  # standard deviations of the prior: the offset, the slope, the offset of a pair of cameras
LEAST_SLOPE = 0.1  # log odds for each unit of log rate, at least: a higher score never speaks against "same"
ENOUGH = 1.64  # standard deviations: 95 % on one side
LEAST, MOST = 1 / 4, 4.0  # times the requested rate: nobody judges pairs that are further out
FEWEST = 10  # judged pairs that move a threshold: of fewer the prior says more than they do
NEWEST = 1000  # judged pairs that count, since a site changes
SMALLEST_RATE = 1e-6  # rates below count as this, so that the log is finite


@dataclass(frozen=True)
class JudgedPair:
    """A sighting and a vehicle that it might be: cameras of the vehicle's view and of the sighting, the score as it was compared,
    the rate at which a new vehicle scores as high, and whether a person found the two to be the same."""

    cameras: Way
    score: float
    rate: float
    same: bool

    def as_row(self) -> list[Any]:
        """For JSON."""
        return [*self.cameras, round(self.score, 5), self.rate, int(self.same)]


def judged_pair_of(row: Sequence[Any]) -> JudgedPair:
    """What `as_row` gave. Raises ValueError or TypeError for others."""
    view, camera, score, rate, same = row
    if not (
        isinstance(view, str) and isinstance(camera, str) and -2 <= score <= 2 and 0 <= rate <= 1 and same in (0, 1)
    ):
        raise ValueError("a judged pair that is none")
    return JudgedPair((view, camera), float(score), float(rate), bool(same))


class JudgedPairs:
    """How many times the requested false-match rate a pair of cameras may have, by what people have said."""

    def __init__(self, pairs: Sequence[JudgedPair]) -> None:
        """The newest last; fewer than FEWEST move nothing."""
        self.pairs = list(pairs[-NEWEST:])
        self._cameras = sorted({pair.cameras for pair in self.pairs})
        self._fit: tuple[Values, Values] | None = None
        self._times: dict[tuple[Way, float], float] = {}
        if len(self.pairs) >= FEWEST:
            rows = np.stack([self._row(pair.cameras, pair.rate) for pair in self.pairs])
            self._fit = _most_probable(rows, np.array([pair.same for pair in self.pairs], np.float64))

    def __len__(self) -> int:
        return len(self.pairs)

    def times(self, cameras: Way, requested: float) -> float:
        """By what to multiply the `requested` rate; 1 where nothing speaks against it."""
        if self._fit is None:
            return 1.0
        key = cameras, requested
        if key not in self._times:
            self._times[key] = self._found(cameras, requested, *self._fit)
        return self._times[key]

    def _found(self, cameras: Way, requested: float, best: Values, spread: Values) -> float:
        need = SLOPE * np.log(REFERENCE / requested)
        factors = np.geomspace(LEAST, MOST, 129)  # 1 is the 65th
        rows = np.stack([self._row(cameras, min(1.0, float(requested * factor))) for factor in factors])
        odds, doubt = rows @ best, np.sqrt(np.einsum("nd,de,ne->n", rows, spread, rows))
        sure = odds + np.where(factors > 1 + 1e-9, -ENOUGH, ENOUGH) * doubt >= need
        short = np.flatnonzero(~sure)
        return float(factors[max(0, short[0] - 1) if len(short) else -1])

    def summary(self, requested: float) -> dict[str, Any]:
        """For the report: how many pairs were judged, how many are the same, whether they are enough, and by view and camera what
        they make of the requested rate."""
        ways = [
            {
                "cameras": list(way),
                "pairs": len(own),
                "same": sum(pair.same for pair in own),
                "times": round(self.times(way, requested), 2),
            }
            for way in self._cameras
            for own in [[pair for pair in self.pairs if pair.cameras == way]]
        ]
        same = sum(pair.same for pair in self.pairs)
        return {"pairs": len(self.pairs), "same": same, "enough": self._fit is not None, "ways": ways}

    def _row(self, cameras: Way, rate: float) -> Values:
        """What the regression multiplies: 1, log(REFERENCE / p), and 1 for the pair of cameras."""
        own = [float(cameras == pair) for pair in self._cameras]
        return np.array([1.0, np.log(REFERENCE / max(rate, SMALLEST_RATE)), *own])


def _most_probable(rows: Values, same: Values) -> tuple[Values, Values]:
    """Rows (N, D) and whether each is of the same vehicle (N,) -> coefficients (D,) and their covariance (D, D), by Newton."""
    mean = np.zeros(rows.shape[1])
    mean[1] = SLOPE
    spreads = np.array([*SPREADS[:2], *[SPREADS[2]] * (rows.shape[1] - 2)])
    found = mean.copy()
    for _ in range(50):
        share = 1 / (1 + np.exp(-rows @ found))
        slope = rows.T @ (same - share) - (found - mean) / spreads**2
        curvature = (rows * (share * (1 - share))[:, None]).T @ rows + np.diag(1 / spreads**2)
        step = np.linalg.solve(curvature, slope)
        found = found + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    found[1] = max(found[1], LEAST_SLOPE)
    return np.asarray(found), np.asarray(np.linalg.inv(curvature), np.float64)
