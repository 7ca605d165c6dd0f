"""The open-set threshold of a site, learnt without labels from tracks that are certainly of different vehicles.

Two tracks of one camera at the same moment whose boxes never overlap are of two vehicles; so are two tracks of two cameras
that the topology sets apart (their views do not overlap, or nobody is so fast). The cosines of such pairs are the impostor
scores of this site, its cameras and its light. They are kept by pair of cameras and never pooled: two vehicles under one
camera are more alike than two under two cameras, so that a threshold from one camera's pairs would find nothing across
cameras. A false match of a track is the best of all vehicles that it is compared with, so that with n of them (`compared`)

    P(one of n passes) = 1 - (1 - P(one passes)) ** n

gives the share of impostor pairs that may pass for the requested false-match rate; stranger_scores.py says which threshold lets
that share pass. Old evidence fades (`MOST_TRACKS`), as light changes.

The papers that stranger_scores.py names give the parts, the rest is of this project. Not covered: a vehicle in two pieces that
the detector takes for two vehicles at every frame counts as two strangers that look alike, which is too strict; two clocks
that disagree break the pairs of two cameras.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.manifest import Match as ManifestMatch
from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.judged_pairs import JudgedPairs
from vreid.runtime.records import FinishedTrack, Floats, Trace
from vreid.runtime.score_norm import stretched
from vreid.runtime.score_space import MOST_WEIGHT, ScoreSpace, both_known, least_passed, sound_rate
from vreid.runtime.site_evidence import Evidence, Pair, camera_pair, evidence_of
from vreid.runtime.stranger_scores import EDGES, manifest_curve
from vreid.runtime.threshold import Compared, Level
from vreid.runtime.topology import Span, Topology, span_of
from vreid.runtime.travel_times import TravelTimes

Values = NDArray[np.float64]

REMEMBERED_S = 120.0  # after its end, in which a track may still turn out to have been there with another one
ROOM = 512  # tracks remembered
WAITING = 20_000  # pairs of strangers that wait until a threshold is wanted
DEFAULT_RATE = 0.05


class SiteThreshold:
    """Thresholds by pair of cameras, from strangers that were seen at this site and a manifest's point before; what the
    cameras and the neighbourhood have in common is taken off the scores (camera_bias.py, score_norm.py), of the cameras unless
    raw features were shown to find more at this site (bias_gain.py)."""

    def __init__(
        self,
        match: ManifestMatch,
        rate: float = DEFAULT_RATE,
        topology: Topology | None = None,
        kept: str | None = None,
        dim: int | None = None,
    ) -> None:
        """`kept`: what `as_json` gave earlier, of features of `dim` numbers. Raises Refused for a rate outside 0 to 1 and for
        text that is damaged."""
        self.prior, self.rate = match.threshold, sound_rate(rate)
        self._before = manifest_curve(match)
        self._topology = topology or Topology()
        known = Evidence() if kept is None else evidence_of(kept, dim)
        self._bias, self._gain, self.frozen = known.bias, known.gain, known.frozen
        self.times: TravelTimes | None = known.times
        self._judged = JudgedPairs(known.judged)
        self._raw = ScoreSpace(CameraBias(), known.raw, self._before)
        self._without = ScoreSpace(known.bias, known.strangers, self._before)
        used = known.gain is None or known.gain.used
        self._used, self._other = (self._without, self._raw) if used else (self._raw, self._without)
        self._recent: dict[tuple[str, int], _Recent] = {}
        self._waiting: list[tuple[_Recent, _Recent]] = []
        self._kept = kept
        self._lock = threading.RLock()  # a run's status is read by other threads

    def observe(self, track: FinishedTrack, trace: Trace) -> None:
        """Compare a track that has ended with those that were there at the same time. Of one that is finished in parts the
        first counts, and the others say that it is still there."""
        key = (track.camera, track.track)
        with self._lock:
            known = self._recent.pop(key, None)
            if known is not None:
                self._recent[key] = replace(known, span=replace(known.span, last=span_of(track).last))
                return
            new = _Recent(span_of(track), track.feature, trace)
            for space in (self._raw, self._without):
                space.add_neighbour(track.camera, track.feature)
            if not self.frozen:
                self._bias.add(track.camera, track.feature)
                self._waiting += [(new, other) for other in self._recent.values() if self._strange(new, other)]
            if len(self._waiting) > WAITING:
                self._learn()
            self._recent[key] = new
            if len(self._recent) > ROOM or len(self._recent) % 64 == 0:
                self._forget(new.span.last)

    def learn_times(self, times: TravelTimes) -> None:
        """Unless it is frozen."""
        if not self.frozen:
            self.times = times

    def compare(
        self,
        features: NDArray[Any],
        cameras: Sequence[str],
        others: NDArray[Any],
        views: Sequence[str],
        compared: float,
        weights: Values | None = None,
        other: bool = False,
    ) -> Compared:
        """Cosines without the cameras' bias, where it is taken off, and what the neighbourhood takes off, and the least for each
        pair of cameras."""
        space = self._other if other else self._used
        with self._lock:
            plain, off = space.plain(features, cameras)
            plain_others, off_others = space.plain(others, views)
        cosines = -np.expm1(off[:, None] + off_others - stretched(plain @ plain_others.T))
        rows, row = np.unique(np.array(cameras, object).astype(str), return_inverse=True)
        columns, column = np.unique(np.array(views, object).astype(str), return_inverse=True)
        weighed = np.ones(cosines.shape) if weights is None else weights
        least = np.empty(cosines.shape)
        for at, one in enumerate(rows.tolist()):
            for to, view in enumerate(columns.tolist()):
                here = np.ix_(row == at, column == to)
                least[here] = self._least(one, view, compared, weighed[here], space)
        return Compared(cosines, least)

    def has_other(self, camera: str, view: str) -> bool:
        """Whether enough is known by both ways of comparing for people to be asked where they disagree."""
        with self._lock:
            self._learn()
            return not self.frozen and both_known(
                self._raw.strangers, self._without.strangers, self._bias, camera, view
            )

    def level(self, camera: str, view: str, compared: float, weight: float = 1.0) -> Level:
        """The least s whose predicted share is small enough; see the top."""
        pair = camera_pair(camera, view)
        with self._lock:
            self._learn()
            scores = self._used.strangers.get(pair)
        threshold = float(self._least(camera, view, compared, np.array([weight]))[0])
        pairs, tracks = (scores.pairs, scores.tracks) if scores else (0, 0.0)
        return Level(threshold, pairs, tracks, judged=len(self._judged))

    def rate_of(self, camera: str, view: str, score: float, compared: float, weight: float = 1.0) -> float:
        """The share of new vehicles that score as high; see the top. What people have said is not in it."""
        with self._lock:
            self._learn()
            scores, curve = self._used.curve(camera_pair(camera, view))
        s = float(stretched(score - (0.0 if scores is not None else self._over_manifest(compared))))
        passing = min(float(np.interp(s, EDGES, curve)), 1 - 1e-12)
        return float(-np.expm1(max(compared, 1.0) / min(weight, MOST_WEIGHT) * np.log1p(-passing)))

    def _least(
        self, camera: str, view: str, compared: float, weights: Values, space: ScoreSpace | None = None
    ) -> Values:
        """The thresholds between a camera and a view by weights; without evidence the manifest's is the lowest of weight 1."""
        with self._lock:
            self._learn()
            scores, curve = (space or self._used).curve(camera_pair(camera, view))
        least = self._passed_by(curve, compared, weights * self._judged.times((view, camera), self.rate))
        return np.minimum(1.0, least + self._over_manifest(compared)) if scores is None else least

    def _passed_by(self, curve: Values, compared: float, weights: Values) -> Values:
        """The least cosines that no more than the requested share passes, by weights."""
        return np.asarray(np.minimum(1.0, 1 - np.exp(-least_passed(curve, self.rate, compared, weights))))

    def _over_manifest(self, compared: float) -> float:
        """What is added without evidence, so that a small gallery has the manifest's threshold, and no lower one."""
        return max(self.prior - float(self._passed_by(self._before, compared, np.ones(1))[0]), 0.0)

    def least(self, camera: str, compared: float) -> float:
        """The lowest level of any view. What taking off a bias adds to a cosine is not in it: `identify` looks at more of the
        nearest for its sake."""
        with self._lock:
            views = {one if other == camera else other for one, other in self._used.strangers if camera in (one, other)}
        return min(self.level(camera, view, compared).threshold for view in {*views, UNSEEN})

    def follow(self, kept: str | None) -> None:
        """See Threshold."""
        known = Evidence() if kept is None else evidence_of(kept)
        with self._lock:
            self._gain = known.gain  # whether the bias is taken off is by the next run's start
            if known.judged != self._judged.pairs:
                self._judged = JudgedPairs(known.judged)

    def as_json(self) -> str | None:
        """What was seen, for the gallery; None when it is what was kept already."""
        with self._lock:
            self._learn()
            times = self.times or TravelTimes()
            known = Evidence(
                self._without.strangers,
                self._bias,
                self.frozen,
                times,
                self._judged.pairs,
                self._raw.strangers,
                self._gain,
            )
            text = known.as_text()
        if text == self._kept or known.empty:
            return None
        self._kept = text
        return text

    def levels(self, compared: float) -> dict[Pair, Level]:
        """What counts between each pair of cameras that strangers were seen of."""
        with self._lock:
            self._learn()
            pairs = sorted(self._used.strangers)
        return {pair: min(self.level(*way, compared) for way in (pair, pair[::-1])) for pair in pairs}

    def summary(self, compared: float) -> dict[str, Any]:
        """The requested rate, and for each pair of cameras its threshold when a track is compared with that many vehicles, its
        evidence, and the curve: thresholds and the share of strangers that each lets pass; `others` is the threshold of pairs
        of cameras without evidence."""
        pairs = []
        for (one, other), level in self.levels(compared).items():
            with self._lock:
                _, curve = self._used.curve((one, other))
            rates = -np.expm1(max(compared, 1.0) * np.log1p(-curve.clip(0, 1 - 1e-12)))
            shown = np.flatnonzero((rates < 0.999) & (rates > min(1e-3, self.rate / 10)))[::5]
            pairs.append(
                {
                    "cameras": [one, other],
                    "threshold": round(level.threshold, 4),
                    "pairs": level.pairs,
                    "tracks": round(level.tracks),
                    "calibrated": level.origin,
                    "raw": self._seen_by(self._raw, (one, other), compared),
                    "without_bias": self._seen_by(self._without, (one, other), compared),
                    "curve": [[round(1 - math.exp(-EDGES[at]), 4), round(float(rates[at]), 4)] for at in shown],
                }
            )
        return {
            "calibrated": "frozen" if self.frozen else "site",
            "false_match_rate": self.rate,
            "compared": round(compared, 1),
            "others": round(self.level(UNSEEN, UNSEEN, compared).threshold, 4),
            "cameras": pairs,
            "travel_times": self.times.summary() if self.times else [],
            "judged": self._judged.summary(self.rate),
            "camera_bias": self._bias.summary(),
            "bias_taken_off": self._used is self._without,
            "bias_gain": None if self._gain is None else asdict(self._gain),
        }

    def _seen_by(self, space: ScoreSpace, pair: Pair, compared: float) -> dict[str, Any] | None:
        """What strangers of a pair of cameras come to by one way of comparing; None: none were counted so."""
        scores = space.strangers.get(pair)
        if scores is None:
            return None
        least = min(float(self._least(*way, compared, np.ones(1), space)[0]) for way in (pair, pair[::-1]))
        return {"threshold": round(least, 4), "pairs": scores.pairs, "tracks": round(scores.tracks)}

    def _strange(self, one: "_Recent", other: "_Recent") -> bool:
        if not self._topology.apart(one.span, other.span):
            return False
        return one.span.camera != other.span.camera or never_overlap(one.trace, other.trace)

    def _learn(self) -> None:
        """Count the pairs that wait: as late as possible, when the cameras' bias is known best."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        tracks = {id(track): track for both in waiting for track in both}
        row = {key: number for number, key in enumerate(tracks)}
        features = np.stack([track.feature for track in tracks.values()])
        cameras = [track.span.camera for track in tracks.values()]
        first, second = (np.array([row[id(both[side])] for both in waiting]) for side in (0, 1))
        spaces = (self._raw, self._without)
        found = []
        for space in spaces:
            plain, off = space.plain(features, cameras)
            s = stretched(np.einsum("nd,nd->n", plain[first], plain[second])) - off[first] - off[second]
            found.append(s.tolist())
        for (one, other), *scores in zip(waiting, *found, strict=True):
            pair = camera_pair(one.span.camera, other.span.camera)
            new = [track for track in (one, other) if pair not in track.counted]
            for space, score in zip(spaces, scores, strict=True):
                space.add_stranger(pair, score, len(new))
            for track in new:
                track.counted.add(pair)

    def _forget(self, now: float) -> None:
        kept = [(key, track) for key, track in self._recent.items() if track.span.last >= now - REMEMBERED_S]
        self._recent = dict(kept[-ROOM // 2 :] if len(kept) > ROOM else kept)


UNSEEN = "\0"  # no camera is called so


@dataclass
class _Recent:
    """A track that ended lately."""

    span: Span
    feature: Floats
    trace: Trace
    counted: set[Pair] = field(default_factory=set)


def never_overlap(one: Trace, other: Trace) -> bool:
    """Whether two tracks of one camera share frames, and in none of them a pixel."""
    _, first, second = np.intersect1d(one.frames, other.frames, assume_unique=True, return_indices=True)
    if not len(first):
        return False
    boxes, others = one.boxes[first], other.boxes[second]
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    return not bool((sides > 0).all(axis=1).any())
