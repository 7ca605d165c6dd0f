"""The one resize of the project; everything after it is inside the graph."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (H, W, 3), BGR
Floats = NDArray[np.float32]
Embed = Callable[[Sequence[Image]], Floats]  # N pictures of any size -> (N, D)


def resized(image: Image, height: int, width: int) -> Image:
    """(h, w, 3) uint8 BGR -> (height, width, 3): cv2 INTER_LINEAR, the aspect stretched, never letterboxed."""
    if image.shape[0] == height and image.shape[1] == width:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def batch_of(images: Sequence[Image], height: int, width: int) -> Image:
    """N images of any size -> (N, height, width, 3) uint8 BGR, contiguous."""
    batch = np.empty((len(images), height, width, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[...] = resized(image, height, width)
    return batch
