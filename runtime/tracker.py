"""The tracker: detections of one camera become tracks with ids.

Association in two steps, strong boxes first and weak ones for what is left, as in ByteTrack (Zhang et al., ByteTrack:
Multi-Object Tracking by Associating Every Detection Box, ECCV 2022, section 3). Differs: overlaps are of buffered
boxes, so that a small fast vehicle at 10 frames a second still meets its prediction; a pair must also be likely by the
Kalman filter; what drove out of the picture is not waited for; all times are seconds; appearance is not used.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import Refused
from vreid.runtime.records import Boxes, Detections, Ints, Tracks, no_detections, overlaps

Columns = NDArray[np.float64]  # (N, 4): cx cy w h

SIGHT = 0.04  # standard deviation of a detected box, in box sizes
START = 8.0  # of the unknown speed of a new track, in box sizes a second
PUSH = 2.0  # of the white acceleration, in box sizes a second over a square-root second


@dataclass(frozen=True)
class Motion:
    """N constant-velocity Kalman filters of boxes: `place` and `speed` (N, 4) of cx cy w h, and their covariance `pp`, `pv`,
    `vv` (N, 4).

    State and idea as in SORT (Bewley et al., Simple Online and Realtime Tracking, ICIP 2016, section 3.2). Differs: the
    state is centre, width and height each with its own speed, and the noise is white acceleration, so that a step may take
    any time. The noises of the four are independent, so each is a filter of two numbers and no matrix is ever inverted.
    """

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


def _buffered(boxes: Boxes, share: float | NDArray[np.floating]) -> Boxes:
    """(N, 4) -> (N, 4), each side moved out by `share` (a number or (N, 1)) of the box's own width or height.

    Buffered IoU: Yang et al., Hard to Track Objects with Irregular Motions and Similar Appearances, WACV 2023.
    """
    size = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    return np.concatenate([boxes[:, :2] - share * size, boxes[:, 2:] + share * size], axis=1)


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


def rested(motion: Motion) -> Motion:
    """`motion` of what stands, after any time: where it was, give or take, and its speed as unknown as at the start."""
    size = np.ones_like(motion.place) * _size(motion.place)
    none = np.zeros_like(motion.place)
    return Motion(motion.place, none, (STANDING_SPREAD * size) ** 2, none, (START * size) ** 2)


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


FIRST_STEP = 0.1  # seconds between frames while the clock has shown nothing yet
STANDING_AGE = 60.0  # seconds for which a standing track may go unseen behind what passes
STANDING_SPREAD = 0.25  # standard deviation of a standing track's place, in box sizes: half of it may be hidden
UNLIKELY = 9.21  # chi-square of 2 numbers: 99 of 100 true pairs lie below
RIM = 0.05  # a box within this share of its own size of the picture's rim touches it
DRIVING = 0.25  # box sizes a second: slower is noise
ENDED_KEPT = 10_000  # ended ids kept for a caller that never collects them


class Tracker:
    """The tracks of one camera. Memory is bounded by the boxes of a frame and by `max_age`.

    strong, weak: boxes scored from `strong` on may start tracks; those from `weak` on may continue confirmed ones.
    confirm_hits: sightings in a row after which a track has an id and is shown.
    max_age: seconds that a confirmed track may go unseen, and the longest step the clock may take at once; one that stands
    may for STANDING_AGE, so that what passes before it does not end it.
    buffer: share of its own size by which each side of a box is moved out before overlaps are taken; double for a track
    seen once, whose speed is unknown.
    least_overlap: of the moved-out boxes of a track and its detection.
    after: the last id that was given before this tracker.
    """

    def __init__(
        self,
        *,
        strong: float = 0.5,
        weak: float = 0.1,
        confirm_hits: int = 2,
        max_age: float = 1.0,
        buffer: float = 0.3,
        least_overlap: float = 0.2,
        after: int = 0,
    ) -> None:
        if not 0 <= weak <= strong <= 1:
            raise Refused(f"the tracker needs 0 <= weak <= strong <= 1, not weak {weak} and strong {strong}")
        if confirm_hits < 1 or not 0 < max_age < float("inf"):
            raise Refused("the tracker needs confirm_hits of at least 1 and a max_age above 0 seconds")
        if not 0 <= buffer <= 2 or not 0 < least_overlap < 1:
            raise Refused("the tracker needs a buffer from 0 to 2 and a least_overlap between 0 and 1")
        self._strong, self._weak, self._confirm_hits = strong, weak, confirm_hits
        self._max_age, self._buffer, self._least = max_age, buffer, least_overlap
        self._motion: Motion = started(np.zeros((0, 4)))
        self._ids: Ints = np.zeros(0, np.int64)  # 0: not confirmed yet
        self._hits: Ints = np.zeros(0, np.int64)
        self._unseen: NDArray[np.float64] = np.zeros(0)  # seconds since the last sighting
        self._first = no_detections()  # of each track
        self._births: dict[int, Detections] = {}
        self._time: float | None = None
        self._step = FIRST_STEP
        self.last_id = after
        self._ended: deque[int] = deque(maxlen=ENDED_KEPT)
        self.standing: set[int] = (
            set()
        )  # ids of tracks that stay where they are, also unseen; whoever watches them sets it

    def update(self, time: float, detections: Detections, picture: tuple[int, int] | None = None) -> Tracks:
        """Detections of the frame at `time` seconds -> those that belong to confirmed tracks, in the detections' order.

        A clock that stands still, runs backwards or is not finite counts as one usual step, one that jumps ahead as
        `max_age`. `picture` is its width and height: with it, a track that drives out at the rim ends there and then,
        and what drives in at the same place a moment later is not taken for it. Empty and not finite boxes are ignored.
        """
        dt = self._passed(time)
        stands = np.isin(self._ids, list(self.standing))
        if len(self._ids):
            still = self._motion.chosen(stands)
            self._motion = replaced(predicted(self._motion, dt), np.flatnonzero(stands), rested(still))
        self._unseen = self._unseen + dt
        boxes, scores = detections.boxes, detections.scores
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        strong = np.flatnonzero(whole & (scores >= self._strong))
        weak = np.flatnonzero(whole & (scores >= self._weak) & (scores < self._strong))
        confirmed, young = np.flatnonzero(self._ids > 0), np.flatnonzero(self._ids == 0)
        recent = self._unseen <= 1.5 * dt  # a weak box continues only what the frame before still showed

        owner = np.full(len(boxes), -1, np.int64)  # detection -> track row
        confirmed, strong = self._associate(confirmed, strong, boxes, owner)
        _, strong = self._associate(young, strong, boxes, owner)
        self._associate(confirmed[recent[confirmed]], weak, boxes, owner)

        seen = np.flatnonzero(owner >= 0)
        rows = owner[seen]
        self._motion = replaced(self._motion, rows, corrected(self._motion.chosen(rows), boxes[seen]))
        self._hits[rows] += 1
        self._unseen[rows] = 0.0
        missed = self._unseen > 0
        age = np.where(stands, max(STANDING_AGE, self._max_age), self._max_age)
        gone = (self._unseen > age) | (missed & (self._ids == 0))
        if picture is not None:
            gone |= missed & ~stands & self._leaving(*picture)
        self._end(gone, owner)
        self._start(strong, detections, owner)
        self._confirm()
        shown = np.flatnonzero(owner >= 0)
        shown = shown[self._ids[owner[shown]] > 0]
        return Tracks(self._ids[owner[shown]], boxes[shown], scores[shown], detections.kinds[shown])

    def births(self) -> dict[int, Detections]:
        """For the tracks that the last update confirmed at their second sighting: the first one, of the frame before."""
        return self._births

    def finished(self) -> list[int]:
        """The ids of confirmed tracks that ended since the last call."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def close(self) -> None:
        """End every track; `finished` gives their ids. The tracker may go on, with new ids."""
        self._end(np.ones(len(self._ids), np.bool_), np.zeros(0, np.int64))
        self._time = None

    def _passed(self, time: float) -> float:
        """Seconds since the last frame, never below a usual step when the clock is wrong, never above `max_age`."""
        if not np.isfinite(time):
            return self._step
        gap = self._step if self._time is None else time - self._time
        self._time = time
        if gap <= 0:
            return self._step
        gap = min(gap, self._max_age)
        self._step = gap if gap < self._max_age else self._step
        return gap

    def _associate(self, tracks: Ints, found: Ints, boxes: Boxes, owner: Ints) -> tuple[Ints, Ints]:
        """Pair track rows with detection rows, the sum of overlaps the largest; fills `owner`, returns what is left."""
        if not len(tracks) or not len(found):
            return tracks, found
        motion = self._motion.chosen(tracks)
        places = motion.boxes()
        near, far = (
            overlaps(_buffered(places, share), _buffered(boxes[found], share))
            for share in (self._buffer, 2 * self._buffer)
        )
        overlap = np.where(self._hits[tracks][:, None] > 1, near, far)
        likely = surprise(motion, boxes[found]) <= UNLIKELY
        gated = np.where(likely & (overlap >= self._least), overlap, 0.0)
        a, b = linear_sum_assignment(gated, maximize=True)
        good = gated[a, b] > 0
        owner[found[b[good]]] = tracks[a[good]]
        return np.delete(tracks, a[good]), np.delete(found, b[good])

    def _leaving(self, width: int, height: int) -> NDArray[np.bool_]:
        """Which tracks touch the picture's rim and move towards it; a vehicle parked there does not."""
        boxes, speed = self._motion.boxes(), self._motion.speed[:, :2]
        size = boxes[:, 2:] - boxes[:, :2]
        near = (boxes[:, :2] < RIM * size) & (speed < -DRIVING * size)
        far = (boxes[:, 2:] > np.array([width, height]) - RIM * size) & (speed > DRIVING * size)
        return np.asarray((near | far).any(axis=1))

    def _end(self, gone: NDArray[np.bool_], owner: Ints) -> None:
        """Drop the tracks of the mask `gone` (none of them is an owner) and move `owner` to the new rows."""
        ended = [int(track) for track in self._ids[gone] if track > 0]
        self._ended.extend(ended)
        self.standing.difference_update(ended)
        moved = np.cumsum(~gone) - 1
        owner[owner >= 0] = moved[owner[owner >= 0]]
        self._motion, self._ids = self._motion.chosen(~gone), self._ids[~gone]
        self._hits, self._unseen = self._hits[~gone], self._unseen[~gone]
        self._first = self._first.rows(~gone)

    def _start(self, found: Ints, detections: Detections, owner: Ints) -> None:
        first, kept = detections.rows(found), self._first
        owner[found] = len(self._ids) + np.arange(len(found))
        self._motion = joined(self._motion, started(first.boxes))
        self._ids = np.concatenate([self._ids, np.zeros(len(found), np.int64)])
        self._hits = np.concatenate([self._hits, np.ones(len(found), np.int64)])
        self._unseen = np.concatenate([self._unseen, np.zeros(len(found))])
        self._first = Detections(
            np.concatenate([kept.boxes, first.boxes]),
            np.concatenate([kept.scores, first.scores]),
            np.concatenate([kept.kinds, first.kinds]),
        )

    def _confirm(self) -> None:
        new = np.flatnonzero((self._ids == 0) & (self._hits >= self._confirm_hits))
        self._ids[new] = self.last_id + 1 + np.arange(len(new))
        self.last_id += len(new)
        second = new[self._hits[new] == 2]
        self._births = {int(self._ids[row]): self._first.rows(np.array([row])) for row in second}
