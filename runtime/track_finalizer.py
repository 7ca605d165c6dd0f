"""Ended tracks are identified and handed to the sinks: at once by a thread when live, all together at the end of files."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from vreid.runtime.identify import Identifier, moment
from vreid.runtime.in_view import InView
from vreid.runtime.plates import PlateReader, no_plate
from vreid.runtime.records import FinishedTrack, Match, Trace, TrackSoFar
from vreid.runtime.sinks.table import Sink
from vreid.runtime.status import QueueStatus, Stages

_T = TypeVar("_T")
IdentifiedTrack = tuple[FinishedTrack, Match, Trace]
ROOM = 256  # ended tracks that wait for a slow disk before the cameras have to


class Tally:
    """Counts of the tracks that were identified so far."""

    def __init__(self) -> None:
        self.sightings = self.unknown = self.doubtful = self.withheld = 0
        self.cameras: dict[int, set[str]] = {}  # of each vehicle
        self.enrolled: set[int] = set()

    def count(self, sighting: FinishedTrack, match: Match) -> None:
        """One more sighting."""
        self.sightings += 1
        self.doubtful += match.maybe is not None
        self.withheld += match.withheld is not None
        if match.vehicle is None:
            self.unknown += 1
            return
        if not match.known:
            self.enrolled.add(match.vehicle)
        self.cameras.setdefault(match.vehicle, set()).add(sighting.camera)


class TrackFinalizer:
    """Of runs over files: the identities of all tracks are decided jointly by `close`, then the sinks get them."""

    def __init__(
        self,
        identifier: Identifier,
        sinks: Sequence[Sink],
        stages: Stages,
        plate: PlateReader = no_plate,
        in_view: InView | None = None,
    ) -> None:
        """`in_view` gives events to those who follow, if anybody does."""
        self._identifier, self._sinks, self._stages, self._plate = identifier, sinks, stages, plate
        self._in_view = in_view
        self._waiting: list[tuple[FinishedTrack, Trace]] = []
        self.identified: list[IdentifiedTrack] = []
        self.tally = Tally()

    def take(self, ended: Sequence[tuple[FinishedTrack, Trace]]) -> None:
        """Tracks that have ended."""
        for sighting, trace in ended:
            self._identifier.observe(sighting, trace)
            self._waiting.append((self._read(sighting), trace))
            if self._in_view is not None:
                self._in_view.wait(sighting, trace.boxes[-1])

    @property
    def behind(self) -> bool:
        """Never: everything is done at once."""
        return False

    def call(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done by the thread that identifies, between two tracks; raises what it raises."""
        return work()

    def follow(self, so_far: Sequence[TrackSoFar]) -> None:
        """Tracks that are still open."""
        for now in so_far:
            self._see(now)

    def _see(self, now: TrackSoFar) -> None:
        if self._in_view is not None:
            with self._stages.time("provisional"):
                if now.trace is None:
                    self._in_view.see(now)
                else:
                    self._in_view.stands(now)

    def _read(self, sighting: FinishedTrack) -> FinishedTrack:
        return sighting if self._plate is no_plate else replace(sighting, plate=self._plate(sighting.picture))

    def close(self) -> None:
        """Decide what is left; nothing is taken any more."""
        if not self._waiting:
            return
        began = time.perf_counter()
        reserved = None if self._in_view is None else self._in_view.reserved
        matches = self._identifier.assign([sighting for sighting, _ in self._waiting], reserved)
        each = (time.perf_counter() - began) / len(self._waiting)
        in_order = sorted(zip(self._waiting, matches, strict=True), key=lambda pair: moment(pair[0][0]))
        for (sighting, trace), match in in_order:  # as time went, so that a new vehicle is new where it first was seen
            self._stages.add("search", each)
            if self._in_view is not None:
                self._in_view.end(sighting, match, trace)
            self._emit(sighting, match, trace)
            self.identified.append((sighting, match, trace))
        self._waiting = []

    def status(self) -> QueueStatus:
        """The tracks that wait."""
        return QueueStatus(len(self._waiting), 0, 0)

    def _emit(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        self.tally.count(sighting, match)
        for sink in self._sinks:
            sink.sighting(sighting, match, trace)


class LiveTrackFinalizer(TrackFinalizer):
    """Each track when it ends, by a thread, so that a slow disk never holds up the cameras; only a full queue does.

    `idle` is called by that thread every `every` seconds, for what a gallery wants done from time to time. What fails there
    is raised by the next `take` or by `close`. Keeps no decision.
    """

    def __init__(
        self,
        identifier: Identifier,
        sinks: Sequence[Sink],
        stages: Stages,
        plate: PlateReader = no_plate,
        in_view: InView | None = None,
        idle: Callable[[], None] = lambda: None,
        every: float = 3600.0,
    ) -> None:
        super().__init__(identifier, sinks, stages, plate, in_view)
        self._settled: dict[tuple[str, int], Match] = {}  # of the vehicles that stand
        self._queue: queue.Queue[tuple[FinishedTrack, Trace] | TrackSoFar | Callable[[], None] | None] = queue.Queue(
            ROOM
        )
        self._failure: BaseException | None = None
        self._idle, self._every = idle, every
        self._thread = threading.Thread(target=self._work, name="decide", daemon=True)
        self._thread.start()

    def take(self, ended: Sequence[tuple[FinishedTrack, Trace]]) -> None:
        """Waits where the queue is full; raises what the thread failed with."""
        self._put(ended)

    def follow(self, so_far: Sequence[TrackSoFar]) -> None:
        """As `take`: in the order of the calls."""
        self._put(so_far)

    @property
    def behind(self) -> bool:
        """Whether so many wait that it is better to look for nobody provisionally."""
        return self._queue.qsize() > ROOM // 2

    def call(self, work: Callable[[], _T]) -> _T:
        """As that of `TrackFinalizer`; at once where the thread has ended."""
        done: Future[_T] = Future()

        def answer() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(work())
                except BaseException as failure:  # noqa: BLE001  raised where it was called
                    done.set_exception(failure)

        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(answer, timeout=0.2)
                break
        while self._thread.is_alive():
            if wait([done], 0.2).done:
                return done.result()
        if done.cancel() or not done.done():
            return work()
        return done.result()

    def _put(self, items: Sequence[tuple[FinishedTrack, Trace] | TrackSoFar]) -> None:
        for item in items:
            while self._failure is None:
                try:
                    self._queue.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
        self._raise()

    def close(self) -> None:
        """Wait until the sinks have all that was taken; raises what the thread failed with."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.2)
                break
            except queue.Full:
                continue
        self._thread.join()
        self._raise()

    def status(self) -> QueueStatus:
        """The tracks that wait; none is ever dropped."""
        return QueueStatus(self._queue.qsize(), ROOM, 0)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        due = time.monotonic()
        try:
            while True:
                if time.monotonic() >= due:
                    self._idle()
                    due = time.monotonic() + self._every
                try:
                    item = self._queue.get(timeout=max(0.0, min(1.0, due - time.monotonic())))
                except queue.Empty:
                    continue
                if item is None:
                    self._identifier.keep()
                    return
                if callable(item):
                    item()
                elif isinstance(item, TrackSoFar):
                    if item.trace is None:
                        self._see(item)
                    else:
                        self._settle(item, item.trace)
                else:
                    self._finish(*item)
        except BaseException as failure:  # noqa: BLE001  raised by take or close
            self._failure = failure

    def _settle(self, now: TrackSoFar, trace: Trace) -> None:
        """A vehicle has come to stand, or stands still: it is decided the first time, so that a crash later loses little."""
        key = (now.track.camera, now.track.track)
        if (match := self._settled.get(key)) is None:
            match = self._decide(self._read(now.track), trace, self._identifier.settle)
        else:
            match = self._identifier.extend(now.track, match, over=False)
        self._settled[key] = match
        if self._in_view is not None:
            self._in_view.stands(now, match)

    def _decide(self, track: FinishedTrack, trace: Trace, by: Callable[[FinishedTrack, int | None], Match]) -> Match:
        reserved = None if self._in_view is None else self._in_view.reserved.get((track.camera, track.track))
        with self._stages.time("search"):
            self._identifier.observe(track, trace)
            return by(track, reserved)

    def _finish(self, track: FinishedTrack, trace: Trace) -> None:
        track = self._read(track)
        if (match := self._settled.pop((track.camera, track.track), None)) is None:
            match = self._decide(track, trace, self._identifier.identify)
        else:
            match = self._identifier.extend(track, match, over=True)
        with self._stages.time("tell"):
            if self._in_view is not None:
                self._in_view.end(track, match, trace)
            self._emit(track, match, trace)
