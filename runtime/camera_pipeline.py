"""One camera's part of a run: its tracker, its open tracks, and what each has gathered."""

import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.records import Detections, FinishedTrack, Floats, Frame, Trace, TrackSoFar, cut_out
from vreid.runtime.regions import admitted, zones_crossed
from vreid.runtime.session import Regions
from vreid.runtime.standing import Place, StandingRules
from vreid.runtime.tracker import Tracker

_EDGE = 2.0  # pixels from the frame's border at which a vehicle counts as cut off


@dataclass(frozen=True)
class CropRules:
    """A crop is embedded when its track has none, when `period` seconds have passed, or when it is `better` times as good
    as the best so far; from `most` crops on, as of a vehicle parked for days, only when it is better. `margin` grows the
    box by a share of its sides; smaller boxes than `least` pixels are never embedded."""

    period: float = 0.3
    better: float = 1.25
    margin: float = 0.0
    least: int = 16
    most: int = 100


@dataclass(frozen=True)
class SearchRules:
    """The vehicle of an open track is looked for when its crops weigh `least` in all, the sum of the squares of their qualities,
    and again whenever they weigh `grown` times as much as the last time. From `stranger` on it may be called a new vehicle."""

    least: float = 0.2
    grown: float = 1.5
    stranger: float = 0.5


EMBEDDING = {"smart": CropRules(), "every": CropRules(period=0.0, most=sys.maxsize)}


def ceiling_of(crop: Image, box: Floats, frame: tuple[int, int]) -> float:
    """The quality that the crop would have if it were perfectly sharp: costs nothing, since no pixel is looked at."""
    size = min(1.0, float(np.sqrt(crop.shape[0] * crop.shape[1])) / 96)
    width, height = frame
    whole = box[0] > _EDGE and box[1] > _EDGE and box[2] < width - _EDGE and box[3] < height - _EDGE
    return size * (1.0 if whole else 0.3)


def detail_of(crop: Image) -> float:
    """How sharp it is, whatever its size: the variance of the Laplacian at 64 x 64."""
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


def quality_of(crop: Image, box: Floats, frame: tuple[int, int]) -> float:
    """0-1 of a crop with `box` in a frame of (width, height): size, sharpness, and not being cut off by the border.

    Size saturates at 96 pixels (geometric mean of the sides); sharpness is the Laplacian's variance at 64 x 64, so that
    it does not depend on size.
    """
    detail = detail_of(crop)
    return ceiling_of(crop, box, frame) * (0.5 + 0.5 * detail / (detail + 200))


def deserves(rules: CropRules, box: Floats, embedded: int, since: float, quality: float, best: float) -> bool:
    """Whether a crop is embedded; `since` is the time in seconds since the track's last embedded crop.

    Rises with `quality`: what is not deserved at the ceiling is not deserved at all.
    """
    if min(box[2] - box[0], box[3] - box[1]) < rules.least:
        return False
    due = embedded == 0 or (since >= rules.period and embedded < rules.most)
    return due or quality > rules.better * best


LONGEST_TRACE = 50_000  # boxes kept of one track in files: beyond, every second one
LONGEST_LIVE = 4096  # of a live camera, before which vehicles are parked for days


@dataclass
class OpenTrack:
    """What a track has gathered so far, 28 bytes a box."""

    first: tuple[int, float]  # frame and time in seconds
    last: tuple[int, float]
    frames: "array[int]" = field(default_factory=lambda: array("q"))
    boxes: "array[float]" = field(default_factory=lambda: array("f"))  # x1 y1 x2 y2, x1 ...
    scores: "array[float]" = field(default_factory=lambda: array("f"))
    box: Floats = field(default_factory=lambda: np.zeros(4, np.float32))  # the last
    kinds: Counter[int] = field(default_factory=Counter)
    total: Floats | None = None  # (D,) sum of features weighted by the square of their quality
    crops: int = 0
    last_crop: float = -np.inf
    best: float = 0.0
    picture: Image | None = None
    weight: float = 0.0  # of the crops, the sum of their quality's squares
    searched: float = 0.0  # the weight when its vehicle was last looked for
    far: bool = False  # it has got as far as the detector wants
    reported: bool = False  # those who follow know of it
    score: float = 0.0  # of the last box
    seen: int = 0  # boxes so far
    counted: bool = False  # among the new vehicles
    stride: int = 1  # one box of so many is kept
    place: Place = field(default_factory=Place)
    stood: float = 0.0  # for how long it has been where it is, in seconds
    sign: float | None = None  # when it was last said that it stands

    def add(self, index: int, time: float, box: Floats, score: float, kind: int, most: int) -> None:
        """One more sighting; at most `most` boxes are kept."""
        self.last, self.box, self.score = (index, time), box, score
        self.kinds[kind] += 1
        self.stood = self.place.see(time, box)
        if self.seen % self.stride == 0:
            self.frames.append(index)
            self.boxes.extend(box.tolist())
            self.scores.append(score)
        self.seen += 1
        if len(self.frames) > most:
            self.frames, self.scores, self.stride = self.frames[::2], self.scores[::2], 2 * self.stride
            self.boxes = array("f", np.array(self.boxes, np.float32).reshape(-1, 4)[::2].tobytes())

    def fill(self, passed: Sequence[int], index: int, box: Floats, score: float) -> None:
        """The frames `passed` since the last sighting, which the detector did not look at: on the straight line to `box` in
        frame `index`; not where only one box of several is kept."""
        if self.stride > 1:
            return
        began, start = self.frames[-1], np.array(self.boxes[-4:], np.float32)
        for between in passed:
            self.frames.append(between)
            self.boxes.extend((start + (between - began) / (index - began) * (box - start)).tolist())
            self.scores.append(min(score, self.scores[-1]))


@dataclass(frozen=True)
class CropRequest:
    """A crop of a track that is to be embedded."""

    track: int
    crop: Image
    quality: float
    time: float


class CameraPipeline:
    """Tracks the vehicles of one camera; hands out crops to embed and takes their features back."""

    def __init__(
        self,
        camera: str,
        rules: CropRules,
        tracker: Tracker | None = None,
        least_travel: float = 0.0,
        standing: StandingRules | None = None,
        began: float = 0.0,
        longest: int = LONGEST_TRACE,
        regions: Regions | None = None,
    ) -> None:
        """`began` is when the camera's clock was at 0, in seconds since 1970; of a track at most `longest` boxes are kept.
        `regions` may be exchanged at any time."""
        self.camera, self.rules = camera, rules
        self.standing, self.longest = standing or StandingRules(), longest
        self.begin(tracker or Tracker(), least_travel, began)
        self.regions = regions or Regions()
        self.size = (1, 1)  # of the last frame
        self.open: dict[int, OpenTrack] = {}
        self.frames = self.ended = self.embedded = self.passed_over = 0
        self._due: set[int] = set()  # tracks of which it is to be said that they stand
        self._learnt: set[int] = set()  # tracks that got a feature since `so_far` was called
        self._fresh: set[int] = set()  # tracks that got one since `new_vehicles` was called

    def begin(self, tracker: Tracker, least_travel: float, began: float) -> None:
        """Begin anew after `close`, with another source or detector; the counts go on."""
        self.tracker, self.least_travel, self.began = tracker, least_travel, began
        self.before: tuple[int, float] | None = None  # frame and time of the frame before
        self.passed: list[int] = []  # frames since then that the detector did not look at

    def see(self, frame: Frame, detections: Detections) -> list[CropRequest]:
        """Track the vehicles of a frame; returns the crops worth embedding (copies: the frame may be let go)."""
        self.frames += 1
        self.size = size = frame.image.shape[1], frame.image.shape[0]  # a live camera may come back with another
        tracks = self.tracker.update(frame.time, admitted(self.regions, detections, size), size)
        requests: list[CropRequest] = []
        for number, birth in self.tracker.births().items():
            if self.before is not None:  # a track is shown from its second sighting on, and finished with its first
                self.open[number] = OpenTrack(self.before, self.before)
                self.open[number].add(
                    *self.before, birth.boxes[0], float(birth.scores[0]), int(birth.kinds[0]), self.longest
                )
        before, passed = self.before, self.passed
        self.before, self.passed = (frame.index, frame.time), []
        for number, box, score, kind in zip(
            tracks.ids.tolist(), tracks.boxes, tracks.scores, tracks.kinds, strict=True
        ):
            now = frame.index, frame.time
            track = self.open.get(number) or self.open.setdefault(number, OpenTrack(now, now))
            if passed and track.frames and track.last == before:
                track.fill(passed, frame.index, box, float(score))
            track.add(*now, box, float(score), int(kind), self.longest)
            self._watch(number, track)
            crop, since = cut_out(frame.image, box, self.rules.margin), frame.time - track.last_crop
            if not deserves(self.rules, box, track.crops, since, ceiling_of(crop, box, size), track.best):
                continue  # sharpness costs more than all else here
            quality = quality_of(crop, box, size)
            if deserves(self.rules, box, track.crops, since, quality, track.best):
                requests.append(CropRequest(number, crop.copy(), quality, frame.time))
        self.embedded += len(requests)
        self.passed_over += len(tracks) - len(requests)
        return requests

    def pass_by(self, frame: Frame) -> None:
        """A frame that the detector did not look at; tracks that are seen before and after it get a box in it then."""
        self.frames += 1
        self.passed.append(frame.index)

    def learn(self, request: CropRequest, feature: Floats) -> None:
        """Add the (D,) feature of a crop to its track, weighted by the square of its quality."""
        track = self.open.get(request.track)
        if track is None:
            return
        weighted = np.asarray(feature * max(request.quality, 1e-3) ** 2, np.float32)
        track.total = weighted if track.total is None else track.total + weighted
        track.weight += max(request.quality, 1e-3) ** 2
        track.crops += 1
        self._learnt.add(request.track)
        self._fresh.add(request.track)
        track.last_crop = request.time
        if track.picture is None or request.quality > track.best:
            track.best, track.picture = request.quality, request.crop

    def new_vehicles(self) -> int:
        """How many open tracks have become a vehicle's since the last call."""
        tracks = [self.open[number] for number in self._fresh & self.open.keys()]
        new = [track for track in tracks if not track.counted and self._counts(track)]
        for track in new:
            track.counted = True
        self._fresh.clear()
        return len(new)

    def _watch(self, number: int, track: OpenTrack) -> None:
        """Let the tracker know whether a vehicle stands, and note that this is due to be said."""
        if track.stood < self.standing.after:
            self.tracker.standing.discard(number)
            return
        self.tracker.standing.add(number)
        if track.sign is None or track.last[1] - track.sign >= self.standing.sign:
            self._due.add(number)

    def standing_now(self) -> list[TrackSoFar]:
        """The vehicles that have just stood for long enough, and those of which a sign of life is due."""
        found = []
        for number in sorted(self._due & self.open.keys()):
            track = self.open[number]
            if self._counts(track):
                track.sign, track.reported, track.searched = track.last[1], True, np.inf
                found.append(TrackSoFar(self._sighting(number, track), track.box, False, True, _trace(track)))
        self._due.clear()
        return found

    def so_far(self, rules: SearchRules) -> list[TrackSoFar]:
        """The open tracks that have just got as far as a finished one has to, and those whose evidence has grown."""
        found = []
        for number in sorted(self._learnt & self.open.keys()):
            track = self.open[number]
            search = track.weight >= max(rules.least, rules.grown * track.searched)
            if (search or not track.reported) and self._counts(track):
                track.reported, track.searched = True, track.weight if search else track.searched
                found.append(
                    TrackSoFar(self._sighting(number, track), track.box, search, track.weight >= rules.stranger)
                )
        self._learnt.clear()
        return found

    def finished(self) -> list[tuple[FinishedTrack, Trace]]:
        """The tracks that ended since the last call, were embedded at least once and got as far as the detector wants."""
        done = []
        for number in self.tracker.finished():
            track = self.open.pop(number, None)
            if track is not None and self._counts(track):
                self.ended += 1
                done.append((self._sighting(number, track), _trace(track)))
        return done

    def _counts(self, track: OpenTrack) -> bool:
        """Whether a track is a vehicle's: embedded, and as far as the detector wants."""
        if track.total is None:
            return False
        track.far = track.far or self.least_travel <= 0 or travel_of(track) >= self.least_travel
        return track.far

    def close(self) -> list[tuple[FinishedTrack, Trace]]:
        """End every track."""
        self.tracker.close()
        return self.finished()

    def _sighting(self, number: int, track: OpenTrack) -> FinishedTrack:
        if track.total is None or track.picture is None:
            raise ValueError("a track without an embedded crop has no sighting")
        length = float(np.linalg.norm(track.total))
        boxes = np.array(track.boxes, np.float32).reshape(-1, 4)
        return FinishedTrack(
            camera=self.camera,
            track=number,
            first_frame=track.first[0],
            last_frame=track.last[0],
            first_time=track.first[1],
            last_time=track.last[1],
            kind=max(track.kinds, key=lambda kind: (track.kinds[kind], -kind)),
            feature=np.asarray(track.total / max(length, 1e-12), np.float32),
            crops=track.crops,
            quality=track.best,
            picture=track.picture,
            seen=self.began + track.last[1],
            zones=zones_crossed(self.regions, boxes, self.size),
        )


def travel_of(track: OpenTrack) -> float:
    """How far the middle of the box ever got from where it began, in sides of the largest box (geometric mean)."""
    boxes = np.array(track.boxes, np.float32).reshape(-1, 4)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return float(np.linalg.norm(middles - middles[0], axis=1).max() / max(float(sides.max()), 1e-6))


def _trace(track: OpenTrack) -> Trace:
    """What was kept, and the last box."""
    frames, boxes = np.array(track.frames, np.int64), np.array(track.boxes, np.float32).reshape(-1, 4)
    scores = np.array(track.scores, np.float32)
    if track.last[0] == frames[-1]:
        return Trace(frames, boxes, scores)
    return Trace(
        np.append(frames, track.last[0]),
        np.concatenate([boxes, track.box[None]]),
        np.append(scores, np.float32(track.score)),
    )
