"""What a data set is: the content and labels of its pictures, wherever they lie, however they are named and listed.

A picture's key is the size of its file and the CRC-32 of its bytes; its mark is a digest of key, vehicle and camera. The
numbers of vehicles and cameras are compared as numbers: "0002" in a file name is "2" in a list, "c001" is "cam1".
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vreid.models.picture import picture_bytes
from vreid.train.data.records import Item

Marks = NDArray[np.int64]
_CAMERA = re.compile(r"(?:camera|cam|c)?[ _-]?0*([0-9]+)", re.IGNORECASE)


def key_of_bytes(content: bytes) -> int:
    """The key of a picture with this content, below 2**63."""
    return (len(content) & 0x7FFFFFFF) << 32 | zlib.crc32(content)


def key_of(item: Item) -> int:
    """The key of a picture; its file is read where the key is not known yet. Refused when that cannot be read."""
    return key_of_bytes(picture_bytes(item.path)) if item.key is None else item.key


def vehicle_word(vehicle: str) -> str:
    """A vehicle's label as it is compared: a number without the zeros in front."""
    return vehicle.lstrip("0") or "0" if vehicle.isdecimal() else vehicle


def camera_word(camera: str) -> str:
    """A camera's label as it is compared: only the number in "c001", "cam1" and "1"."""
    number = _CAMERA.fullmatch(camera)
    return number[1] if number else camera


def keys_of(items: Iterable[Item]) -> Marks:
    """(N,) the keys of pictures, sorted."""
    return np.sort(np.array([key_of(item) for item in items], np.int64))


def marks_of(items: Iterable[Item]) -> Marks:
    """(N,) the marks of pictures, sorted; equal for equal sets."""
    words = (f"{key_of(item):x}\n{vehicle_word(item.vehicle)}\n{camera_word(item.camera)}" for item in items)
    found = [hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8] for word in words]
    return np.sort(np.frombuffer(b"".join(found), "<i8").astype(np.int64))


def digest_of_set(items: Sequence[Item]) -> str:
    """16 hex digits that stand for these pictures with these labels."""
    return hashlib.sha256(marks_of(items).astype("<i8").tobytes()).hexdigest()[:16]


def in_order(seed: int, words: Iterable[str]) -> list[str]:
    """The words, each once, in an order that depends only on the seed and each word."""
    text = {word: f"{seed} {vehicle_word(word)}".encode("utf-8", "surrogatepass") for word in words}
    return sorted(text, key=lambda word: (hashlib.sha256(text[word]).digest(), word))
