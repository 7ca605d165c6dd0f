"""Crops worth embedding: how good one is, and when a track deserves another."""

import sys
from dataclasses import dataclass

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.records import Floats

EDGE = 2.0  # pixels from the frame's border at which a vehicle counts as cut off


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


EMBEDDING = {"smart": CropRules(), "every": CropRules(period=0.0, most=sys.maxsize)}


def cut_out(image: Image, box: Floats, margin: float) -> Image:
    """(H, W, 3) and a box x1 y1 x2 y2 -> its pixels, clipped to the picture; never empty."""
    height, width = image.shape[:2]
    grow = margin * (box[2:] - box[:2])
    left, top = np.clip(np.floor(box[:2] - grow), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(box[2:] + grow), (left + 1, top + 1), (width, height)).astype(int)
    return image[top:bottom, left:right]


def ceiling_of(crop: Image, box: Floats, frame: tuple[int, int]) -> float:
    """The quality that the crop would have if it were perfectly sharp: costs nothing, since no pixel is looked at."""
    size = min(1.0, float(np.sqrt(crop.shape[0] * crop.shape[1])) / 96)
    width, height = frame
    whole = box[0] > EDGE and box[1] > EDGE and box[2] < width - EDGE and box[3] < height - EDGE
    return size * (1.0 if whole else 0.3)


def quality_of(crop: Image, box: Floats, frame: tuple[int, int]) -> float:
    """0-1 of a crop with `box` in a frame of (width, height): size, sharpness, and not being cut off by the border.

    Size saturates at 96 pixels (geometric mean of the sides); sharpness is the Laplacian's variance at 64 x 64, so that
    it does not depend on size.
    """
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    detail = float(cv2.Laplacian(gray, cv2.CV_32F).var())
    return ceiling_of(crop, box, frame) * (0.5 + 0.5 * detail / (detail + 200))


def deserves(rules: CropRules, box: Floats, embedded: int, since: float, quality: float, best: float) -> bool:
    """Whether a crop is embedded; `since` is the time in seconds since the track's last embedded crop.

    Rises with `quality`: what is not deserved at the ceiling is not deserved at all.
    """
    if min(box[2] - box[0], box[3] - box[1]) < rules.least:
        return False
    due = embedded == 0 or (since >= rules.period and embedded < rules.most)
    return due or quality > rules.better * best
