"""Motion: whatever moves before a fixed camera is a vehicle. No network, no download, one core.

Background subtraction by a mixture of Gaussians per pixel: Zivkovic, Improved Adaptive Gaussian Mixture Model for
Background Subtraction, ICPR 2004 (OpenCV MOG2). Vehicles that touch come out as one box; one that stands still fades.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.detectors.table import numbers_of
from vreid.runtime.records import Detections, Floats, Frame, areas_of, no_detections, shared_areas

HISTORY = 200  # frames
THRESHOLD = 25.0  # squared Mahalanobis distance
LIT = 200  # MOG2 marks the foreground 255 and shadows 127
TALL = 540  # the picture height for which the kernels below are meant
OPENED, CLOSED = 3, 13
STEADY = 0.06  # a change of light below this is left to the background
NESTED = 0.8  # a share of a box's area
LEAST_TRAVEL = 0.35  # sides of its own box: exposure and moving shadows light up places where nothing moves
FLOODED = 0.6  # a share of the picture that changes at once is a new light or another view, not vehicles


@dataclass
class _View:
    """What is known of one camera; `frames` counts those since its background was last begun."""

    background: cv2.BackgroundSubtractor
    shape: tuple[int, ...]
    light: float  # the usual median of the picture
    frames: int = 0


class MotionDetector:
    """One background per camera. `min_area`: share of the picture; `warm_up`: frames that only teach the background."""

    first_score = 0.5
    least_travel = LEAST_TRAVEL
    kinds = frozenset({-1})

    def __init__(self, min_score: float, min_area: float, warm_up: int) -> None:
        self._min_score = min_score
        self._min_area = min_area
        self._warm_up = warm_up
        self._views: dict[str, _View] = {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Frames of one camera come in order. kinds are -1; scores 0.5 plus half the share of the box that moves."""
        return [self._moving(frame) for frame in frames]

    def forget(self, camera: str) -> None:
        """Learn its background anew."""
        self._views.pop(camera, None)

    def _moving(self, frame: Frame) -> Detections:
        view = self._views.get(frame.camera)
        if view is None or view.shape != frame.image.shape:
            background = cv2.createBackgroundSubtractorMOG2(HISTORY, THRESHOLD, detectShadows=True)
            view = self._views[frame.camera] = _View(background, frame.image.shape, _light(frame.image))
        # A white lorry makes the camera darken all the rest: undo that before it looks like motion.
        light = _light(frame.image)
        gain = min(max(view.light / light, 0.5), 2.0)
        view.light += (light - view.light) / HISTORY
        even = frame.image if abs(gain - 1) < STEADY else cv2.convertScaleAbs(frame.image, alpha=gain)
        # MOG2's own rate is high in its first frames and would swallow a slow vehicle.
        rate = -1.0 if view.frames < self._warm_up else 1 / HISTORY
        mask = view.background.apply(even, learningRate=rate)
        view.frames += 1
        if view.frames <= self._warm_up:
            return no_detections()
        moving = np.where(np.asarray(mask) >= LIT, np.uint8(255), np.uint8(0))
        if np.count_nonzero(moving) > FLOODED * moving.size:
            return no_detections()
        return self._blobs(moving)

    def _blobs(self, moving: Image) -> Detections:
        """(H, W) uint8, 0 or 255 -> the boxes of its blobs."""
        scale = moving.shape[0] / TALL
        moving = np.asarray(cv2.morphologyEx(moving, cv2.MORPH_OPEN, _disc(OPENED * scale)), np.uint8)
        moving = np.asarray(cv2.morphologyEx(moving, cv2.MORPH_CLOSE, _disc(CLOSED * scale)), np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(moving, connectivity=8)
        stats = stats[1:]  # row 0 is the background
        areas = stats[:, cv2.CC_STAT_AREA]
        stats = stats[areas >= self._min_area * moving.size]
        corner, size = stats[:, :2], stats[:, 2:4]
        boxes: Floats = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        filled = stats[:, cv2.CC_STAT_AREA] / np.maximum(1, size.prod(axis=1))
        scores: Floats = (0.5 + 0.5 * filled).astype(np.float32)
        kept = (scores >= self._min_score) & ~_nested(boxes)
        return Detections(boxes[kept], scores[kept], np.full(int(kept.sum()), -1, np.int64))


def _nested(boxes: Floats) -> NDArray[np.bool_]:
    """(N, 4) -> (N,): which boxes lie for the most part in a larger one, as a windscreen's parts do."""
    areas = areas_of(boxes)
    inside = shared_areas(boxes, boxes) > NESTED * areas[:, None]  # (N, N): row in column
    return np.asarray((inside & (areas[:, None] < areas[None])).any(axis=1))


def _light(image: Image) -> float:
    """The median of a picture's pixels, never 0."""
    return max(1.0, float(np.median(image[::8, ::8])))


def _disc(size: float) -> Image:
    odd = max(3, 2 * round((size - 1) / 2) + 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd, odd)), np.uint8)


def open_motion(target: str, options: Mapping[str, str], *, threads: int, min_score: float | None) -> MotionDetector:
    """Options: `min_area` (share of the picture) and `warm_up` (frames)."""
    if target:
        raise Refused(f"the detector 'motion' takes no file, not '{target}'; write motion or motion:?warm_up=20")
    values = numbers_of("motion", options, {"min_area": (0.0005, 0.0, 1.0), "warm_up": (5, 0, 10_000)})
    return MotionDetector(min_score if min_score is not None else 0.0, values["min_area"], int(values["warm_up"]))
