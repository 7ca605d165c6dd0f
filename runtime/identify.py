"""Who is this: finished tracks become vehicles of the gallery, known or new ones, one at a time or jointly."""

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.choice import Barred, Choice, Choosing
from vreid.runtime.clustering import clusters_of, links_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.doubts import add_doubt
from vreid.runtime.gallery.maintenance import purge_due
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.gallery.requests import Request
from vreid.runtime.recent_positions import REMEMBERED_S, RecentPositions, owners_now
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace
from vreid.runtime.scoring import Scoring
from vreid.runtime.threshold import FixedThreshold, Threshold
from vreid.runtime.topology import Topology


class Identifier:
    """Gives tracks their vehicles and, in a gallery opened for writing, writes every sighting down.

    The rule, for one track and for many (`assign`):

    1. Tracks are put in order of their first time (then camera, then track number) and clustered: average linkage of
       cosines down to the threshold of their two cameras. Two that cannot be one vehicle (`topology`: two tracks of one
       camera at one moment, two cameras too far from each other, two licence plates) are never joined, two of one plate are
       as alike as can be. One track is a cluster of one.
    2. A cluster's score for a vehicle is the mean over its tracks of the best cosine to the vehicle's prototypes, its margin
       the mean of the best cosine less the threshold of the track's camera and the prototype's. Of all pairs with a margin
       that is not negative, the best margin is settled first; a cluster gets one vehicle, and a vehicle
       may get several clusters, but never one that it cannot be, with what it did earlier. A cluster that loses its
       vehicle so tries its next best. Vehicles of the cluster's plate come before all others and need no threshold;
       those of another plate are left out. Of a track that is finished in parts, the later ones have the first one's vehicle.
    3. A cluster that gets none is a stranger. With `enrol_unknown` it becomes a new vehicle if its best score is under
       `new_below` and a guard does not withhold all of its tracks. Otherwise it is left unknown. Of a new vehicle the
       first track is matched as unknown and the others as known, by their best cosine to another track of the cluster.
    4. A known vehicle is doubtful if a second one passes too that it could be, a stranger if it would pass at DOUBTFUL times
       the requested false-match rate; the answer says so and changes nothing else.

    A known track teaches its vehicle (a prototype of its camera's view) when `learn` is set and its own score is at
    least `margin` of the way from the threshold to 1: features that only just passed would let the vehicle drift into another.
    """

    def __init__(
        self,
        gallery: Gallery,
        threshold: Threshold | float,
        enrol_unknown: bool = False,
        *,
        learn: bool | None = None,
        margin: float = 0.25,
        run: str = "",
        new_below: float | None = None,
        topology: Topology | None = None,
        remember_s: float = REMEMBERED_S,
        withhold: Callable[[FinishedTrack], str | None] = lambda track: None,
    ) -> None:
        """`learn` is `enrol_unknown` unless given; without `new_below` who does not pass is new; `run` is written into each
        sighting; `withhold` says why no new vehicle is to be made of a track (runtime/guards.py).

        Raises Refused for a threshold outside -1 to 1, or for enrolling into a gallery opened for reading.
        """
        self.rule = FixedThreshold(threshold) if isinstance(threshold, int | float) else threshold
        if new_below is not None and not -1 <= new_below <= self.rule.prior:
            raise Refused(f"vehicles are new below a score from -1 to the threshold {self.rule.prior}, not {new_below}")
        self._learn = enrol_unknown if learn is None else learn
        if (enrol_unknown or self._learn) and not gallery.writable:
            raise Refused("the gallery was opened for reading and cannot learn or enrol; open it for writing")
        self._gallery, self._enrol, self._withhold = gallery, enrol_unknown, withhold
        self._margin, self._run = margin, run
        self.topology = topology or Topology()  # which pairs of tracks cannot be one vehicle
        self._recent = RecentPositions(remember_s, self.topology)
        self.scoring = Scoring(gallery, self.rule, self._recent)
        self._choosing = Choosing(gallery, self.rule, self.scoring, self._recent)
        self._new_below = np.inf if new_below is None else new_below

    def recall(self, since: float) -> None:
        """Remember where vehicles were after `since` (seconds since 1970), before this run; for live runs only, since
        files may be of any day."""
        for vehicle, span in self._gallery.seen_since(since):
            self._recent.remember(vehicle, span)

    def size(self) -> tuple[int, int]:
        """Vehicles and prototypes of the gallery."""
        return self._gallery.size()

    def observe(self, track: FinishedTrack, trace: Trace) -> None:
        """Let the threshold learn from a track that has ended, unless it is of an alarm; before it is identified."""
        if self._withhold(track) != "alarm":
            self.rule.observe(track, trace)

    def keep(self) -> None:
        """Let the gallery keep what the threshold has learnt, where this run may write it."""
        if self._gallery.writable:
            self.rule.follow(self._gallery.site_threshold())
            if (text := self.rule.as_json()) is not None:
                self._gallery.keep_site_threshold(text)

    def calibration(self) -> dict[str, Any]:
        """The thresholds as they are now, for the report."""
        return self.rule.summary(self.scoring.compared)

    def maintain(self) -> None:
        """From time to time, where this run may write: keep what the threshold has learnt, and purge by the retention."""
        self.keep()
        self.scoring.levels = self.rule.levels(self.scoring.counted)
        if self._gallery.writable:
            purge_due(self._gallery)

    def identify(
        self, track: FinishedTrack, reserved: int | None = None, barred: Barred = lambda vehicles: ()
    ) -> Match:
        """The vehicle of one track, now: for live runs. The answer is that of `assign` for this track only, of the vehicles that
        are not `barred`."""
        feature = unit(track.feature[None], self._gallery.about.dim)  # (1, D)
        with self._keeping():
            choice = self._choosing.one(
                track, feature, lambda some: {*barred(some)} | {one for one in some if self._recent.bars(one, [track])}
            )
            [match] = self._settled([track], feature, [0], choice, reserved)
        self.scoring.learn_times(track, match)
        self._remember([track], [match])
        return match

    def settle(self, track: FinishedTrack, reserved: int | None = None) -> Match:
        """`identify` for a vehicle that stands, for good. Until `extend` says that it is over it is nowhere else."""
        match = self.identify(track, reserved)
        if match.vehicle is not None:
            self._recent.hold(match.vehicle, track)
        return match

    def extend(self, track: FinishedTrack, match: Match, over: bool) -> Match:
        """A track that was settled has gone on since, and is over or not. Returns its match now: somebody may have edited it."""
        if match.vehicle is None:
            return match
        vehicle = self._recent.part_of(track)
        if vehicle is None:
            return replace(match, vehicle=None, name=None, known=False)
        with self._gallery.reading() as store:
            name = store.name_of(vehicle) or match.name  # a purge may have taken it
        if self._gallery.writable:
            self._gallery.extend_sighting(vehicle, track, match.score, self._run)
        if over:
            self._recent.release(vehicle, track)
        return replace(match, vehicle=vehicle, name=name)

    def edit(self, request: Request, who: str) -> dict[str, Any]:
        """What somebody changes while this run writes to the gallery. Raises Refused as the request does."""
        with self._gallery.acting_as(who):
            done = request.apply(self._gallery)
        self.follow(done.vehicles)
        return done.result

    def follow(self, vehicles: Collection[int]) -> None:
        """Somebody has changed whose the sightings of these vehicles are: merged, split or removed them, or undone that."""
        if vehicles:
            since = self._recent.earliest(vehicles)
            self._recent.deal(vehicles, owners_now(self._gallery, vehicles, since))

    def went_on(self, vehicle: int, track: FinishedTrack) -> None:
        """A track of `vehicle` that was identified, maybe by an earlier process, has gone on since."""
        self._recent.put(vehicle, track)

    def provisional(self, track: FinishedTrack, taken: Container[int] = ()) -> Match:
        """The vehicle of a track that is still in view, by what it has shown so far: nothing is learnt or written. It is none
        of `taken`, which other tracks in view have."""
        feature = unit(track.feature[None], self._gallery.about.dim)
        choice = self._choosing.one(
            track, feature, lambda some: {one for one in some if one in taken or self._recent.bars(one, [track])}
        )
        [level], _ = self.scoring.levels_of([track], feature, choice.nearest)
        known, maybe = choice.vehicle is not None, self._choosing.maybe([track], feature, choice)
        return Match(choice.vehicle, choice.name, choice.score, known, level.threshold, level.origin, maybe)

    def reserve(self, track: FinishedTrack, match: Match) -> int | None:
        """An id for a track that would be enrolled, which no other vehicle ever gets; None where it would not be."""
        if match.vehicle is not None or not self._is_new(match.score) or self._withhold(track) is not None:
            return None
        with self._gallery.transaction() as store:
            vehicle = store.new_vehicle_id()
            store.reserve_vehicle_ids(vehicle)
        return vehicle

    def _is_new(self, score: float) -> bool:
        return self._enrol and score < self._new_below

    def assign(
        self, sightings: Sequence[FinishedTrack], reserved: Mapping[tuple[str, int], int] | None = None
    ) -> list[Match]:
        """The vehicles of many finished tracks, decided together and written all or not at all; in the given order.

        The answer does not depend on the order of `sightings`. A cluster that is enrolled gets the id that was `reserved` for
        its first track (camera and number).
        """
        if not sightings:
            return []
        order = sorted(range(len(sightings)), key=lambda row: moment(sightings[row]))
        tracks = [sightings[row] for row in order]
        features = unit(np.stack([track.feature for track in tracks]), self._gallery.about.dim)  # (N, D)
        apart, same = links_of(tracks, self.topology)
        clusters, times = clusters_of(tracks, features, self.scoring, apart, same)
        if times is not None:
            self.rule.learn_times(times)
        matches: list[Match] = [Match(None, None, -np.inf, False)] * len(tracks)
        with self._keeping():
            choices = self._choosing.together(tracks, features, clusters, apart)
            for rows, choice in zip(clusters, choices, strict=True):
                keys = ((tracks[row].camera, tracks[row].track) for row in rows)
                kept = next((reserved[key] for key in keys if reserved and key in reserved), None)
                for row, match in zip(rows, self._settled(tracks, features, rows, choice, kept), strict=True):
                    matches[row] = match
            self.keep()
        self._remember(tracks, matches)
        return [match for _, match in sorted(zip(order, matches, strict=True), key=lambda pair: pair[0])]

    def _keeping(self) -> AbstractContextManager[object]:
        return self._gallery.transaction() if self._gallery.writable else nullcontext()

    def _remember(self, tracks: Sequence[FinishedTrack], matches: Sequence[Match]) -> None:
        for track, match in zip(tracks, matches, strict=True):
            if match.vehicle is not None:
                self._recent.put(match.vehicle, track)

    def _settled(
        self,
        tracks: Sequence[FinishedTrack],
        features: Floats,
        rows: list[int],
        choice: Choice,
        reserved: int | None = None,
    ) -> list[Match]:
        """Step 3 and the writing: one match a row. A new vehicle gets the id `reserved`, if there is one."""
        own, shown_by = [tracks[row] for row in rows], features[rows]
        levels, margins = self.scoring.levels_of(own, shown_by, choice.nearest)
        maybe = self._choosing.maybe(own, shown_by, choice)
        doubts, near = self.scoring.doubts(own, shown_by, choice.vehicle, maybe, choice.nearest)
        if choice.vehicle is not None:
            matches = [
                Match(choice.vehicle, choice.name, choice.score, True, level.threshold, level.origin, maybe)
                for level in levels
            ]
            enough = [self._margin * (1 - level.threshold) for level in levels]
            teach = [self._learn and bool(margin >= least) for margin, least in zip(margins, enough, strict=True)]
        elif None in (withheld := self._withheld(own, choice)):
            vehicle, name = self._enrolled(own, reserved)
            first = Match(vehicle, name, choice.score, False, levels[0].threshold, levels[0].origin, maybe)
            matches, teach = [first, *self._others_of_new(own, shown_by, first)], [True] * len(own)
        else:
            return [
                Match(None, None, choice.score, False, level.threshold, level.origin, maybe, why)
                for level, why in zip(levels, withheld or [None] * len(own), strict=True)
            ]
        written = [self._write(*each) for each in zip(own, shown_by, matches, teach, strict=True)]
        best = int(np.argmax([track.quality for track in own]))
        if doubts and written[best] and matches[0].vehicle is not None:
            add_doubt(self._gallery, written[best], matches[0].vehicle, doubts, near)
        return [replace(match, sighting=id_) for match, id_ in zip(matches, written, strict=True)]

    def _withheld(self, own: Sequence[FinishedTrack], choice: Choice) -> list[str | None]:
        """Why no vehicle is to be made of each of a stranger's tracks, None: it may be; nothing where it is not new enough."""
        return [self._withhold(track) for track in own] if self._is_new(choice.score) else []

    def _enrolled(self, own: Sequence[FinishedTrack], reserved: int | None) -> tuple[int, str]:
        """The id and the name of a new vehicle with these tracks; its picture is the first of their best ones."""
        picture = max(own, key=lambda track: track.quality).picture
        vehicle = self._gallery.add_vehicle(None, picture, vehicle=reserved)
        self.scoring.counted += 1
        return vehicle, self._gallery.name_of(vehicle)

    def _others_of_new(self, own: Sequence[FinishedTrack], features: Floats, first: Match) -> list[Match]:
        """The matches of a new vehicle's tracks but the first, features (N, D), by the nearest other track of it."""
        cosines = self.scoring.between(own, features).cosines
        np.fill_diagonal(cosines, -1.0)
        matches = []
        for place, nearest in list(enumerate(cosines.argmax(axis=1).tolist()))[1:]:
            level = self.scoring.level(own[place].camera, own[nearest].camera)
            score = float(cosines[place, nearest])
            matches.append(Match(first.vehicle, first.name, score, True, level.threshold, level.origin))
        return matches

    def _write(self, track: FinishedTrack, feature: Floats, match: Match, teach: bool) -> int:
        """The sighting's id; 0: nothing was written."""
        if not self._gallery.writable or match.vehicle is None:
            return 0
        if teach:
            self._gallery.add_prototype(match.vehicle, track.camera, feature, max(track.quality, 0.01))
        return self._gallery.add_sighting(match.vehicle, track, match.score, self._run)


def moment(sighting: FinishedTrack) -> tuple[float, str, int]:
    """The order of tracks: by first time, then camera, then number."""
    return sighting.first_time, sighting.camera, sighting.track
