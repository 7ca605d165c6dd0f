"""Whether a JPEG holds all of its picture: libjpeg fills what is missing with grey, and only warns.

simplejpeg (libjpeg-turbo) makes an error of a warning. Warnings that no pixel depends on, such as padding before a marker,
are common in the wild: there the bytes behind the warning are taken out, and the rest is looked at again. A hole of zeros
often decodes without a warning, as zero bits are a valid code; in a sequential scan so many of them in a row are not natural.
"""

import re

import simplejpeg

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # not a stuffed FF; fill bytes belong to the marker
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


class Damaged(ValueError):
    """What is wrong with a picture, as the end of "the picture ... "."""


def checked_jpeg(content: bytes) -> tuple[bytes, bool]:
    """(the JPEG as it is, or without the bytes that a decoder only warns of; whether libjpeg-turbo decodes all of it).

    Raises Damaged when a part of it is missing; what libjpeg-turbo cannot decode at all is left to the decoder."""
    if jpeg_end(content) is None:
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


def jpeg_end(content: bytes) -> int | None:
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
