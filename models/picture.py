"""Reads one picture from disk, complete or not at all: decoders fill what is lost with grey, and only warn."""

import zlib
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.jpeg import Damaged, checked_jpeg
from vreid.models.preprocess import Image


def read_picture(path: Path) -> Image:
    """The file as (H, W, 3) uint8 BGR, turned upright by its EXIF, 16 bits reduced to 8, grey and CMYK converted; Refused, by
    name, when it is missing, damaged or not a picture."""
    return decoded(picture_bytes(path), path)


def decoded(content: bytes, path: Path) -> Image:
    """The content of the file `path`, decoded as `read_picture` does."""
    try:
        image = _pixels(_checked(content)[0])
    except Damaged as damage:
        raise Refused(_sentence(damage, path)) from damage
    if image is None:
        raise Refused(f"{path} is not a picture that OpenCV can read; replace it or leave it out")
    return image


def fault_of(content: bytes, path: Path) -> str:
    """The sentence with which `decoded` would refuse the content, or ""; about half its cost for a sound JPEG."""
    try:
        if _checked(content)[1]:
            return ""
    except Damaged as damage:
        return _sentence(damage, path)
    try:
        decoded(content, path)
    except Refused as refused:
        return str(refused)
    return ""


def picture_bytes(path: Path) -> bytes:
    """The file as it is; Refused, by name, when it cannot be read."""
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the picture {path} ({error.strerror}); restore it or leave it out") from error


def _checked(content: bytes) -> tuple[bytes, bool]:
    """(what is to be decoded, whether it is known that it can be)."""
    if content.startswith(b"\xff\xd8"):
        return checked_jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(content)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        if len(content) < 8 + int.from_bytes(content[4:8], "little"):
            raise Damaged("is cut short")
    elif not content:
        raise Damaged("is empty")
    return content, False


def _check_png(content: bytes) -> None:
    """Raises Damaged when a critical chunk is missing, changed (CRC-32), or the compressed pixels end early."""
    at, pixels = 8, zlib.decompressobj()
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        stored = content[at + 8 + length : at + 12 + length]
        if len(stored) < 4:
            break
        if kind[:1].isupper() and zlib.crc32(kind + body) != int.from_bytes(stored, "big"):
            raise Damaged("is damaged (a checksum in it is wrong)")
        if kind == b"IDAT":
            _inflate(pixels, body)
        if kind == b"IEND":
            if not pixels.eof:
                raise Damaged("is damaged (its pixels end early)")
            return
        at += 12 + length
    raise Damaged("is cut short")


def _inflate(pixels: "zlib._Decompress", body: bytes) -> None:
    try:
        while body and not pixels.eof:
            pixels.decompress(body, 1 << 20)
            body = pixels.unconsumed_tail
    except zlib.error as error:
        raise Damaged("is damaged (its pixels cannot be decompressed)") from error


def _pixels(content: bytes) -> Image | None:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def _sentence(damage: Damaged, path: Path) -> str:
    return f"the picture {path} {damage}; copy it again or leave it out"
