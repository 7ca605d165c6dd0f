"""Boxes as columns: overlaps and non-maximum suppression. A box is x1 y1 x2 y2 in pixels."""

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Detections, Floats, Ints

Boxes = NDArray[np.floating]


def overlaps(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """(N, 4), (M, 4) -> intersection over union (N, M); two empty boxes overlap by 0."""
    a, b = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]  # (N, 1, 4), (1, M, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(sides, 0, None), axis=-1)  # (N, M)
    union = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - shared
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


def buffered(boxes: Boxes, share: float | NDArray[np.floating]) -> Boxes:
    """(N, 4) -> (N, 4), each side moved out by `share` (a number or (N, 1)) of the box's own width or height.

    Buffered IoU: Yang et al., Hard to Track Objects with Irregular Motions and Similar Appearances, WACV 2023.
    """
    size = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    return np.concatenate([boxes[:, :2] - share * size, boxes[:, 2:] + share * size], axis=1)


def strongest(boxes: Floats, scores: Floats, iou: float) -> Ints:
    """Greedy non-maximum suppression: (N, 4), (N,) -> rows kept, scores falling; of equal scores the first stays."""
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][overlaps(boxes[left[:1]], boxes[left[1:]])[0] <= iou]
    return np.asarray(kept, np.int64)
