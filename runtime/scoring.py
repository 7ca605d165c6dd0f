"""How tracks score against each other and against the vehicles of the gallery, and from which score on they are enough alike."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.gallery import Gallery, RankedVehicle
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.records import VehicleScores
from vreid.runtime.recent_positions import RecentPositions
from vreid.runtime.records import FinishedTrack, Floats, Ints, Match
from vreid.runtime.site_evidence import Pair
from vreid.runtime.threshold import Compared, Level, Threshold
from vreid.runtime.topology import span_of
from vreid.runtime.travel_times import TravelTimes

RECOUNT = 64  # calls after which the gallery's vehicles are counted again
NEAREST = 32  # vehicles by plain cosine that are compared by the rule, at least
DOUBTFUL = 4.0  # times the requested false-match rate: who passes at that rate only is no stranger for certain
DRAWN = 8  # vehicles whose gaps to a track count among those of all pairs


class Scoring:
    """Cosines, and the least that is enough by a rule, which looks at cameras, at time and at how many vehicles are compared."""

    def __init__(self, gallery: Gallery, rule: Threshold, recent: RecentPositions) -> None:
        self._gallery, self._rule, self._recent = gallery, rule, recent
        self.compared = 1.0  # vehicles that a track is compared with now
        self.counted = 0  # vehicles of the gallery
        self._calls = 0
        self.levels: Mapping[Pair, Level] = {}  # those by pair of cameras, of a moment ago: for other threads

    def vehicles(self) -> float:
        """How many vehicles the gallery holds, counted now and then: of a large one that takes time."""
        if self._calls % RECOUNT == 0:
            self.counted = self._gallery.size()[0]
            self.levels = self._rule.levels(self.counted)
        self._calls += 1
        return float(self.counted)

    def nearest(self, tracks: Sequence[FinishedTrack], features: Floats) -> list[list[RankedVehicle]]:
        """For each row at least every vehicle whose plain cosine reaches its threshold, and more of the nearest."""
        k, cameras = NEAREST, {track.camera for track in tracks}
        lowest = {camera: self._rule.least(camera, self.compared) for camera in cameras}
        while True:
            hits = self._gallery.search(features, k)
            pairs = zip(hits, tracks, strict=True)
            if not any(len(found) == k and found[-1].score >= lowest[track.camera] for found, track in pairs):
                return hits
            k *= 4

    def level(self, camera: str, view: str) -> Level:
        """What counts between a camera and a view now."""
        return self._rule.level(camera, view, self.compared)

    def between(
        self, tracks: Sequence[FinishedTrack], features: Floats, weights: NDArray[np.float64] | None = None
    ) -> Compared:
        """(N, N): tracks by rising time against each other."""
        cameras = [track.camera for track in tracks]
        rows = features.astype(np.float64)
        found = self._rule.compare(rows, cameras, rows, cameras, self.compared, weights)
        later = np.tril(found.least, -1)  # an earlier track is a later one's view
        return Compared(found.cosines, later + later.T + np.diag(found.least.diagonal()))

    def against(
        self,
        tracks: Sequence[FinishedTrack],
        features: Floats,
        vehicles: Sequence[int],
        times_the_rate: float = 1.0,
        other: bool = False,
    ) -> VehicleScores:
        """Features (B, D) of the tracks against each of V vehicles, at so many times the requested false-match rate; `other`: as
        `Threshold.compare`."""
        cameras = [track.camera for track in tracks]
        wanted = np.unique(np.asarray(vehicles, np.int64))
        weights = (
            None if self._rule.times is None else times_the_rate * self._weights_of(tracks, wanted, self._rule.times)
        )

        def compare(rows: Floats, others: Floats, views: Sequence[str], owners: Ints) -> Compared:
            own = None if weights is None else weights[:, np.searchsorted(wanted, owners)]
            return self._rule.compare(rows, cameras, others, views, self.compared, own, other)

        return self._gallery.scores(features, vehicles, compare)

    def levels_of(
        self, tracks: Sequence[FinishedTrack], features: Floats, nearest: int | None
    ) -> tuple[list[Level], NDArray[np.float64]]:
        """What counts between each of a cluster's tracks, features (N, D), and the nearest vehicle; and by how much the tracks
        pass it (N,), -inf where there is no vehicle."""
        if nearest is None:
            return [self.level(track.camera, track.camera) for track in tracks], np.full(len(tracks), -np.inf)
        scores = self.against(tracks, features, [nearest])
        margins = scores.margins[:, 0]
        found = zip(tracks, scores.views[:, 0], scores.cosines[:, 0] - margins, strict=True)
        levels = [self.level(track.camera, view)._replace(threshold=float(least)) for track, view, least in found]
        return levels, margins

    def doubts(
        self,
        tracks: Sequence[FinishedTrack],
        features: Floats,
        known: int | None,
        maybe: int | None,
        nearest: int | None = None,
    ) -> tuple[list[Candidate], bool]:
        """Whom a person is to be shown for a cluster of N tracks, features (N, D), the best first, and whether that one is near the
        threshold; nobody where the vehicle is neither doubtful nor known only just, nor raw features and those without the
        cameras' bias disagree on the `nearest`."""
        if not self._gallery.writable or (known is None and maybe is None and nearest is None):
            return [], False
        said = known is not None or maybe is not None
        near = said and (
            known is None or bool(self.against(tracks, features, [known], 1 / DOUBTFUL).margins.mean() < 0)
        )
        shown = [one for one in (known, maybe) if one is not None] if near or maybe is not None else []
        if not shown and nearest is not None and self._disagree(tracks, features, nearest):
            shown = [nearest]
        return self.candidates(tracks, features, shown), near

    def _disagree(self, tracks: Sequence[FinishedTrack], features: Floats, vehicle: int) -> bool:
        """Whether a vehicle passes by one of two ways of comparing, and not by the other one."""
        used = self.against(tracks, features, [vehicle])
        pairs = zip(tracks, used.views[:, 0].tolist(), strict=True)
        if not all(self._rule.has_other(track.camera, view) for track, view in pairs):
            return False
        other = self.against(tracks, features, [vehicle], other=True)
        return bool((used.margins.mean() >= 0) != (other.margins.mean() >= 0))

    def candidates(self, tracks: Sequence[FinishedTrack], features: Floats, vehicles: Sequence[int]) -> list[Candidate]:
        """What a cluster of N tracks, features (N, D), has in common with each of `vehicles`: the mean score and the geometric
        mean of the rates at which new vehicles score as high, from the cameras that agree best."""
        found, times = [], self._rule.times
        for vehicle in vehicles:
            scores = self.against(tracks, features, [vehicle])
            cosines, views, best = scores.cosines[:, 0], scores.views[:, 0].tolist(), int(scores.margins[:, 0].argmax())
            weights = (
                np.ones(len(tracks)) if times is None else self._weights_of(tracks, np.array([vehicle]), times)[:, 0]
            )
            rates = [
                self._rule.rate_of(track.camera, view, float(score), self.compared, float(weight))
                for track, view, score, weight in zip(tracks, views, cosines, weights, strict=True)
            ]
            known = np.array([rate for rate in rates if rate is not None])
            rate = float(np.exp(np.log(known.clip(1e-12)).mean())) if len(known) else None
            found.append(Candidate(vehicle, (str(views[best]), tracks[best].camera), float(cosines.mean()), rate))
        return found

    def _weights_of(self, tracks: Sequence[FinishedTrack], vehicles: Ints, times: TravelTimes) -> NDArray[np.float64]:
        """(B, V) of what time says of each track and vehicle."""
        spans = [span_of(track) for track in tracks]
        known = [
            [times.weight(self._recent.before(vehicle, span), span) for vehicle in vehicles.tolist()] for span in spans
        ]
        return np.array(known, np.float64).reshape(len(spans), len(vehicles))

    def times(
        self, tracks: Sequence[FinishedTrack], apart: NDArray[np.bool_], clusters: Sequence[list[int]]
    ) -> tuple[NDArray[np.float64] | None, TravelTimes | None]:
        """(N, N) of what time says of each pair when these are the vehicles, and the travel times with those of the pairs."""
        if self._rule.times is None:
            return None, None
        label = np.empty(len(tracks), np.int64)
        for number, rows in enumerate(clusters):
            label[rows] = number
        return self._rule.times.between([span_of(track) for track in tracks], apart, label)

    def learn_times(self, track: FinishedTrack, match: Match) -> None:
        """How long after its last passage the vehicle came, and what other vehicles' gaps would have been."""
        if (times := self._rule.times) is None or self._rule.frozen or self._recent.part_of(track) is not None:
            return
        now = span_of(track)
        if match.known and match.vehicle is not None and (last := self._recent.before(match.vehicle, now)) is not None:
            times.add(last, now, True)
        for vehicle in self._recent.drawn(DRAWN):
            if (last := self._recent.before(vehicle, now)) is not None and not self._recent.bars(vehicle, [track]):
                times.add(last, now, False)
