"""When each frame of a camera was taken, in few numbers: straight lines between knots."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CLOSE = 0.01  # seconds by which a frame may lie off its line


class FrameTimes:
    """Gathers the frames of a camera in order; a film of constant rate takes two knots, however long it is.

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
        """Whether every frame is where a film of `rate` frames a second from time 0 has it."""
        knots = self.knots()
        return rate > 0 and len(knots) <= 2 and all(abs(time - index / rate) <= CLOSE for index, time in knots)

    def _slope(self, index: int, time: float) -> float:
        first, began = self._knots[-1]
        return (time - began) / (index - first)


def seconds_at(knots: Sequence[Sequence[float]], frames: ArrayLike) -> NDArray[np.float64]:
    """(K, 2) frame from 0 and time, (N,) frames from 0 -> (N,) seconds; beyond the ends the last line goes on.

    One knot alone is a film of one frame: everything is at its time.
    """
    ends, wanted = np.asarray(knots, np.float64).reshape(-1, 2), np.asarray(frames, np.float64)
    if len(ends) < 2:
        return np.full(wanted.shape, ends[0, 1] if len(ends) else 0.0)
    line = np.clip(np.searchsorted(ends[:, 0], wanted, "right") - 1, 0, len(ends) - 2)
    slopes = np.diff(ends[:, 1]) / np.diff(ends[:, 0])
    return np.asarray(ends[line, 1] + (wanted - ends[line, 0]) * slopes[line])
