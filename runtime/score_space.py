"""One of the two ways in which a site compares features, raw or without the cameras' bias, with what is known of strangers by it.

Both are learnt side by side from the same pairs of strangers, so that a site can go from one to the other without learning anew
(bias_gain.py says which is used).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.camera_bias import FEWEST_KEPT, CameraBias
from vreid.runtime.records import Floats
from vreid.runtime.score_norm import WEIGHT, Neighbourhood
from vreid.runtime.site_evidence import Pair, camera_pair
from vreid.runtime.stranger_scores import EDGES, PRIOR_TRACKS, StrangerScores

Values = NDArray[np.float64]
Strangers = dict[Pair, StrangerScores]
MOST_WEIGHT = 20.0  # of time: a track that is not alike at all is not taken for whoever is due


class ScoreSpace:
    """Features without what is taken off them, and the impostor scores of pairs of cameras."""

    def __init__(self, bias: CameraBias, strangers: Strangers, before: Values) -> None:
        """`bias`: one without tracks compares raw features; `before` (len(EDGES),): the share of strangers at each of EDGES
        where none were seen."""
        self.bias, self.strangers = bias, strangers
        self._before = before
        self._neighbours = Neighbourhood()
        self._curves: dict[Pair, Values] = {}

    def add_neighbour(self, camera: str, feature: Floats) -> None:
        """One more track (D,)."""
        self._neighbours.add(camera, feature)

    def plain(
        self, features: NDArray[Any], cameras: Sequence[str], held_out: CameraBias | None = None
    ) -> tuple[Floats, Values]:
        """Features (N, D) as they are compared, and what each takes off its scores (N,); `held_out`: another bias than that
        of all."""
        plain = (held_out or self.bias).removed(features, cameras)
        return plain, WEIGHT * self._neighbours.excess(plain, self.bias)

    def add_stranger(self, pair: Pair, s: float, new_tracks: int) -> None:
        """One more pair of strangers, as `StrangerScores.add`."""
        self.strangers.setdefault(pair, StrangerScores()).add(s, new_tracks)
        self._curves.pop(pair, None)

    def curve(self, pair: Pair) -> tuple[StrangerScores | None, Values]:
        """The evidence of a pair of cameras, and the share of strangers that reaches each of EDGES."""
        scores = self.strangers.get(pair)
        if scores is None:
            return None, self._before
        if pair not in self._curves:
            both = PRIOR_TRACKS * self._before + scores.tracks * scores.passing()
            self._curves[pair] = both / (PRIOR_TRACKS + scores.tracks)
        return scores, self._curves[pair]


def both_known(raw: Strangers, without: Strangers, bias: CameraBias, camera: str, view: str) -> bool:
    """Whether a camera and a view have enough tracks for the bias, and enough strangers by both ways of comparing: as many tracks
    as weigh more than the manifest's point."""
    pair = camera_pair(camera, view)
    strangers = min(counts[pair].tracks if pair in counts else 0 for counts in (raw, without))
    return strangers >= PRIOR_TRACKS and min(bias.tracks(camera), bias.tracks(view)) >= FEWEST_KEPT


def sound_rate(rate: float) -> float:
    """A false-match rate. Raises Refused outside 0 to 1."""
    if not 0 < rate < 1:
        raise Refused(f"a false-match rate of {rate} is not between 0 and 1; write --false-match-rate 0.05")
    return rate


def least_passed(curve: Values, rate: float, compared: float, weights: Values) -> Values:
    """The least of EDGES that no more than the requested share of strangers passes when each is compared with so many vehicles,
    by weights of the rate."""
    logs = np.log1p(-rate) / max(compared, 1.0) * np.minimum(weights, MOST_WEIGHT)
    places = np.searchsorted(-curve, np.expm1(logs), side="left").clip(0, len(EDGES) - 1)
    return np.asarray(EDGES[places])
