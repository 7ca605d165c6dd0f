"""Where vehicles were lately, so that none is found where it cannot be."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from random import Random

from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.records import Filter
from vreid.runtime.records import FinishedTrack
from vreid.runtime.topology import Span, Topology, span_of

REMEMBERED_S = 3600.0  # in which it matters where a vehicle was, also before a live run


class RecentPositions:
    """The spans given to each vehicle in the last `remember_s` seconds of each camera: bounded memory for ever."""

    def __init__(self, remember_s: float = REMEMBERED_S, topology: Topology | None = None) -> None:
        self._remember, self._topology = remember_s, topology or Topology()
        self._spans: dict[int, list[Span]] = {}
        self._newest: dict[str, float] = {}
        self._standing: dict[int, list[Span]] = {}  # of each vehicle, those that have not ended
        self._parts: dict[tuple[str, int], int] = {}  # the vehicle of a track, for its next parts
        self._since_swept = 0
        self._random = Random(0)

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

    def hold(self, vehicle: int, sighting: FinishedTrack) -> None:
        """`vehicle` stands there until `release`, however long that is."""
        self._standing.setdefault(vehicle, []).append(replace(span_of(sighting), last=math.inf))

    def release(self, vehicle: int, sighting: FinishedTrack) -> None:
        """The track that was held has ended."""
        key = (sighting.camera, sighting.track)
        left = [span for span in self._standing.pop(vehicle, []) if (span.camera, span.track) != key]
        if left:
            self._standing[vehicle] = left
        self.put(vehicle, sighting)

    def earliest(self, vehicles: Iterable[int]) -> float:
        """When the first of these vehicles' spans ended; inf where none is known."""
        known = (self._spans, self._standing)
        ends = (span.last for spans in known for vehicle in vehicles for span in spans.get(vehicle, ()))
        return min(ends, default=math.inf)

    def deal(self, vehicles: Iterable[int], owner: Callable[[Span, int], int | None]) -> None:
        """Give where these vehicles were to whom each span belongs now, by what it is and whose it was; None: to nobody."""
        for known in (self._spans, self._standing):
            was = [(span, vehicle) for vehicle in vehicles for span in known.pop(vehicle, ())]
            for span, vehicle in was:
                now = owner(span, vehicle)
                self._parts.pop((span.camera, span.track), None)
                if now is not None:
                    known.setdefault(now, []).append(span)
                    self._parts[span.camera, span.track] = now

    def part_of(self, sighting: FinishedTrack) -> int | None:
        """The vehicle that an earlier part of this track was given to."""
        return self._parts.get((sighting.camera, sighting.track))

    def before(self, vehicle: int, now: Span) -> Span | None:
        """Where `vehicle` was last when `now` began."""
        earlier = [span for span in self._spans.get(vehicle, ()) if (span.first, span.last) <= (now.first, now.last)]
        return max(earlier, key=lambda span: span.last, default=None)

    def drawn(self, count: int) -> list[int]:
        """Up to `count` vehicles, at random."""
        known = list(self._spans)
        return self._random.sample(known, min(count, len(known)))

    def bars(self, vehicle: int, sightings: Iterable[FinishedTrack]) -> bool:
        """Whether `vehicle` was where it cannot have been and be one of these tracks too."""
        spans = [*self._spans.get(vehicle, ()), *self._standing.get(vehicle, ())]
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
        tracks = {
            (span.camera, span.track) for known in (kept, self._standing) for spans in known.values() for span in spans
        }
        self._parts = {track: vehicle for track, vehicle in self._parts.items() if track in tracks}
        self._spans, self._since_swept = kept, 0


def owners_now(gallery: Gallery, vehicles: Collection[int], since: float) -> Callable[[Span, int], int | None]:
    """For `deal`, after an edit of these vehicles: by the gallery's sightings that ended from `since` on, some of which belong to
    another of them now."""
    lately = Filter(since=since)
    with gallery.reading() as store:
        left = store.names(vehicles).keys()
        seen = [(vehicle, one) for vehicle in left for one in store.sightings(vehicle, lately)]

    def owner(span: Span, before: int) -> int | None:
        for vehicle, one in seen:
            began = one.at - (one.last_time - one.first_time)
            if one.camera == span.camera and began <= span.last and span.first <= one.at:
                return vehicle
        return before if before in left else None

    return owner
