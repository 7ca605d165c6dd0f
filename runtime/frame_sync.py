"""Frames of several cameras in order of time: files in step and lossless, live cameras as they come; and their times."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vreid.runtime.records import Frame
from vreid.runtime.sources.table import Source

LOOK_UP = 0.2  # seconds after which `stop` is looked at where no camera gives a frame
_AHEAD = 4  # frames of a file that are decoded before they are wanted
_MOST = 4096  # threads that wait for cameras; each is begun when it is needed
GATHER = 0.002  # seconds that the first frame waits for those of the other cameras, to share a batch with them


def read_ahead(source: Source, room: int = _AHEAD) -> Generator[Frame]:
    """Every frame of a file, decoded by a thread of its own, at most `room` frames ahead; raises what the source raises."""
    frames: queue.Queue[Frame | BaseException | None] = queue.Queue(room)
    left = threading.Event()

    def put(item: Frame | BaseException | None) -> bool:
        while not left.is_set():
            try:
                frames.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for frame in source:
                if not put(frame):
                    return
            put(None)
        except BaseException as failure:  # noqa: BLE001  raised where the frame is taken
            put(failure)

    reader = threading.Thread(target=read, name=f"read {source.camera}", daemon=True)
    reader.start()
    try:
        while (item := frames.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        reader.join(0.5)  # a read that hangs is left to end by itself


def in_step(sources: Sequence[Source]) -> Iterator[list[Frame]]:
    """Every frame of every source, in order of time; what is less than half a frame of the fastest apart comes together."""
    half = 0.5 / max((source.frame_rate for source in sources if source.frame_rate > 0), default=float("inf"))
    streams = [read_ahead(source) for source in sources]
    try:
        waiting = [next(stream, None) for stream in streams]
        while any(frame is not None for frame in waiting):
            now = min(frame.time for frame in waiting if frame is not None)
            together = []
            for place, frame in enumerate(waiting):
                if frame is not None and (frame.time == now or frame.time < now + half):
                    together.append(frame)
                    waiting[place] = next(streams[place], None)
            yield together
    finally:
        for stream in streams:
            stream.close()


def as_they_come(current: Callable[[], Sequence[Source]], stop: threading.Event) -> Iterator[list[Frame]]:
    """What the cameras have right now, until `stop` is set or all have ended; a slow camera never holds up the others.

    `current` gives the sources that are to be read now, and is called between the groups, at least every `LOOK_UP` seconds: a
    new one is begun, and of one that has gone no frame comes any more. The next frame of a source is taken when its last one
    has been worked off, so a live one gives its newest and a file loses none. What a source raises is raised here. A thread
    that waits for a camera ends when the source is closed.
    """
    pool = ThreadPoolExecutor(_MOST, thread_name_prefix="read")
    streams: dict[int, tuple[Source, Iterator[Frame]]] = {}  # by the id of the source, which is kept with it
    reading: dict[Future[Frame | None], int] = {}
    idle: list[int] = []
    try:
        while not stop.is_set():
            sources = {id(source): source for source in current()}
            idle = [key for key in sources if key not in streams] + [key for key in idle if key in sources]
            streams = {key: streams.get(key) or (source, iter(source)) for key, source in sources.items()}
            reading = {future: key for future, key in reading.items() if key in sources}
            reading.update((pool.submit(next, streams[key][1], None), key) for key in idle)
            if not reading:
                return
            done = wait(reading, LOOK_UP, FIRST_COMPLETED).done and wait(reading, GATHER).done
            frames = {future: future.result() for future in list(reading) if future in done}
            idle = [reading[future] for future, frame in frames.items() if frame is not None]
            for future in frames:
                del reading[future]
            if together := [frame for frame in frames.values() if frame is not None]:
                yield together
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


CLOSE = 0.01  # seconds by which a frame may lie off its line


class FrameTimes:
    """Gathers the frames of a camera in order; a video of constant rate takes two knots, however long it is.

    Each line ends at a frame, and all between lie within `CLOSE` of it: the swing filter of Elmeleegy et al., Online
    Piece-wise Linear Approximation of Numerical Streams with Precision Guarantees, VLDB 2009, section 3, with ends that are
    measured points.
    """

    def __init__(self) -> None:
        self._knots: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._slopes = (-np.inf, np.inf)  # of the lines from the last knot that still pass all frames since

    def add(self, index: int, time: float) -> None:
        """The next frame: its number from 0 and its time in seconds."""
        if not self._knots:
            self._knots.append((index, time))
        elif self._last is not None and not self._slopes[0] <= self._slope(index, time) <= self._slopes[1]:
            self._knots.append(self._last)
            self._slopes = (-np.inf, np.inf)
        if (index, time) != self._knots[-1]:
            low, high = (self._slope(index, time + off) for off in (-CLOSE, CLOSE))
            self._slopes = max(self._slopes[0], low), min(self._slopes[1], high)
            self._last = index, time

    def knots(self) -> list[list[float]]:
        """[frame from 0, seconds] each, rising; times between are on straight lines."""
        ends = [self._last] if self._last is not None and self._last != self._knots[-1] else []
        return [[index, round(time, 4)] for index, time in [*self._knots, *ends]]

    def steady(self, rate: float) -> bool:
        """Whether every frame is where a video of `rate` frames a second from time 0 has it."""
        knots = self.knots()
        return rate > 0 and len(knots) <= 2 and all(abs(time - index / rate) <= CLOSE for index, time in knots)

    def _slope(self, index: int, time: float) -> float:
        first, began = self._knots[-1]
        return (time - began) / (index - first)


def seconds_at(knots: Sequence[Sequence[float]], frames: ArrayLike) -> NDArray[np.float64]:
    """(K, 2) frame from 0 and time, (N,) frames from 0 -> (N,) seconds; beyond the ends the last line goes on.

    A single knot is a video of one frame: everything is at its time.
    """
    ends, wanted = np.asarray(knots, np.float64).reshape(-1, 2), np.asarray(frames, np.float64)
    if len(ends) < 2:
        return np.full(wanted.shape, ends[0, 1] if len(ends) else 0.0)
    line = np.clip(np.searchsorted(ends[:, 0], wanted, "right") - 1, 0, len(ends) - 2)
    slopes = np.diff(ends[:, 1]) / np.diff(ends[:, 0])
    return np.asarray(ends[line, 1] + (wanted - ends[line, 0]) * slopes[line])
