"""A function of the user's that makes plates and faces unreadable in every picture that leaves the server."""

import hashlib
import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.picture import decoded
from vreid.models.preprocess import Image

Blur = Callable[[Image], Image]
_QUALITY = 85
_KEPT = 512  # blurred pictures, which are asked for again and again by lists


class BlurFailed(Exception):
    """The function did not return a picture; nothing is shown then."""


def blur_function(name: str) -> Blur:
    """`module:function` that takes a picture (H, W, 3) uint8 BGR and returns one of the same shape.

    Raises Refused for a module or a function that is not there. What it returns raises BlurFailed where it is no such picture.
    """
    module, _, function = name.partition(":")
    try:
        blur = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise Refused(f"there is no function '{name}' to blur by ({error}); write --blur module:function") from error
    if not callable(blur):
        raise Refused(f"'{name}' is not a function; write --blur module:function")

    def blurred(picture: Image) -> Image:
        done = blur(picture.copy())
        if not (isinstance(done, np.ndarray) and done.dtype == np.uint8 and done.shape == picture.shape):
            raise BlurFailed(f"the function '{name}' of --blur returned no picture of {picture.shape}")
        return np.ascontiguousarray(done)

    return blurred


class BlurredPictures:
    """JPEGs as they may be shown; with no function as they are. Any thread may call it."""

    def __init__(self, blur: Blur | None = None) -> None:
        self.blur = blur
        self._done: OrderedDict[bytes, bytes] = OrderedDict()
        self._mutex = threading.Lock()

    def shown(self, jpeg: bytes) -> bytes:
        """Raises BlurFailed."""
        if self.blur is None:
            return jpeg
        key = hashlib.sha256(jpeg).digest()
        with self._mutex:
            if (known := self._done.get(key)) is not None:
                self._done.move_to_end(key)
                return known
        done, encoded = cv2.imencode(
            ".jpg", self.blur(decoded(jpeg, Path("the picture"))), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        )
        if not done:
            raise BlurFailed("the blurred picture cannot be encoded")
        with self._mutex:
            self._done[key] = encoded.tobytes()
            while len(self._done) > _KEPT:
                self._done.popitem(last=False)
        return encoded.tobytes()
