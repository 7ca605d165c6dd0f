"""Constant-velocity Kalman filters for boxes, all tracks at once, in seconds instead of frames.

State and idea as in SORT (Bewley et al., Simple Online and Realtime Tracking, ICIP 2016, section 3.2). Differs: the
state is centre, width and height each with its own speed, and the noise is white acceleration, so that a step may take
any time. The noises of the four are independent, so each is a filter of two numbers and no matrix is ever inverted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.boxes import Boxes

Columns = NDArray[np.float64]  # (N, 4): cx cy w h

SIGHT = 0.04  # standard deviation of a detected box, in box sizes
START = 8.0  # of the unknown speed of a new track, in box sizes a second
PUSH = 2.0  # of the white acceleration, in box sizes a second over a square-root second


@dataclass(frozen=True)
class Motion:
    """N filters: `place` and `speed` (N, 4) of cx cy w h, and their covariance `pp`, `pv`, `vv` (N, 4)."""

    place: Columns
    speed: Columns
    pp: Columns
    pv: Columns
    vv: Columns

    def chosen(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Motion":
        """The filters that a mask or row numbers pick."""
        return Motion(self.place[rows], self.speed[rows], self.pp[rows], self.pv[rows], self.vv[rows])

    def boxes(self) -> Columns:
        """(N, 4) x1 y1 x2 y2."""
        half = self.place[:, 2:] / 2
        return np.concatenate([self.place[:, :2] - half, self.place[:, :2] + half], axis=1)


def _places(boxes: Boxes) -> Columns:
    wide = boxes.astype(np.float64)
    return np.concatenate([(wide[:, :2] + wide[:, 2:]) / 2, wide[:, 2:] - wide[:, :2]], axis=1)


def _size(place: Columns) -> Columns:
    """(N, 4) -> (N, 1), the geometric mean of width and height."""
    return np.sqrt(place[:, 2:3] * place[:, 3:4])


def started(boxes: Boxes) -> Motion:
    """(N, 4) x1 y1 x2 y2 -> N filters at rest, their speed unknown."""
    place = _places(boxes)
    one = np.ones_like(place) * _size(place)
    return Motion(place, np.zeros_like(place), (SIGHT * one) ** 2, np.zeros_like(place), (START * one) ** 2)


def predicted(motion: Motion, dt: float) -> Motion:
    """`motion` a time `dt` > 0 later."""
    push = (PUSH * _size(motion.place)) ** 2
    place = motion.place + motion.speed * dt
    speed = motion.speed.copy()
    shrunk = place[:, 2:] < motion.place[:, 2:] / 2  # a size on its way to nothing is noise: hold it
    place[:, 2:] = np.where(shrunk, motion.place[:, 2:], place[:, 2:])
    speed[:, 2:] = np.where(shrunk, 0, speed[:, 2:])
    return Motion(
        place,
        speed,
        motion.pp + 2 * dt * motion.pv + dt**2 * motion.vv + push * dt**3 / 3,
        motion.pv + dt * motion.vv + push * dt**2 / 2,
        motion.vv + push * dt,
    )


def surprise(motion: Motion, boxes: Boxes) -> Columns:
    """N filters, (M, 4) x1 y1 x2 y2 -> (N, M) squared Mahalanobis distance of the centres, a chi-square of 2."""
    seen = _places(boxes)
    size = np.maximum(_size(motion.place)[:, None], _size(seen)[None])  # (N, M, 1)
    spread = motion.pp[:, None, :2] + (SIGHT * size) ** 2  # (N, M, 2)
    return np.asarray(((seen[None, :, :2] - motion.place[:, None, :2]) ** 2 / spread).sum(axis=-1))


def corrected(motion: Motion, boxes: Boxes) -> Motion:
    """N filters and what was seen of each, (N, 4) x1 y1 x2 y2 -> N filters."""
    seen = _places(boxes)
    spread = motion.pp + (SIGHT * _size(seen)) ** 2
    gain, push = motion.pp / spread, motion.pv / spread
    gap = seen - motion.place
    place = motion.place + gain * gap
    place[:, 2:] = np.maximum(place[:, 2:], 1e-3)
    return Motion(
        place,
        motion.speed + push * gap,
        (1 - gain) * motion.pp,
        (1 - gain) * motion.pv,
        motion.vv - push * motion.pv,
    )


def joined(motion: Motion, other: Motion) -> Motion:
    """The filters of both, in order."""
    return Motion(
        np.concatenate([motion.place, other.place]),
        np.concatenate([motion.speed, other.speed]),
        np.concatenate([motion.pp, other.pp]),
        np.concatenate([motion.pv, other.pv]),
        np.concatenate([motion.vv, other.vv]),
    )


def replaced(motion: Motion, rows: NDArray[np.int64], other: Motion) -> Motion:
    """`motion` with `other` in `rows`."""
    order = np.arange(len(motion.place))
    order[rows] = len(order) + np.arange(len(rows))
    return joined(motion, other).chosen(order)
