"""Reads one picture from disk, whole or not at all: cv2 alone fills the lost part of a truncated JPEG with grey."""

import re
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # not a stuffed FF, a restart, or fill


def read_picture(path: Path) -> Image:
    """The file as (H, W, 3) uint8 BGR, turned upright by its EXIF; Refused, by name, when it is missing, cut or no picture."""
    content = picture_bytes(path)
    if not is_whole(content):
        raise Refused(f"the picture {path} is cut short; copy it again or take it off the list")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:
        image = None
    if image is None:
        raise Refused(f"{path} is no picture that OpenCV can read; replace it or take it off the list")
    return np.asarray(image, dtype=np.uint8)


def picture_bytes(path: Path) -> bytes:
    """The file as it is; Refused, by name, when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            f"cannot read the picture {path} ({error.strerror}); restore it or take it off the list"
        ) from error


def is_whole(content: bytes) -> bool:
    """False when a JPEG ends before its end marker or a PNG before its last chunk; True for all other content."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg_ends(content)
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content
    return True


def _jpeg_ends(content: bytes) -> bool:
    """Walks the segments (ITU T.81, annex B): a thumbnail inside may hold an end marker, what follows the end may be
    anything."""
    at = 2
    while marker := _NEXT_MARKER.search(content, at):
        if marker.group() == b"\xff\xd9":
            return True
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        at = marker.end() + length  # after a start of scan, the search itself walks over the coded data
        if length < 2:
            return False
    return False
