"""Pictures that somebody sends: bounded in bytes and in pixels before they are decoded, decoded once, by the project's reader."""

import struct
from pathlib import Path

from vreid.models.errors import BadInput, Refused
from vreid.models.picture import decoded
from vreid.models.preprocess import Image

MOST_BYTES = 12 * 10**6
MOST_PIXELS = 40 * 10**6
_SHOWN = Path("the upload")  # in messages: a name that somebody sends is not repeated


def read_upload(content: bytes) -> Image:
    """(H, W, 3) uint8 BGR of a JPEG, a PNG or a WebP. Raises BadInput for what is none, is too large, or is damaged."""
    if len(content) > MOST_BYTES:
        raise BadInput(f"a picture may have {MOST_BYTES // 10**6} MB; send a smaller one")
    size = _size_of(content)
    if size is None:
        raise BadInput("this is not a picture; send a JPEG, a PNG or a WebP")
    width, height = size
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15 and width * height <= MOST_PIXELS):
        raise BadInput(f"a picture may have {MOST_PIXELS // 10**6} million pixels, not {width} x {height}")
    try:
        return decoded(content, _SHOWN)
    except Refused as refused:
        raise BadInput(str(refused)) from refused


def _size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height as the file's header has them, without decoding; None for another kind of file."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            width, height = struct.unpack(">II", content[16:24])
            return width, height
        if content.startswith(b"\xff\xd8"):
            return _jpeg_size(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_size(content)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The largest frame of its segments (ITU T.81, B.2.2), so that a second header cannot hide a larger one."""
    sizes, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        code = content[at + 1]
        if code == 0xFF:
            at += 1
            continue
        if code == 0xDA or code == 0xD9:
            break
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            sizes.append((width, height))
        at += 2 + max(length, 2)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind, body = content[12:16], content[20:]
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None
