"""A camera that gives at most so many frames a second, so that a small device watches many."""

from collections.abc import Iterator, Sequence
from typing import cast

from vreid.runtime.records import Frame
from vreid.runtime.sources.table import Camera, Source


def limited(source: Source, rate: float | None) -> Source:
    """`source` with at most `rate` frames a second, by their own times; None: with all. What is left out is not counted as
    dropped, and a live camera's is not even converted."""
    if source.live:
        cast(Camera, source).limit(rate)
        return source
    return source if rate is None else LimitedFile(source, rate)


class LimitedFile:
    """A file of which some frames are passed over; those that are left keep their numbers and times."""

    live = False

    def __init__(self, source: Source, rate: float) -> None:
        self._source, self._rate = source, rate
        self.camera, self.size, self.dropped = source.camera, source.size, source.dropped
        self.frame_rate = min(rate, source.frame_rate) if source.frame_rate > 0 else rate

    @property
    def warnings(self) -> Sequence[str]:
        """Those of the file."""
        return self._source.warnings

    @property
    def notes(self) -> Sequence[str]:
        """Those of the file."""
        return self._source.notes

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are due."""
        due = Due(self._rate)
        return (frame for frame in self._source if due.now(frame.time))

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class Due:
    """Which of the moments that come are taken, so that there are `rate` a second on average, whatever their own rate."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._next: float | None = None

    def now(self, time: float) -> bool:
        """Whether the one at `time` seconds is taken; times rise. A long gap is not made up for."""
        if self._next is None:
            self._next = time
        if time < self._next - _EARLY * self._gap:
            return False
        self._next = max(self._next + self._gap, time)
        return True


_EARLY = 0.01  # of the gap: stamps are rounded
