"""The records that flow through a run, and its boxes compared. A track is one camera's, a vehicle is the world's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vreid.models.preprocess import Image

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Boxes = NDArray[np.floating]  # (N, 4) x1 y1 x2 y2 in pixels
_KINDS = {2: "car", 7: "truck", 5: "bus", 3: "motorcycle"}
KIND_NAMES = (*_KINDS.values(), "vehicle")


@dataclass(frozen=True)
class Frame:
    """One picture of one camera; `index` counts from 0, `time` is in seconds on the source's own clock."""

    camera: str
    index: int
    time: float
    image: Image  # (H, W, 3) uint8 BGR


@dataclass(frozen=True)
class Detections:
    """Vehicles in one frame, as columns: boxes (N, 4) x1 y1 x2 y2 in pixels, scores (N,), kinds (N,) COCO class or -1."""

    boxes: Floats
    scores: Floats
    kinds: Ints

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self, which: Ints | NDArray[np.bool_]) -> "Detections":
        """The rows that `which` (a mask or row numbers) picks."""
        return Detections(self.boxes[which], self.scores[which], self.kinds[which])


@dataclass(frozen=True)
class Tracks:
    """Detections of one frame that belong to confirmed tracks: ids (N,) count from 1 within one camera."""

    ids: Ints
    boxes: Floats
    scores: Floats
    kinds: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class FinishedTrack:
    """One finished track, as the gallery and the sinks get it."""

    camera: str
    track: int
    first_frame: int
    last_frame: int
    first_time: float
    last_time: float
    kind: int  # COCO class or -1
    feature: Floats  # (D,) unit length: the quality-weighted mean of its embedded crops
    crops: int  # how many were embedded
    quality: float  # of the best crop, 0-1
    picture: Image  # the best crop
    seen: float = 0.0  # last_time as seconds since 1970
    plate: str | None = None  # what an outside reader of licence plates read, if there is one
    zones: tuple[str, ...] = ()  # those of its camera that it crossed
    kept: str | None = None  # the file with its kept picture, in the folder of kept pictures


@dataclass(frozen=True)
class Match:
    """What the gallery has for a feature: the vehicle, the cosine score (-inf: nobody to compare), and whether that passes
    `threshold`, which comes from where `calibrated` says: "manifest", "site (1200 pairs)". `maybe` is another vehicle that it
    may be: for a known one the second that passes too, else the nearest that misses the threshold by little. `withheld` is why
    an unknown one was not enrolled that would have been: "alarm", "quality" (runtime/guards.py)."""

    vehicle: int | None
    name: str | None
    score: float
    known: bool
    threshold: float = 1.0
    calibrated: str = "manifest"
    maybe: int | None = None
    withheld: str | None = None
    sighting: int = 0  # what was written down of it; 0: nothing

    @property
    def answer(self) -> Literal["known", "doubtful", "new", "withheld"]:
        """For people: whether the gallery knows it, somebody should look, it was not there before, or it is not to be judged."""
        if self.maybe is not None:
            return "doubtful"
        return "known" if self.known else "new" if self.withheld is None else "withheld"


@dataclass(frozen=True)
class TrackSoFar:
    """A track that is still open: what a finished one would be if it ended now, its last box (4,) x1 y1 x2 y2, whether it has
    shown so much more that its vehicle is worth looking for, and enough that it may be a new one if nobody is found. `trace` is
    there when a standing vehicle is due: when it has stood for long enough, and from time to time afterwards."""

    track: FinishedTrack
    box: Floats
    search: bool
    stranger: bool = True
    trace: "Trace | None" = None


EventState = Literal["appeared", "identified", "revised", "stationary", "left"]


@dataclass(frozen=True)
class TrackEvent:
    """What has become of a track, for those who follow it: `match` is what is known of its vehicle now, `final` if it stays.
    `key` is equal in all events of one track and in no other's, those of earlier runs included."""

    key: str
    state: EventState
    track: FinishedTrack
    match: Match
    box: Floats
    final: bool


@dataclass(frozen=True)
class Notice:
    """What an operator wants to know besides sightings: an alarm of too many new vehicles that begins or is over, the state of a
    camera, an alert of the watch list. `at` is in seconds since 1970, `fields` are those of the message; `keep` if it holds until
    the next one of the camera."""

    about: Literal["alarms", "cameras", "alerts"]
    camera: str
    at: float
    fields: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False


def no_detections() -> Detections:
    """Detections of an empty frame."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Trace:
    """Where a track went, as columns: frames (T,) from 0, boxes (T, 4) x1 y1 x2 y2, scores (T,)."""

    frames: Ints
    boxes: Floats
    scores: Floats


def kind_name(kind: int) -> str:
    """COCO class -> its name, "vehicle" where there is none or it is not that of a vehicle."""
    return _KINDS.get(int(kind), "vehicle")


def kind_number(name: str | None) -> int:
    """The name of a kind -> its COCO class, -1 where it has none."""
    return next((kind for kind, known in _KINDS.items() if known == name), -1)


def areas_of(boxes: NDArray[Any]) -> NDArray[Any]:
    """(N, 4) -> (N,)."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def shared_areas(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """(N, 4), (M, 4) -> the area that each two share (N, M)."""
    a, b = boxes[:, None], others[None]  # (N, 1, 4), (1, M, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(sides.clip(0, None).prod(axis=-1))


def overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """(N, 4), (M, 4) -> intersection over union (N, M); two empty boxes overlap by 0."""
    a, b = boxes.astype(np.float64), others.astype(np.float64)
    shared = shared_areas(a, b)
    union = areas_of(a)[:, None] + areas_of(b)[None] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float64).tiny))


def inside(found: Detections, width: int, height: int) -> Detections:
    """The detections whose boxes lie in a picture of `width` x `height` pixels, clipped to it.

    Boxes that are not finite, have no area or lie outside of the picture, and those with a score that is not finite, are
    no vehicles and left out.
    """
    with np.errstate(invalid="ignore"):
        boxes = found.boxes.clip([0, 0, 0, 0], [width, height, width, height]).astype(np.float32)
        good = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    good &= np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    return Detections(boxes[good], found.scores[good], found.kinds[good])


def cut_out(image: Image, box: Floats, margin: float) -> Image:
    """(H, W, 3) and a box x1 y1 x2 y2 -> its pixels, clipped to the picture; never empty."""
    height, width = image.shape[:2]
    grow = margin * (box[2:] - box[:2])
    left, top = np.clip(np.floor(box[:2] - grow), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(box[2:] + grow), (left + 1, top + 1), (width, height)).astype(int)
    return image[top:bottom, left:right]
