"""A baseline without learning, which every table shows: a joint HSV histogram."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vreid.models.preprocess import Image

BINS = (12, 4, 6)


def hsv_histograms(images: Sequence[Image]) -> NDArray[np.float32]:
    """N pictures -> (N, 288): square roots of the shares of 12 x 4 x 6 hue, saturation and value bins (unit length)."""
    rows = [
        cv2.calcHist([cv2.cvtColor(image, cv2.COLOR_BGR2HSV)], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256])
        for image in images
    ]
    counts = np.stack([row.ravel() for row in rows])
    return np.asarray(np.sqrt(counts / counts.sum(1, keepdims=True)), np.float32)
