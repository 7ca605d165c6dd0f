"""Pictures into a detector's network and its boxes back: tiles, letterbox or stretch, colours, and suppression."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.records import Detections, Floats, no_detections

SHARED = 0.25  # share of a tile's side that its neighbour sees too
SAME = 0.45  # IoU from which two boxes are one vehicle
_EDGE = 0.02  # share of a tile's side within which a box counts as cut off
_GREY = 114  # fills the letterbox
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB from 0 to 1

FITS = ("corner", "middle", "stretch")  # letterbox with the picture at the top left, in the middle, or no letterbox
COLOURS = ("bgr", "rgb")
PIXELS = ("255", "1", "imagenet")  # 0 to 255, 0 to 1, or normalised by ImageNet's mean and standard deviation


@dataclass(frozen=True)
class Form:
    """How a network wants its pictures: one of FITS, of COLOURS and of PIXELS."""

    fit: str
    colour: str
    pixels: str


@dataclass(frozen=True)
class Tile:
    """A part of a picture for the network: its sides in pixels, and which of them (`inner`) cut through the picture."""

    left: int
    top: int
    right: int
    bottom: int
    inner: tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Place:
    """Where a tile lies in the network's input: pixel (x, y) of the tile is at (x, y) * scale + shift there."""

    tile: Tile
    scale: tuple[float, float]
    shift: tuple[float, float]


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


def fitted(image: Image, tile: Tile, height: int, width: int, form: Form) -> tuple[Floats, Place]:
    """A tile of (h, w, 3) uint8 BGR -> (3, height, width) float32 as `form` says, and where the tile lies in it."""
    part = image[tile.top : tile.bottom, tile.left : tile.right]
    if form.fit == "stretch":
        canvas = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
        place = Place(tile, (width / part.shape[1], height / part.shape[0]), (0.0, 0.0))
    else:
        scale = min(height / part.shape[0], width / part.shape[1])
        size = max(1, int(part.shape[1] * scale)), max(1, int(part.shape[0] * scale))
        left, top = ((width - size[0]) // 2, (height - size[1]) // 2) if form.fit == "middle" else (0, 0)
        canvas = np.full((height, width, 3), _GREY, np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
        place = Place(tile, (scale, scale), (float(left), float(top)))
    if form.colour == "rgb":
        canvas = canvas[:, :, ::-1]
    pixels = np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32)
    if form.pixels != "255":
        pixels /= 255
    if form.pixels == "imagenet":
        mean, spread = (np.asarray(of_rgb, np.float32)[:, None, None] for of_rgb in (_MEAN, _SPREAD))
        pixels -= mean if form.colour == "rgb" else mean[::-1]
        pixels /= spread if form.colour == "rgb" else spread[::-1]
    return pixels, place


def placed(found: Detections, place: Place) -> Detections:
    """Detections in the network's input -> in pixels of the picture, clipped to the tile.

    Those cut off by its inner sides are left out: a neighbour or the whole picture shows these vehicles whole.
    """
    tile = place.tile
    shift, scale = np.asarray(place.shift * 2, np.float32), np.asarray(place.scale * 2, np.float32)
    boxes: Floats = (found.boxes - shift) / scale + np.asarray([tile.left, tile.top] * 2, np.float32)
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


def merged(parts: Sequence[Detections], same: float) -> Detections:
    """The detections of all tiles, scores falling, without those that overlap a stronger one by more than `same` (IoU).

    One vehicle is one box, whatever its classes: suppression does not look at the kinds.
    """
    boxes = np.concatenate([part.boxes for part in parts])
    if not len(boxes):
        return no_detections()
    scores = np.concatenate([part.scores for part in parts])
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = np.asarray(cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), 0.0, same), np.int64)
    return Detections(boxes[kept], scores[kept], np.concatenate([part.kinds for part in parts])[kept])
