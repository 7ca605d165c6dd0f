"""Whether the cameras' bias is taken off at a site: unless confirmed pairs show that raw features find more vehicles again.

Of each pair that a person has judged, a sighting and a vehicle, it is counted whether the sighting is found at the requested rate
by raw features and by features without the bias, each by its own counts of strangers, so that both let equally many strangers
pass. The statistics of the cameras are without the vehicles of the pair (leave one out), so that nothing is tried on what it was
learnt from. A pair counts where there is enough of everything: FEWEST_KEPT tracks of both cameras, and as many tracks of strangers
in both counts as weigh more than the manifest's point (PRIOR_TRACKS).

Which of two rules finds more is known from the pairs on which they differ alone (McNemar, Psychometrika 12, 1947), and a run asks
people about every one of these, whichever rule it uses (`Scoring.doubts`); so it does not matter that the other pairs that are
judged are those near the threshold of one rule. Fewer than FEWEST confirmed pairs decide nothing, and then, as where both find
equally many, the bias is taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.records import Floats
from vreid.runtime.score_norm import stretched
from vreid.runtime.score_space import ScoreSpace, both_known, least_passed
from vreid.runtime.site_evidence import BiasGain, Evidence, camera_pair
from vreid.runtime.stranger_scores import EDGES

Seen = tuple[str, Floats]  # a camera, and the feature (D,) of a track of it


@dataclass(frozen=True)
class JudgedSighting:
    """A sighting and a vehicle that it was judged against: how the vehicle was seen before, all tracks of the vehicles of both, and
    whether they are the same."""

    sighting: Seen
    views: Sequence[Seen]
    every: Sequence[Seen]
    same: bool


def bias_gain(
    judged: Sequence[JudgedSighting], known: Evidence, recent: Sequence[Seen], rate: float, compared: float
) -> BiasGain:
    """What the bias brings on the judged sightings when each is compared with so many vehicles; `recent`: the last tracks of the
    site, for its neighbourhood."""
    before = np.zeros(len(EDGES))
    raw, without = ScoreSpace(CameraBias(), known.raw, before), ScoreSpace(known.bias, known.strangers, before)
    for camera, feature in recent:
        raw.add_neighbour(camera, feature)
        without.add_neighbour(camera, feature)
    counts = {same: [0, 0, 0] for same in (True, False)}
    for one in judged:
        views = [
            seen for seen in one.views if both_known(known.raw, known.strangers, known.bias, one.sighting[0], seen[0])
        ]
        if not views:
            continue
        held_out = known.bias.without(one.every)
        counts[one.same][0] += 1
        counts[one.same][1] += _found(raw, CameraBias(), one.sighting, views, rate, compared)
        counts[one.same][2] += _found(without, held_out, one.sighting, views, rate, compared)
    return BiasGain(rate, *counts[True], *counts[False])


def _found(
    space: ScoreSpace, bias: CameraBias, sighting: Seen, views: Sequence[Seen], rate: float, compared: float
) -> bool:
    """Whether the best view passes the threshold of its cameras, from the counts of strangers alone."""
    cameras, features = zip(sighting, *views, strict=True)
    plain, off = space.plain(np.stack(features), cameras, bias)
    s = stretched(plain[1:] @ plain[0]) - off[0] - off[1:]
    curves = {view: space.strangers[camera_pair(cameras[0], view)].passing() for view in set(cameras[1:])}
    least = {view: least_passed(curve, rate, compared, np.ones(1))[0] for view, curve in curves.items()}
    return bool((s >= np.array([least[view] for view in cameras[1:]])).any())
