"""Who is this: finished tracks become vehicles of the gallery, known or new ones, one at a time or jointly."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, RankedVehicle
from vreid.runtime.gallery.maintenance import purge_due
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.records import FinishedTrack, Floats, Match
from vreid.runtime.topology import Span, Topology, span_of

REMEMBERED_S = 3600.0  # in which it matters where a vehicle was, also before a live run


def clustered(
    features: Floats, apart: NDArray[np.bool_], threshold: float, same: NDArray[np.bool_] | None = None
) -> list[list[int]]:
    """Unit features (N, D), `apart` (N, N) of pairs that are never one vehicle -> clusters of row numbers.

    Pairs of `same` (N, N) are as alike as can be, whatever their features say.

    Agglomerative, average linkage (Sokal and Michener 1958) of cosines: the two clusters of the highest average cosine
    between their members are joined while it reaches `threshold`, of equals the first rows; clusters that hold a pair
    set apart are never joined (a cannot-link). Each cluster rises, and they are ordered by their first row.
    O(N^2) memory; O(N^2) time when few rows share a partner.
    """
    sums = features.astype(np.float64) @ features.astype(np.float64).T  # of the cosines between two clusters' members
    sums = (sums + sums.T) / 2
    if same is not None:
        sums[same] = 1.0
    barred = apart | np.eye(len(features), dtype=np.bool_)
    sizes = np.ones(len(features))
    members = [[row] for row in range(len(features))]
    average = np.where(barred, -np.inf, sums)
    partner = average.argmax(axis=1) if len(features) else np.zeros(0, np.int64)  # of each row, the nearest
    while len(features):
        height = average[np.arange(len(features)), partner]
        one = int(height.argmax())
        if not height[one] >= threshold:
            break
        keep, gone = sorted((one, int(partner[one])))
        members[keep] += members[gone]
        members[gone] = []
        sums[keep] += sums[gone]
        sizes[keep] += sizes[gone]
        barred[keep] |= barred[gone]
        sums[:, keep], barred[:, keep] = sums[keep], barred[keep]
        barred[gone] = barred[:, gone] = True
        average[keep] = np.where(barred[keep], -np.inf, sums[keep] / (sizes[keep] * sizes))
        average[:, keep] = average[keep]
        average[gone] = average[:, gone] = -np.inf
        # An average lies between the two that it joins, so only rows that pointed at the pair can have another partner.
        stale = np.flatnonzero((partner == keep) | (partner == gone))
        stale = np.union1d(stale, [keep, gone])
        partner[stale] = average[stale].argmax(axis=1)
    return [sorted(rows) for rows in members if rows]


class RecentPositions:
    """The spans given to each vehicle in the last `remember_s` seconds of each camera: bounded memory for ever."""

    def __init__(self, remember_s: float = REMEMBERED_S, topology: Topology | None = None) -> None:
        self._remember, self._topology = remember_s, topology or Topology()
        self._spans: dict[int, list[Span]] = {}
        self._newest: dict[str, float] = {}
        self._parts: dict[tuple[str, int], int] = {}  # the vehicle of a track, for its next parts
        self._since_swept = 0

    def __len__(self) -> int:
        return sum(len(spans) for spans in self._spans.values())

    def put(self, vehicle: int, sighting: FinishedTrack) -> None:
        """Remember that this track was given to `vehicle`."""
        self._parts[sighting.camera, sighting.track] = vehicle
        self.remember(vehicle, span_of(sighting))

    def remember(self, vehicle: int, span: Span) -> None:
        """`vehicle` was there."""
        self._spans.setdefault(vehicle, []).append(span)
        self._newest[span.camera] = max(span.last, self._newest.get(span.camera, span.last))
        self._since_swept += 1
        if self._since_swept >= 1000:
            self._sweep()

    def part_of(self, sighting: FinishedTrack) -> int | None:
        """The vehicle that an earlier part of this track was given to."""
        return self._parts.get((sighting.camera, sighting.track))

    def bars(self, vehicle: int, sightings: Iterable[FinishedTrack]) -> bool:
        """Whether `vehicle` was where it cannot have been and be one of these tracks too."""
        spans = self._spans.get(vehicle, ())
        return any(self._barred(spans, span_of(sighting)) for sighting in sightings) if spans else False

    def _barred(self, spans: Iterable[Span], now: Span) -> bool:
        last: Span | None = None
        for span in spans:
            if self._topology.apart(span, now):
                return True
            if span.last <= now.first and (last is None or span.last > last.last):
                last = span
        return last is not None and self._topology.missed(last, now)

    def _sweep(self) -> None:
        kept = {}
        for vehicle, spans in self._spans.items():
            if fresh := [span for span in spans if span.last >= self._newest[span.camera] - self._remember]:
                kept[vehicle] = fresh
        tracks = {(span.camera, span.track) for spans in kept.values() for span in spans}
        self._parts = {track: vehicle for track, vehicle in self._parts.items() if track in tracks}
        self._spans, self._since_swept = kept, 0


class _Candidate(NamedTuple):
    """A vehicle that a cluster of tracks may be; the smaller one is the better one."""

    unsure: bool  # it is neither an earlier part of the track nor of the same licence plate
    falling: float  # the score, negative
    cluster: int
    vehicle: int
    name: str


@dataclass(frozen=True)
class _Choice:
    """What a cluster is given: the vehicle, or None and the best score that it may claim."""

    vehicle: int | None
    name: str | None
    score: float


_NOBODY = _Choice(None, None, -np.inf)


class Identifier:
    """Gives tracks their vehicles and, in a gallery opened for writing, writes every sighting down.

    The rule, for one track and for many (`assign`):

    1. Tracks are put in order of their first time (then camera, then track number) and clustered: average linkage of
       cosines down to `threshold`; two that cannot be one vehicle (`topology`: two tracks of one camera at one moment, two
       cameras too far from each other, two licence plates) are never joined, two of one plate are as alike as can be. One
       track is a cluster of one.
    2. A cluster's score for a vehicle is the mean over its tracks of the best cosine to the vehicle's prototypes. Of
       all pairs of at least `threshold`, the best score is settled first; a cluster gets one vehicle, and a vehicle
       may get several clusters, but never one that it cannot be, with what it did earlier. A cluster that loses its
       vehicle so tries its next best. Vehicles of the cluster's plate come before all others and need no threshold;
       those of another plate are left out. Of a track that is finished in parts, the later ones have the first one's vehicle.
    3. A cluster that gets none is a stranger. With `enrol_unknown` it becomes a new vehicle if its best score is under
       `new_below`, and is left unknown between the two; its first track is matched as unknown and the others as known,
       by their best cosine to another track of the cluster.

    A known track teaches its vehicle (a prototype of its camera's view) when `learn` is set and its own score is at
    least `margin` of the way from `threshold` to 1: features that only just passed would let the vehicle drift into another.
    """

    def __init__(
        self,
        gallery: Gallery,
        threshold: float,
        enrol_unknown: bool = False,
        *,
        learn: bool | None = None,
        margin: float = 0.25,
        run: str = "",
        new_below: float | None = None,
        topology: Topology | None = None,
        remember_s: float = REMEMBERED_S,
    ) -> None:
        """`learn` is `enrol_unknown` unless given, `new_below` is `threshold`; `run` is written into each sighting.

        Raises Refused for a threshold outside -1 to 1, or for enrolling into a gallery opened for reading.
        """
        if new_below is not None and not -1 <= new_below <= threshold:
            raise Refused(f"vehicles are new below a score from -1 to the threshold {threshold}, not {new_below}")
        if not -1 <= threshold <= 1:
            raise Refused(f"a threshold is a cosine from -1 to 1, not {threshold}; take it from the manifest's match")
        self._learn = enrol_unknown if learn is None else learn
        if (enrol_unknown or self._learn) and not gallery.writable:
            raise Refused("the gallery was opened for reading and cannot learn or enrol; open it for writing")
        self._gallery, self.threshold, self._enrol = gallery, threshold, enrol_unknown
        self._margin, self._run = margin, run
        self._topology = topology or Topology()
        self._recent = RecentPositions(remember_s, self._topology)
        self._new_below = threshold if new_below is None else new_below

    def recall(self, since: float) -> None:
        """Remember where vehicles were after `since` (seconds since 1970), before this run; for live runs only, since
        files may be of any day."""
        for vehicle, span in self._gallery.seen_since(since):
            self._recent.remember(vehicle, span)

    def size(self) -> tuple[int, int]:
        """Vehicles and prototypes of the gallery."""
        return self._gallery.size()

    def purge(self) -> None:
        """Remove what is older than the gallery's retention, where this run may write it."""
        if self._gallery.writable:
            purge_due(self._gallery)

    def identify(self, track: FinishedTrack) -> Match:
        """The vehicle of one track, now: for live runs. The answer is that of `assign` for this track only."""
        feature = unit(track.feature[None], self._gallery.about.dim)  # (1, D)
        with self._keeping():
            candidates = self._candidates([track], feature, self._hits(feature))
            free = (one for one in sorted(candidates) if not self._recent.bars(one.vehicle, [track]))
            [match] = self._settled([track], feature, [0], self._choice(next(free, None)))
        self._remember([track], [match])
        return match

    def assign(self, sightings: Sequence[FinishedTrack]) -> list[Match]:
        """The vehicles of many finished tracks, decided together and written all or not at all; in the given order.

        The answer does not depend on the order of `sightings`.
        """
        if not sightings:
            return []
        order = sorted(range(len(sightings)), key=lambda row: moment(sightings[row]))
        tracks = [sightings[row] for row in order]
        features = unit(np.stack([track.feature for track in tracks]), self._gallery.about.dim)  # (N, D)
        plates = np.array([track.plate or "" for track in tracks])
        read = (plates[:, None] != "") & (plates[None] != "")
        apart = self._topology.all_apart([span_of(track) for track in tracks])
        apart |= read & (plates[:, None] != plates[None])
        same = read & (plates[:, None] == plates[None])
        clusters = clustered(features, apart, self.threshold, same)
        matches: list[Match] = [Match(None, None, -np.inf, False)] * len(tracks)
        with self._keeping():
            choices = self._chosen(tracks, features, clusters, apart)
            for rows, choice in zip(clusters, choices, strict=True):
                for row, match in zip(rows, self._settled(tracks, features, rows, choice), strict=True):
                    matches[row] = match
        self._remember(tracks, matches)
        return [match for _, match in sorted(zip(order, matches, strict=True), key=lambda pair: pair[0])]

    def _keeping(self) -> AbstractContextManager[object]:
        return self._gallery.transaction() if self._gallery.writable else nullcontext()

    def _remember(self, tracks: Sequence[FinishedTrack], matches: Sequence[Match]) -> None:
        for track, match in zip(tracks, matches, strict=True):
            if match.vehicle is not None:
                self._recent.put(match.vehicle, track)

    def _chosen(
        self, tracks: Sequence[FinishedTrack], features: Floats, clusters: Sequence[list[int]], apart: NDArray[np.bool_]
    ) -> list[_Choice]:
        """Step 2: one choice a cluster."""
        hits = self._hits(features)
        candidates: list[_Candidate] = []
        for cluster, rows in enumerate(clusters):
            own = [tracks[row] for row in rows]
            candidates += self._candidates(own, features[rows], [hits[row] for row in rows], cluster)
        choices = [_NOBODY for _ in clusters]
        given: dict[int, list[int]] = {}  # rows of this call, by vehicle
        for one in sorted(candidates):
            rows, held = clusters[one.cluster], given.get(one.vehicle, [])
            if choices[one.cluster].score > -np.inf or self._recent.bars(one.vehicle, [tracks[row] for row in rows]):
                continue
            if held and apart[np.ix_(rows, held)].any():
                continue
            choices[one.cluster] = self._choice(one)
            if choices[one.cluster].vehicle is not None:
                given[one.vehicle] = held + rows
        return choices

    def _candidates(
        self,
        tracks: Sequence[FinishedTrack],
        features: Floats,
        hits: Sequence[Sequence[RankedVehicle]],
        cluster: int = 0,
    ) -> list[_Candidate]:
        """The vehicles that a cluster of tracks may be, whatever the others are: features (N, D), hits of each row."""
        plates = {track.plate for track in tracks}
        sure = {part for track in tracks if (part := self._recent.part_of(track)) is not None}
        sure |= self._gallery.with_plates(plates)
        names = {hit.vehicle: hit.name for of_row in hits for hit in of_row}
        with self._gallery.reading() as store:
            certain = store.names(sure)  # without those that were removed meanwhile
        vehicles = sorted((names.keys() - self._gallery.with_other_plates(plates)) | certain.keys())
        means = self._gallery.scores(features, vehicles).mean(axis=0)  # (V,)
        return [
            _Candidate(vehicle not in certain, -float(mean), cluster, vehicle, certain.get(vehicle) or names[vehicle])
            for mean, vehicle in zip(means, vehicles, strict=True)
        ]

    def _choice(self, best: _Candidate | None) -> _Choice:
        """What the best candidate that is free comes to; None where none is."""
        if best is None:
            return _NOBODY
        if best.unsure and -best.falling < self.threshold:
            return _Choice(None, None, -best.falling)
        return _Choice(best.vehicle, best.name, -best.falling)

    def _hits(self, features: Floats) -> list[list[RankedVehicle]]:
        """For each row at least every vehicle that reaches the threshold."""
        k = 8
        while True:
            hits = self._gallery.search(features, k)
            if not any(len(found) == k and found[-1].score >= self.threshold for found in hits):
                return hits
            k *= 4

    def _settled(
        self, tracks: Sequence[FinishedTrack], features: Floats, rows: list[int], choice: _Choice
    ) -> list[Match]:
        """Step 3 and the writing: one match a row."""
        if choice.vehicle is not None:
            matches = [Match(choice.vehicle, choice.name, choice.score, True) for _ in rows]
            own = self._gallery.scores(features[rows], [choice.vehicle])[:, 0].tolist() if self._learn else []
            enough = self.threshold + self._margin * (1 - self.threshold)
            taught = [row for row, score in zip(rows, own, strict=False) if score >= enough]
        elif self._enrol and choice.score < self._new_below:
            best = max(rows, key=lambda row: (tracks[row].quality, -row))
            vehicle = self._gallery.add_vehicle(None, tracks[best].picture)
            name = self._gallery.name_of(vehicle)
            cosines = features[rows] @ features[rows].T
            np.fill_diagonal(cosines, -1.0)
            others = cosines.max(axis=1).tolist()
            matches = [Match(vehicle, name, choice.score, False)]
            matches += [Match(vehicle, name, score, True) for score in others[1:]]
            taught = rows
        else:
            return [Match(None, None, choice.score, False) for _ in rows]
        for row, match in zip(rows, matches, strict=True):
            self._write(tracks[row], features[row], match, row in taught)
        return matches

    def _write(self, track: FinishedTrack, feature: Floats, match: Match, teach: bool) -> None:
        if not self._gallery.writable or match.vehicle is None:
            return
        if teach:
            self._gallery.add_prototype(match.vehicle, track.camera, feature, max(track.quality, 0.01))
        self._gallery.add_sighting(match.vehicle, track, match.score, self._run)


def moment(sighting: FinishedTrack) -> tuple[float, str, int]:
    """The order of tracks: by first time, then camera, then number."""
    return sighting.first_time, sighting.camera, sighting.track
