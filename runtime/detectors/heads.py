"""The types of detectors: by what each is recognised in the answer of its graph, and how its answer becomes boxes.

A function of `HEADS` gets the outputs of one picture in the order that its `match` found, and gives the vehicles in
pixels of the network's input, kinds as COCO's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.detectors.graph import Arrays
from vreid.runtime.detectors.pictures import SAME, Form
from vreid.runtime.records import Detections, Floats, Ints

STRIDES = ((8, 16, 32), (8, 16, 32, 64))  # of the grids whose cells are the rows of a YOLO
MOST_LISTED = 1000  # rows of a network that lists its detections instead of answering for every cell
_RAW = 8.0  # median of what YOLOX gives for a centre, in cells from its own: below; of pixels of the picture: above
_TWICE = 0.9  # IoU from which two boxes of a network without suppression of its own are one vehicle


@dataclass(frozen=True)
class Answer:
    """What a graph answered to one grey picture of `height` x `width`."""

    names: Sequence[str]
    arrays: Arrays
    height: int
    width: int


@dataclass(frozen=True)
class Match:
    """Which outputs a type reads, in its order, and how many classes it has there; None: the answer does not show it."""

    outputs: tuple[int, ...]
    classes: int | None


@dataclass(frozen=True)
class Wanted:
    """What is looked for: class numbers `labels` (V,) with their COCO kinds `kinds` (V,), scores from `least` on."""

    labels: Ints
    kinds: Ints
    least: float
    height: int
    width: int


@dataclass(frozen=True)
class Head:
    """One type. `gives` says in words what its graph answers, `names` are outputs by which it is known from another type.

    `same`: IoU above which two of its boxes are one vehicle. `coco`: taken for COCO's 80 where nothing says otherwise. `first`:
    the score from which a box may begin a track, and `least`: from which it may go on with one, lower where scores run low.
    """

    gives: str
    match: Callable[[Answer, int], Match | None]  # the second: how many classes are known, 0 where none
    decode: Callable[[Arrays, Wanted], Detections]
    form: Form
    same: float = SAME
    names: frozenset[str] = frozenset()
    coco: bool = False
    first: float = 0.5
    least: float = 0.3
    batches: bool = True


def cells_of(height: int, width: int, strides: Sequence[int]) -> int:
    """The cells of all grids of a picture; 0 where a stride does not divide its sides."""
    if any(side % strides[-1] for side in (height, width)):
        return 0
    return sum((height // stride) * (width // stride) for stride in strides)


def grid_of(height: int, width: int) -> Floats:
    """(rows, 3): column, row and stride of every output row of YOLOX, stride by stride, row-major."""
    parts = []
    for stride in STRIDES[0]:
        y, x = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def yolox(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, rows, 5 + C): dx dy log-w log-h objectness and classes, not decoded. Ge et al., YOLOX: Exceeding YOLO Series in
    2021, arXiv 2107.08430, section 2.1 (decoupled, anchor-free head)."""
    output = _matrix(parts[0])
    rows, scores, kinds = _strongest(output[:, 4:5] * output[:, 5 + wanted.labels], wanted)
    grid = grid_of(wanted.height, wanted.width)[rows]
    centre = (output[rows, :2] + grid[:, :2]) * grid[:, 2:]
    size = np.exp(np.minimum(output[rows, 2:4], 20)) * grid[:, 2:]  # no vehicle is e^20 cells wide: keeps exp finite
    return Detections(_corners(centre, size), scores, kinds)


def yolov5(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, rows, 5 + C): cx cy w h in pixels, objectness and classes; also of v6 and v7, and of a decoded YOLOX."""
    output = _matrix(parts[0])
    rows, scores, kinds = _strongest(output[:, 4:5] * output[:, 5 + wanted.labels], wanted)
    return Detections(_corners(output[rows, :2], output[rows, 2:4]), scores, kinds)


def yolov8(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, 4 + C, rows): cx cy w h in pixels and classes; of v8, v9, v11 and v12. Or the same with the axes exchanged."""
    output = _matrix(parts[0])
    output = output.T if _by_channels(output.shape, wanted) else output
    rows, scores, kinds = _strongest(output[:, 4 + wanted.labels], wanted)
    return Detections(_corners(output[rows, :2], output[rows, 2:4]), scores, kinds)


def yolov10(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, rows, 6): x1 y1 x2 y2 in pixels, score, class; of v10, and of others exported with their suppression."""
    output = _matrix(parts[0])
    return _listed(output[:, :4], output[:, 4], output[:, 5], wanted)


def detr(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, Q, 4) cx cy w h in shares, (1, Q, C) logits, a sigmoid each. Zhao et al., DETRs Beat YOLOs on Real-time Object
    Detection, CVPR 2024 (RT-DETR); D-FINE and RF-DETR give the same."""
    boxes, logits = _matrix(parts[0]), _matrix(parts[1])
    probable = 1 / (1 + np.exp(-logits[:, wanted.labels].clip(-60, 60)))
    rows, scores, kinds = _strongest(probable, wanted)
    sides = np.asarray([wanted.width, wanted.height], np.float32)
    return Detections(_corners(boxes[rows, :2] * sides, boxes[rows, 2:4] * sides), scores, kinds)


def detr_post(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, Q, 4) x1 y1 x2 y2 in pixels, (1, Q) scores, (1, Q) classes: a DETR with its postprocessing in the graph."""
    return _listed(_matrix(parts[0]), parts[1].reshape(-1).astype(np.float32), parts[2].reshape(-1), wanted)


def ssd(parts: Arrays, wanted: Wanted) -> Detections:
    """(1, 1, N, 7): picture, class, score, x1 y1 x2 y2 in shares; OpenVINO's DetectionOutput. A picture of -1 ends it."""
    output = _matrix(parts[0])
    ends = np.flatnonzero(output[:, 0] < 0)
    output = output[: ends[0]] if len(ends) else output
    sides = np.asarray([wanted.width, wanted.height] * 2, np.float32)
    return _listed(output[:, 3:7] * sides, output[:, 2], output[:, 1], wanted)


def atss(parts: Arrays, wanted: Wanted) -> Detections:
    """(N, 5) x1 y1 x2 y2 in pixels and score, (N,) classes: detectors with their suppression in the graph, such as ATSS."""
    output = _matrix(parts[0])
    return _listed(output[:, :4], output[:, 4], parts[1].reshape(-1), wanted)


def _matrix(array: NDArray[np.generic]) -> Floats:
    """(..., rows, columns) of one picture -> (rows, columns) float32."""
    return np.asarray(array.reshape(array.shape[-2:]), np.float32)


def _corners(centre: Floats, size: Floats) -> Floats:
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)


def _strongest(scores: Floats, wanted: Wanted) -> tuple[Ints, Floats, Ints]:
    """(rows, V) scores of the vehicles' classes -> the rows that are vehicles, their scores and kinds."""
    best = scores.argmax(axis=1)
    top = scores[np.arange(len(scores)), best]
    rows = np.flatnonzero(top >= wanted.least)
    return rows, np.asarray(top[rows], np.float32), wanted.kinds[best[rows]]


def _listed(boxes: Floats, scores: Floats, classes: NDArray[np.generic], wanted: Wanted) -> Detections:
    """The vehicles of a list of detections."""
    labels = np.rint(classes.astype(np.float64)).astype(np.int64)
    is_one = labels[:, None] == wanted.labels  # (rows, V)
    rows = np.flatnonzero(is_one.any(axis=1) & (scores >= wanted.least))
    return Detections(boxes[rows], scores[rows], wanted.kinds[is_one[rows].argmax(axis=1)])


def _by_channels(shape: Sequence[int], wanted: Wanted) -> bool:
    return shape[1] in (cells_of(wanted.height, wanted.width, strides) for strides in STRIDES)


def _only(answer: Answer, dimensions: int) -> int | None:
    """The place of the only output of so many dimensions."""
    places = [place for place, array in enumerate(answer.arrays) if array.ndim == dimensions]
    return places[0] if len(places) == 1 else None


def _cell_counts(answer: Answer) -> set[int]:
    return {cells_of(answer.height, answer.width, strides) for strides in STRIDES} - {0}


def _rows_by_class(answer: Answer, classes: int, extra: int) -> tuple[int, int, int] | None:
    """(place, rows, classes) of an output (1, rows, extra + classes)."""
    place = _only(answer, 3)
    if place is None:
        return None
    _, rows, columns = answer.arrays[place].shape
    found = columns - extra
    return (place, rows, found) if found >= 1 and classes in (0, found) else None


def _is_raw(array: NDArray[np.generic]) -> bool:
    return float(np.median(np.abs(array[..., :2].astype(np.float32)))) < _RAW


def match_yolox(answer: Answer, classes: int) -> Match | None:
    """One row a cell, and centres that are no pixels."""
    found = _rows_by_class(answer, classes, 5)
    if found is None or found[1] != cells_of(answer.height, answer.width, STRIDES[0]):
        return None
    return Match((found[0],), found[2]) if _is_raw(answer.arrays[found[0]]) else None


def match_yolov5(answer: Answer, classes: int) -> Match | None:
    """Three rows a cell, or one whose centres are pixels."""
    found = _rows_by_class(answer, classes, 5)
    cells = _cell_counts(answer)
    if found is None or found[1] not in cells | {3 * count for count in cells}:
        return None
    return None if found[1] in cells and _is_raw(answer.arrays[found[0]]) else Match((found[0],), found[2])


def match_yolov8(answer: Answer, classes: int) -> Match | None:
    """A column a cell; a row a cell only where the number of classes is known, since that looks like YOLOX."""
    place = _only(answer, 3)
    if place is None:
        return None
    _, rows, columns = answer.arrays[place].shape
    cells = _cell_counts(answer)
    if columns in cells and rows > 4 and classes in (0, rows - 4):
        return Match((place,), rows - 4)
    return Match((place,), columns - 4) if classes and rows in cells and columns == 4 + classes else None


def match_yolov10(answer: Answer, classes: int) -> Match | None:
    """At most MOST_LISTED rows of six, the last of which is a whole number."""
    place = _only(answer, 3)
    if place is None:
        return None
    array = answer.arrays[place]
    listed = array.shape[1] <= MOST_LISTED and array.shape[2] == 6
    return Match((place,), None) if listed and bool((array[..., 5] == np.rint(array[..., 5])).all()) else None


def match_detr(answer: Answer, classes: int) -> Match | None:
    """Two outputs with a row each query. By name before shape: three classes and a background are four columns, too."""
    places = [place for place, array in enumerate(answer.arrays) if array.ndim == 3]
    if len(places) != 2:
        return None
    named = [place for place in places if answer.names[place] in ("dets", "pred_boxes", "boxes", "bboxes")]
    boxes = named or [place for place in places if answer.arrays[place].shape[2] == 4]
    if len(boxes) != 1:
        return None
    logits = next(place for place in places if place != boxes[0])
    (_, rows, four), (_, same, columns) = (answer.arrays[place].shape for place in (boxes[0], logits))
    known = classes in (0, columns, columns - 1)  # RF-DETR has a column of background
    return Match((boxes[0], logits), columns) if rows == same and four == 4 and known else None


def match_detr_post(answer: Answer, classes: int) -> Match | None:
    """Boxes, scores and classes as three outputs, known by their names or by whole numbers."""
    if len(answer.arrays) != 3:
        return None
    boxes = [place for place, array in enumerate(answer.arrays) if array.ndim >= 2 and array.shape[-1] == 4]
    if len(boxes) != 1:
        return None
    others = [place for place in range(3) if place != boxes[0]]
    if any(answer.arrays[place].size * 4 != answer.arrays[boxes[0]].size for place in others):
        return None
    labels = [place for place in others if "label" in answer.names[place] or "class" in answer.names[place]]
    labels = labels or [place for place in others if np.issubdtype(answer.arrays[place].dtype, np.integer)]
    if len(labels) != 1:
        return None
    return Match((boxes[0], next(place for place in others if place != labels[0]), labels[0]), None)


def match_ssd(answer: Answer, classes: int) -> Match | None:
    """One output of four dimensions with seven columns."""
    place = _only(answer, 4)
    fits = place is not None and len(answer.arrays) == 1 and answer.arrays[place].shape[1::2] == (1, 7)
    return Match((place,), None) if fits and place is not None else None


def match_atss(answer: Answer, classes: int) -> Match | None:
    """Two outputs: rows of five, and one number each."""
    if len(answer.arrays) != 2:
        return None
    boxes = [place for place, array in enumerate(answer.arrays) if array.ndim >= 2 and array.shape[-1] == 5]
    if len(boxes) != 1:
        return None
    other = 1 - boxes[0]
    fits = answer.arrays[other].size * 5 == answer.arrays[boxes[0]].size
    return Match((boxes[0], other), None) if fits else None


_YOLO = Form("middle", "rgb", "1")
_INTEL = Form("stretch", "bgr", "255")
HEADS = {
    "yolox": Head("N x cells x (5 + classes), not decoded", match_yolox, yolox, Form("corner", "bgr", "255")),
    "yolov5": Head("N x (cells or 3 cells) x (5 + classes), in pixels", match_yolov5, yolov5, _YOLO),
    "yolov8": Head("N x (4 + classes) x cells, in pixels", match_yolov8, yolov8, _YOLO),
    "yolov10": Head("N x rows x 6, in pixels", match_yolov10, yolov10, _YOLO, _TWICE, coco=True),
    "detr": Head(
        "boxes N x queries x 4 and logits N x queries x classes", match_detr, detr, Form("stretch", "rgb", "1"), _TWICE,
        frozenset({"pred_boxes", "logits"}),
    ),
    "rfdetr": Head(
        "dets N x queries x 4 and labels N x queries x classes", match_detr, detr, Form("stretch", "rgb", "imagenet"),
        _TWICE, frozenset({"dets", "labels"}),
    ),
    "detr-post": Head(
        "labels, boxes and scores of N x rows", match_detr_post, detr_post, Form("stretch", "rgb", "1"), _TWICE, coco=True
    ),
    "ssd": Head("1 x 1 x rows x 7", match_ssd, ssd, _INTEL, _TWICE, batches=False),
    "atss": Head("boxes rows x 5 and labels rows", match_atss, atss, _INTEL, _TWICE, batches=False, first=0.3, least=0.2),
}  # fmt: skip
