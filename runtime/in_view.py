"""Identity while a vehicle is in view: provisional from the first crops that are good enough, final at the end of its track."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vreid.runtime.gallery.names import given
from vreid.runtime.identify import Identifier
from vreid.runtime.records import EventState, FinishedTrack, Floats, Match, Trace, TrackEvent, TrackSoFar
from vreid.runtime.topology import Span, span_of

SIGN_OF_LIFE_S = 6 * 3600.0
Key = tuple[str, int]  # a track: its camera and its number there
NOBODY = Match(None, None, -float("inf"), False, float("nan"), "")  # not looked for so far


class Follower(Protocol):
    """A sink that gets every event of a track, in order, before the sighting of its end."""

    def event(self, event: TrackEvent) -> None:
        """One event; the thread that writes calls it."""
        ...


@dataclass(frozen=True)
class _Shown:
    """What is said of a track, as it was then; `ended` if it waits for the end of the run."""

    match: Match
    track: FinishedTrack
    box: Floats
    ended: bool = False
    final: bool = False
    stood: float | None = None  # when it was last said that it stands, seconds on the source's clock

    def span(self, now: float) -> Span:
        """Its time in view: an open track is still there."""
        span = span_of(self.track)
        return span if self.ended else replace(span, last=max(now, span.last))


class InView:
    """What is known of the tracks that are not final yet, and the events of that for followers. One thread uses it.

    A stranger who would be enrolled is shown under an id that is reserved for it: the vehicle gets this id when its track ends
    unknown, and nobody ever gets it otherwise. So a track is also compared with the other tracks here, which may be of vehicles
    that are not in the gallery yet: those in view of other cameras, and in a run over files those that have ended. Two tracks
    that cannot be one vehicle are not shown under one id; the one that was first keeps it. Nothing doubtful is
    shown of a track first: neither which of two vehicles it is, nor that it is a new one that nearly is a known one.
    """

    def __init__(
        self, identifier: Identifier, followers: Sequence[Follower], began: float, every: float = SIGN_OF_LIFE_S
    ) -> None:
        """`began` is when the run did, in seconds since 1970; every `every` seconds it is said that a vehicle stands still."""
        self._identifier, self._followers, self._began, self._every = identifier, followers, began, every
        self._shown: dict[Key, _Shown] = {}
        self.reserved: dict[Key, int] = {}

    def see(self, now: TrackSoFar) -> None:
        """Report an open track, and look for its vehicle if it is worth it."""
        self._appear(now.track, now.box)
        if now.search:
            self._show(now.track, self._provisional(_key(now.track), now.track, now.stranger), now.box, False)

    def stands(self, now: TrackSoFar, match: Match | None = None) -> None:
        """Report that a vehicle has come to stand, with what was decided for good, or that it stands still, which is said
        every `every` seconds at most."""
        key = _key(now.track)
        self.see(now)
        shown = self._shown[key]
        if shown.stood is None and match is not None:
            self._show(now.track, match, now.box, True)
        if shown.stood is None or now.track.last_time - shown.stood >= self._every:
            self._shown[key] = replace(self._shown[key], stood=now.track.last_time)
            self._emit("stationary", now.track, self._shown[key].match, now.box, self._shown[key].final)

    def wait(self, track: FinishedTrack, box: Floats) -> None:
        """A track has ended, with its last box (4,), that is decided with all others at the end of the run."""
        self._appear(track, box)
        self._shown[_key(track)] = _Shown(self._shown[_key(track)].match, track, box, True)

    def end(self, track: FinishedTrack, match: Match, trace: Trace) -> None:
        """Report the end of a track, with what was decided then, for good; what it changes for those in view follows."""
        key, box = _key(track), trace.boxes[-1]
        self._appear(track, box)
        before = self._shown[key].match.vehicle
        self._show(track, match, box, True)
        self._emit("left", track, match, box, True)
        del self._shown[key]
        self.reserved.pop(key, None)
        for other, one in self._concerned(track, {before, match.vehicle} - {None}):
            self._show(one.track, self._provisional(other, one.track, False), one.box, False)

    def _concerned(self, track: FinishedTrack, vehicles: Container[int | None]) -> list[tuple[Key, _Shown]]:
        """Who was looked for before and may be the vehicle of the track that has ended, or is shown as one of these."""
        shown = self._shown.items()
        looked_for = [(key, one) for key, one in shown if not (one.final or one.ended or one.match is NOBODY)]
        if not looked_for:
            return []
        features = np.stack([one.track.feature for _, one in looked_for])
        cameras = [one.track.camera for _, one in looked_for]
        rule, count = self._identifier.rule, self._identifier.size()[0]
        alike = rule.compare(features, cameras, track.feature[None], [track.camera], count)
        enough = (alike.cosines >= alike.least)[:, 0]
        return [
            (key, one)
            for (key, one), like in zip(looked_for, enough, strict=True)
            if like or one.match.vehicle in vehicles
        ]

    def _provisional(self, key: Key, track: FinishedTrack, stranger: bool) -> Match:
        span, apart = span_of(track), self._identifier.topology.apart
        others = [(one.match.vehicle, one) for other, one in self._shown.items() if other != key]
        taken = {vehicle for vehicle, one in others if vehicle is not None and apart(one.span(span.last), span)}
        match = self._identifier.provisional(track, taken)
        if match.vehicle is None:
            free = [one for vehicle, one in others if vehicle is not None and vehicle not in taken]
            match = self._of_others(track, free) or match
        if match.maybe is not None and self._shown[key].match.vehicle is None:
            return replace(match, vehicle=None, name=None, known=False)
        vehicle = self.reserved.get(key)
        if vehicle is None and stranger and (vehicle := self._identifier.reserve(track, match)) is not None:
            self.reserved[key] = vehicle
        if match.vehicle is None and vehicle is not None:
            return replace(match, vehicle=vehicle, name=given(vehicle))
        return match

    def _of_others(self, track: FinishedTrack, others: Sequence[_Shown]) -> Match | None:
        """The vehicle of the one that is most alike, if it is enough."""
        if not others:
            return None
        tracks = [one.track for one in others]
        features = np.stack([one.feature for one in tracks])
        views = [one.camera for one in tracks]
        count = self._identifier.size()[0] + len({one.match.vehicle for one in others})
        found = self._identifier.rule.compare(track.feature[None], [track.camera], features, views, count)
        best = int((found.cosines - found.least)[0].argmax())
        score, least = float(found.cosines[0, best]), float(found.least[0, best])
        match = others[best].match
        origin = self._identifier.rule.level(track.camera, views[best], count).origin
        return Match(match.vehicle, match.name, score, True, least, origin) if score >= least else None

    def _appear(self, track: FinishedTrack, box: Floats) -> None:
        """Report a track of which nothing was said so far."""
        if _key(track) not in self._shown:
            self._shown[_key(track)] = _Shown(NOBODY, track, box)
            self._emit("appeared", track, NOBODY, box, False)

    def _show(self, track: FinishedTrack, match: Match, box: Floats, final: bool) -> None:
        before = self._shown[_key(track)].match.vehicle if _key(track) in self._shown else None
        self._shown[_key(track)] = _Shown(match, track, box, final=final)
        if match.vehicle != before:
            self._emit("identified" if before is None else "revised", track, match, box, final)

    def _emit(self, state: EventState, track: FinishedTrack, match: Match, box: Floats, final: bool) -> None:
        key = f"{self._began:.0f}/{track.camera}/{track.track}"
        for follower in self._followers:
            follower.event(TrackEvent(key, state, track, match, box, final))


def _key(track: FinishedTrack) -> Key:
    return track.camera, track.track
