"""YOLOX: a vehicle detector from an ONNX file, on the CPU, with tiles for small vehicles in big pictures.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430, section 2.1 (decoupled, anchor-free head; grids of
stride 8, 16 and 32). The graph's output is not decoded: (N, rows, 85): dx dy log-w log-h objectness, 80 COCO classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.detectors.table import numbers_of
from vreid.runtime.engines.onnxruntime import EXACT_INT8, FAULTS
from vreid.runtime.records import Detections, Floats, Frame, Ints, overlaps

STRIDES = (8, 16, 32)
_VEHICLES = np.array([2, 3, 5, 7], np.int64)  # COCO: car, motorcycle, bus, truck
_COLUMNS = 85
SAME = 0.45  # IoU from which two boxes are one vehicle
_GREY = 114  # fills the letterbox
SHARED = 0.25  # share of a tile's side that its neighbour sees too
_EDGE = 0.02  # share of a tile's side within which a box counts as cut off


@dataclass(frozen=True)
class Tile:
    """A part of a picture for the network: its sides in pixels, and which of them (`inner`) cut through the picture."""

    left: int
    top: int
    right: int
    bottom: int
    inner: tuple[bool, bool, bool, bool]


def tiles_of(height: int, width: int, tiles: int) -> list[Tile]:
    """The whole picture, then tiles x tiles parts of it that overlap by SHARED of their side; 1: the whole only."""
    found = [Tile(0, 0, width, height, (False, False, False, False))]
    if tiles > 1:
        tall, wide = (side / (tiles - (tiles - 1) * SHARED) for side in (height, width))
        for row in range(tiles):
            for column in range(tiles):
                left, top = round(column * wide * (1 - SHARED)), round(row * tall * (1 - SHARED))
                right, bottom = min(width, round(left + wide)), min(height, round(top + tall))
                inner = (column > 0, row > 0, column < tiles - 1, row < tiles - 1)
                found.append(Tile(left, top, right, bottom, inner))
    return found


def letterboxed(image: Image, height: int, width: int) -> tuple[Floats, float]:
    """(h, w, 3) BGR -> (3, height, width) float32 0..255, the picture at the top left; and its scale."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32), scale


def grid_of(height: int, width: int) -> Floats:
    """(rows, 3): column, row and stride of every output row, stride by stride, row-major."""
    parts = []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def decoded_boxes(output: Floats, grid: Floats, min_score: float) -> Detections:
    """(rows, 85) of one picture -> vehicles in letterbox pixels, not yet suppressed; score = objectness x class."""
    scores = output[:, 4:5] * output[:, 5 + _VEHICLES]  # (rows, 4)
    best = scores.argmax(axis=1)
    top = scores[np.arange(len(scores)), best]
    rows = np.flatnonzero(top >= min_score)
    stride = grid[rows, 2:3]
    centre = (output[rows, :2] + grid[rows, :2]) * stride
    half = np.exp(np.minimum(output[rows, 2:4], 20)) * stride / 2  # no vehicle is e^20 cells wide: keeps exp finite
    return Detections(np.concatenate([centre - half, centre + half], axis=1), top[rows], _VEHICLES[best[rows]])


def strongest(boxes: Floats, scores: Floats, iou: float) -> Ints:
    """Greedy non-maximum suppression: (N, 4), (N,) -> rows kept, scores falling; of equal scores the first stays."""
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        kept.append(int(left[0]))
        left = left[1:][overlaps(boxes[left[:1]], boxes[left[1:]])[0] <= iou]
    return np.asarray(kept, np.int64)


def placed(found: Detections, tile: Tile, scale: float) -> Detections:
    """Detections in a tile's letterbox -> in pixels of the picture, clipped to the tile.

    Those cut off by its inner sides are left out: a neighbour or the whole picture shows these vehicles whole.
    """
    boxes = found.boxes / np.float32(scale) + np.asarray([tile.left, tile.top] * 2, np.float32)
    margin_x, margin_y = _EDGE * (tile.right - tile.left), _EDGE * (tile.bottom - tile.top)
    cut = np.zeros(len(boxes), np.bool_)
    for side, (limit, margin) in enumerate(
        [(tile.left, margin_x), (tile.top, margin_y), (-tile.right, margin_x), (-tile.bottom, margin_y)]
    ):
        if tile.inner[side]:
            cut |= (boxes[:, side] if side < 2 else -boxes[:, side]) < limit + margin
    boxes = boxes.clip([tile.left, tile.top] * 2, [tile.right, tile.bottom] * 2).astype(np.float32)
    good = ~cut & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Detections(boxes[good], found.scores[good], found.kinds[good])


MIN_SCORE = 0.3
FIRST, LEAST_FIRST = 0.5, 0.3  # a lower --min-score wants tracks of weaker boxes, but not of noise


class YoloxDetector:
    """A session and its grid; no state of a camera."""

    least_travel = 0.0

    def __init__(self, session: onnxruntime.InferenceSession, path: Path, min_score: float | None, tiles: int) -> None:
        first = FIRST if min_score is None else min(FIRST, max(LEAST_FIRST, min_score))
        min_score = MIN_SCORE if min_score is None else min_score
        self._session, self._path = session, path
        self._min_score, self._tiles = min_score, tiles
        self.first_score = first
        (entry,), (result,) = session.get_inputs(), session.get_outputs()[:1]
        self._name, shape = entry.name, entry.shape
        if entry.type != "tensor(float)" or len(shape) != 4 or shape[1] != 3 or not all(_sized(n) for n in shape[2:]):
            raise Refused(
                f"{path} takes {entry.type} {shape} and a YOLOX takes float 1 x 3 x H x W; export it again so"
            )
        self._single = shape[0] == 1
        self._height, self._width = int(shape[2]), int(shape[3])
        self._grid = grid_of(self._height, self._width)
        given = result.shape if len(result.shape) == 3 else [None, 0, 0]
        wanted = [len(self._grid), _COLUMNS]
        if any(isinstance(n, int) and n != want for n, want in zip(given[1:], wanted, strict=True)):
            raise Refused(
                f"{path} gives {result.shape} and a YOLOX of this input gives N x {wanted[0]} x {_COLUMNS}; "
                "export it for COCO, not decoded"
            )

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """All tiles of all frames go through the network together where its batch is dynamic."""
        tiles = [tiles_of(frame.image.shape[0], frame.image.shape[1], self._tiles) for frame in frames]
        crops = [
            letterboxed(frame.image[v.top : v.bottom, v.left : v.right], self._height, self._width)
            for frame, parts in zip(frames, tiles, strict=True)
            for v in parts
        ]
        outputs = iter(self._outputs([pixels for pixels, _ in crops]))
        scales = iter(scale for _, scale in crops)
        return [
            _merged([placed(decoded_boxes(next(outputs), self._grid, self._min_score), v, next(scales)) for v in parts])
            for parts in tiles
        ]

    def _outputs(self, crops: list[Floats]) -> list[Floats]:
        batches = [[crop] for crop in crops] if self._single else [crops] if crops else []
        outputs = []
        for batch in batches:
            try:
                output = self._session.run(None, {self._name: np.stack(batch)})[0]
            except FAULTS as error:
                first = str(error).partition("\n")[0]
                raise Refused(f"ONNX Runtime cannot run {self._path} ({first}); export it again") from error
            if output.shape != (len(batch), len(self._grid), _COLUMNS):
                raise Refused(
                    f"{self._path} gave {output.shape}, not N x {len(self._grid)} x {_COLUMNS}; export it again"
                )
            outputs.extend(output)
        return outputs


def _sized(n: object) -> bool:
    return isinstance(n, int) and n > 0 and n % STRIDES[-1] == 0


def _merged(parts: list[Detections]) -> Detections:
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    kept = strongest(boxes, scores, SAME)
    return Detections(boxes[kept], scores[kept], np.concatenate([part.kinds for part in parts])[kept])


def open_yolox(target: str, options: Mapping[str, str], *, threads: int, min_score: float | None) -> YoloxDetector:
    """`target`: the ONNX file; option `tiles`: 2 looks at 2 x 2 parts besides the whole. Least score: 0.3."""
    path = Path(target)
    if not target or not path.is_file():
        raise Refused(f"there is no YOLOX file '{target}'; write yolox:FILE with the path of an ONNX file")
    tiles = int(numbers_of("yolox", options, {"tiles": (1, 1, 8)})["tiles"])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry(*EXACT_INT8)
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except FAULTS as error:
        first = str(error).partition("\n")[0]
        raise Refused(
            f"{path} is not an ONNX file that this ONNX Runtime can run ({first}); export it again"
        ) from error
    if len(session.get_inputs()) != 1:
        raise Refused(f"{path} has {len(session.get_inputs())} inputs and a YOLOX has 1; export it again")
    return YoloxDetector(session, path, min_score, tiles)
