"""Reads one picture from disk, complete or not at all, since decoders fill what is lost with grey; and makes thumbnails."""

import re
import zlib
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.preprocess import Image


class Damaged(ValueError):
    """What is wrong with a picture, as the end of "the picture ... "."""


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


def small_jpeg(content: bytes, what: str, most_bytes: int, most_pixels: int) -> Image:
    """The JPEG `content` of somebody else, decoded as `read_picture` does when its head promises no more than `most_pixels`.

    Raises Refused, in a sentence about the picture `what`, for one that is too large, damaged, or no JPEG.
    """
    if not content.startswith(b"\xff\xd8"):
        raise Refused(f"the picture {what} is not a JPEG; convert it")
    if len(content) > most_bytes:
        raise Refused(
            f"the picture {what} has {len(content):,} bytes, and {most_bytes:,} are the most; make it smaller"
        )
    try:
        height, width = simplejpeg.decode_jpeg_header(content, strict=False)[:2]
    except (ValueError, KeyError) as error:
        raise Refused(f"the picture {what} is damaged ({error}); copy it again") from error
    if height * width > most_pixels:
        raise Refused(f"the picture {what} has {width} x {height} pixels; make it smaller")
    return decoded(content, Path(what))


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


def thumbnail_of(image: Image, height: int = 160, width: int = 160, quality: int = 85) -> bytes | None:
    """(H, W, 3) BGR -> a JPEG of at most `height` x `width` pixels, never enlarged; None for an empty picture.

    It is looked at and seldom embedded, so that it need not go through the one resize.
    """
    if image.size == 0:
        return None
    scale = min(1.0, height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if done else None


def picture_bytes(path: Path) -> bytes:
    """The file as it is; Refused, by name, when it cannot be read."""
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the picture {path} ({error.strerror}); restore it or leave it out") from error


def _checked(content: bytes) -> tuple[bytes, bool]:
    """(what is to be decoded, whether it is known that it can be)."""
    if content.startswith(b"\xff\xd8"):
        return _checked_jpeg(content)
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


# Whether a JPEG holds all of its picture.
#
# simplejpeg (libjpeg-turbo) makes an error of a warning. Warnings that no pixel depends on, such as padding before a marker,
# are common in the wild: there the bytes behind the warning are taken out, and the rest is looked at again. A hole of zeros
# often decodes without a warning, as zero bits are a valid code; in a sequential scan so many of them in a row are not natural.


_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)  # not a stuffed FF; fill bytes before it are passed over
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_HARMLESS = ("Warning: unknown JFIF", "Unknown Adobe color transform", "Invalid SOS parameters")
_DAMAGE = {
    "Corrupt JPEG data: premature end": "its coded data ends early",
    "Corrupt JPEG data: bad": "its coded data is not valid",
    "Corrupt JPEG data: found marker": "a part of its coded data is missing",
    "Premature end of JPEG": "its coded data ends early",
}
_PADDING = 4  # bytes of any value that cameras leave before a marker; more of them are padding when all are equal
_HOLE = bytes(12)  # 32 equal coefficients or more; in 27,548 crops the longest run was 5 bytes
_ROUNDS = 16


def _checked_jpeg(content: bytes) -> tuple[bytes, bool]:
    """(the JPEG as it is, or without the bytes that a decoder only warns of; whether libjpeg-turbo decodes all of it).

    Raises Damaged when a part of it is missing; what libjpeg-turbo cannot decode at all is left to the decoder."""
    if _jpeg_end(content) is None:
        raise Damaged("is cut short")
    warning = ""
    for _ in range(_ROUNDS):
        previous, warning = warning, _warning(content)
        if not warning:
            break
        if (reason := next((say for start, say in _DAMAGE.items() if warning.startswith(start)), "")) != "":
            raise Damaged(f"is damaged ({reason})")
        extraneous = _EXTRANEOUS.match(warning)
        if extraneous is None and not warning.startswith(_HARMLESS):
            return content, False
        tidy = _tidied(content)
        if tidy == content and extraneous is not None and warning != previous:
            tidy = _unpadded(content, int(extraneous[1]), int(extraneous[2], 16))
        if tidy == content:
            raise Damaged("is damaged (its coded data does not fit its size)")
        content = tidy
    if _has_hole(content):
        raise Damaged("is damaged (a part of its coded data is zeros)")
    return content, True


def _jpeg_end(content: bytes) -> int | None:
    """Where the end marker ends; None without one (ITU T.81, annex B). A thumbnail inside may hold an end marker too, and what
    follows the end may be anything."""
    segments = _segments(content)
    return segments[-1][2] if segments and segments[-1][0] == 0xD9 else None


def _warning(content: bytes) -> str:
    """libjpeg's first warning, "" without one; an error does not count as a warning of damage, and starts with other words."""
    try:
        space = simplejpeg.decode_jpeg_header(content, strict=False)[2]
    except (ValueError, KeyError):  # the second for what libjpeg-turbo has no name for
        space = ""
    pixels = {"CMYK": "CMYK", "YCCK": "CMYK", "RGB": "BGR"}.get(space, "GRAY")
    try:
        simplejpeg.decode_jpeg(content, pixels, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _segments(content: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to the end marker; the coded data after a start of scan is not in it. Stops where
    a segment does not fit."""
    found: list[tuple[int, int, int]] = []
    at = 2
    while marker := _MARKER.search(content, at):
        code, start = marker.group(1)[0], marker.end() - 2
        if 0xD0 <= code <= 0xD7 or code in (0x01, 0xD8):  # restarts, and markers without a length
            at = marker.end()
            continue
        if code == 0xD9:
            return [*found, (code, start, marker.end())]
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        at = marker.end() + length  # after a start of scan the search itself walks over the coded data
        if length < 2 or at > len(content):
            return found
        found.append((code, start, at))
    return found


def _tidied(content: bytes) -> bytes:
    """Without bytes between segments outside of the coded data, and with the values that decoders assume for unknown ones."""
    parts, scanned, end = [content[:2]], False, 2
    for code, start, stop in _segments(content):
        if scanned:
            parts.append(content[end:start])
        segment = bytearray(content[start:stop])
        if code == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) > 9:
            segment[9] = 1
        elif code == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16 and segment[15] > 2:
            segment[15] = 2 if _components(content) == 4 else 1
        elif code == 0xDA and _sequential(content):
            segment[-3:] = b"\0\x3f\0"
        parts.append(bytes(segment))
        scanned, end = code == 0xDA, stop
    return b"".join(parts)


def _unpadded(content: bytes, count: int, code: int) -> bytes:
    """Without the `count` bytes before the first such marker after coded data, where they are padding."""
    scanned = False
    for marker, start, _ in _segments(content):
        extra = content[start - count : start]
        if scanned and marker == code and (count <= _PADDING or len(set(extra)) == 1):
            return content[: start - count] + content[start:]
        scanned = marker == 0xDA
    return content


def _has_hole(content: bytes) -> bool:
    if _HOLE not in content or not _sequential(content):
        return False
    first: dict[int, int] = {}  # number of an AC table -> the value of its code of zeros
    segments = _segments(content)
    for place, (code, start, stop) in enumerate(segments):
        if code == 0xC4:
            first |= _zero_codes(content[start + 4 : stop])
        elif code == 0xDA and place + 1 < len(segments):
            table = content[start + 6] & 15 if stop - start > 6 else 0
            # runs of zeros are natural where they say "no more coefficients in this block"
            if first.get(table, 0) & 15 and content.find(_HOLE, stop, segments[place + 1][1]) >= 0:
                return True
    return False


def _zero_codes(tables: bytes) -> dict[int, int]:
    found, at = {}, 0
    while at + 17 < len(tables):
        if tables[at] >> 4:
            found[tables[at] & 15] = tables[at + 17]
        at += 17 + sum(tables[at + 1 : at + 17])
    return found


def _sequential(content: bytes) -> bool:
    return any(code in (0xC0, 0xC1) for code, _, _ in _segments(content))


def _components(content: bytes) -> int:
    frames = [start for code, start, stop in _segments(content) if code in (0xC0, 0xC1, 0xC2) and stop - start > 9]
    return content[frames[0] + 9] if frames else 0
