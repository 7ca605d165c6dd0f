"""Which vehicle of the gallery a track is, or each of several clusters of tracks: step 2 of `Identifier`, which writes nothing."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.gallery import Gallery, RankedVehicle
from vreid.runtime.recent_positions import RecentPositions
from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.scoring import DOUBTFUL, Scoring
from vreid.runtime.threshold import Threshold


class Candidate(NamedTuple):
    """A vehicle that a cluster of tracks may be; the smaller one is the better one."""

    unsure: bool  # it is neither an earlier part of the track nor of the same licence plate
    falling: float  # the margin, negative: how far the score is over its threshold
    cluster: int
    vehicle: int
    name: str
    score: float


@dataclass(frozen=True)
class Choice:
    """What a cluster is given: the vehicle, or None and the best score that it may claim; `nearest` has that score."""

    vehicle: int | None
    name: str | None
    score: float
    nearest: int | None = None
    maybe: int | None = None  # another vehicle that passes


Barred = Callable[[Sequence[int]], Collection[int]]  # those of some vehicles that a track cannot be
NOBODY = Choice(None, None, -np.inf)


class Choosing:
    """Chooses by how tracks score against vehicles, and by where those were lately."""

    def __init__(self, gallery: Gallery, rule: Threshold, scoring: Scoring, recent: RecentPositions) -> None:
        self._gallery, self._rule, self._scoring, self._recent = gallery, rule, scoring, recent

    def one(self, track: FinishedTrack, feature: Floats, barred: Barred) -> Choice:
        """What one track is, feature (1, D); not one of the vehicles that are `barred`."""
        self._scoring.compared = self._scoring.vehicles()
        candidates = self._candidates([track], feature, self._scoring.nearest([track], feature))
        gone = barred([one.vehicle for one in candidates])
        return _choice([one for one in sorted(candidates) if one.vehicle not in gone])

    def together(
        self, tracks: Sequence[FinishedTrack], features: Floats, clusters: Sequence[list[int]], apart: NDArray[np.bool_]
    ) -> list[Choice]:
        """One choice for each cluster of rows of the tracks, features (N, D), two of which may go `apart` (N, N)."""
        hits = self._scoring.nearest(tracks, features)
        candidates: list[Candidate] = []
        for cluster, rows in enumerate(clusters):
            own = [tracks[row] for row in rows]
            candidates += self._candidates(own, features[rows], [hits[row] for row in rows], cluster)
        choices = [NOBODY for _ in clusters]
        given: dict[int, list[int]] = {}  # rows of this call, by vehicle
        ordered = sorted(candidates)
        for one in ordered:
            rows, held = clusters[one.cluster], given.get(one.vehicle, [])
            if choices[one.cluster].score > -np.inf or self._recent.bars(one.vehicle, [tracks[row] for row in rows]):
                continue
            if held and apart[np.ix_(rows, held)].any():
                continue
            others = (other for other in ordered if other.cluster == one.cluster and other.vehicle != one.vehicle)
            free = (other for other in others if not self._recent.bars(other.vehicle, [tracks[row] for row in rows]))
            choices[one.cluster] = _choice([one, *islice(free, 1)])
            if choices[one.cluster].vehicle is not None:
                given[one.vehicle] = held + rows
        return choices

    def maybe(self, own: Sequence[FinishedTrack], features: Floats, choice: Choice) -> int | None:
        """Another vehicle that a cluster's tracks, features (N, D), may be."""
        if choice.vehicle is not None or choice.nearest is None or self._rule.times is None:
            return choice.maybe
        scores = self._scoring.against(own, features, [choice.nearest], DOUBTFUL)
        return choice.nearest if scores.margins.mean() >= 0 else None

    def _candidates(
        self,
        tracks: Sequence[FinishedTrack],
        features: Floats,
        hits: Sequence[Sequence[RankedVehicle]],
        cluster: int = 0,
    ) -> list[Candidate]:
        """The vehicles that a cluster of tracks may be, whatever the others are: features (N, D), hits of each row."""
        plates = {track.plate for track in tracks}
        sure = {part for track in tracks if (part := self._recent.part_of(track)) is not None}
        sure |= self._gallery.with_plates(plates)
        names = {hit.vehicle: hit.name for of_row in hits for hit in of_row}
        with self._gallery.reading() as store:
            certain = store.names(sure)  # without those that were removed meanwhile
        vehicles = sorted((names.keys() - self._gallery.with_other_plates(plates)) | certain.keys())
        found = self._scoring.against(tracks, features, vehicles)
        margins, scores = found.margins.mean(axis=0), found.cosines.mean(axis=0)
        return [
            Candidate(
                vehicle not in certain,
                -float(margin),
                cluster,
                vehicle,
                certain.get(vehicle) or names[vehicle],
                float(score),
            )
            for margin, score, vehicle in zip(margins, scores, vehicles, strict=True)
        ]


def _choice(free: Sequence[Candidate]) -> Choice:
    """What the candidates that are free, the best ones first, come to."""
    if not free:
        return NOBODY
    best = free[0]
    if best.unsure and best.falling > 0:
        return Choice(None, None, best.score, best.vehicle)
    second = next((one.vehicle for one in free[1:2] if best.unsure and one.falling <= 0), None)
    return Choice(best.vehicle, best.name, best.score, best.vehicle, second)
