"""Pictures that somebody sends: bounded in bytes and in pixels before they are decoded, decoded once, by the project's reader.
Nothing of them is kept."""

import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

from vreid.models.errors import BadInput, Refused
from vreid.models.picture import decoded
from vreid.models.preprocess import Image
from vreid.serve.service import Service

MOST_PICTURES = 16  # of one enrolment
MOST_BYTES = 12 * 10**6
MOST_PIXELS = 40 * 10**6
MOST_SCANS = 64  # of a JPEG: each one goes over all pixels, and encoders write 10 or so
MOST_SCANNED = 12 * MOST_PIXELS  # pixels over all scans of a JPEG, which take 2 s
_SLACK = 1 << 16  # bytes of a PNG's pixels beyond what its header promises
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG specification, 11.2.1)
_MOST_SEGMENTS = 4096  # of a JPEG; a colour profile and a thumbnail take some hundreds at most
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])", re.DOTALL)  # of a segment, or the end; restarts are none
_SHOWN = Path("of the upload")  # in messages: a name that somebody sends is not repeated


class NotAPicture(BadInput):
    """The upload is neither a JPEG, nor a PNG, nor a WebP."""


class PictureTooLarge(BadInput):
    """The upload has too many bytes or pixels, or takes too long to decode."""


@contextmanager
def uploaded(service: Service, file: UploadFile) -> Iterator[Image]:
    """(H, W, 3) uint8 BGR of a file of a request; inside, few of them are there at a time, since decoded ones are large.

    Raises what `read_upload` does, and Busy.
    """
    content = file.file.read(MOST_BYTES + 1)
    with service.searcher.decoding:
        yield read_upload(content)


def read_upload(content: bytes) -> Image:
    """(H, W, 3) uint8 BGR of a JPEG, a PNG or a WebP. Raises NotAPicture, PictureTooLarge, and BadInput for a damaged one."""
    if not content:
        raise BadInput("the picture is empty; send a JPEG, a PNG or a WebP")
    if len(content) > MOST_BYTES:
        raise PictureTooLarge(f"a picture may have {MOST_BYTES // 10**6} MB; send a smaller one")
    size = _size_of(content)
    if size is None:
        raise NotAPicture("this is not a picture; send a JPEG, a PNG or a WebP")
    width, height = size
    if width * height > MOST_PIXELS or max(width, height) > 1 << 15:
        raise PictureTooLarge(
            f"a picture may have {MOST_PIXELS // 10**6} million pixels, not {width} x {height}; send a smaller one"
        )
    try:
        return decoded(content, _SHOWN)
    except Refused as refused:
        raise BadInput(str(refused)) from refused


def _size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height as the file's header has them, without decoding; None for another kind of file."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_size(content)
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_size(content)
    except (struct.error, IndexError, KeyError):
        pass
    return None


def _png_size(content: bytes) -> tuple[int, int] | None:
    """Raises NotAPicture for an animation, and PictureTooLarge where its pixels are more than its header says, and may be endless
    (a decompression bomb)."""
    if content[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    if width * height > MOST_PIXELS:
        return width, height
    promised = height * (1 + (width * depth * _CHANNELS[colour] + 7) // 8)
    most, at, packed = 2 * promised + _SLACK, 8, zlib.decompressobj()  # interlaced rows are more, and shorter
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind == b"acTL":
            raise NotAPicture("this PNG is an animation; send one picture of it")
        if kind == b"IDAT":
            most -= _unpacked(packed, content[at + 8 : at + 8 + length], most)
        at += 12 + length
        if kind == b"IEND":
            _refuse_more(content[at:])
            break
    return width, height


def _refuse_more(behind: bytes) -> None:
    """Raises NotAPicture for what another program may take for a file of another kind. Cameras leave zeros, or a second JPEG."""
    if behind.strip(b"\0") and not behind.startswith(b"\xff\xd8\xff"):
        raise NotAPicture("behind the end of this picture there is something else; save the picture anew")


def _unpacked(packed: "zlib._Decompress", body: bytes, most: int) -> int:
    """How many bytes come out of it. Raises PictureTooLarge beyond `most`; damage is found when it is decoded."""
    count = 0
    while body and not packed.eof:
        try:
            count += len(packed.decompress(body, 1 << 20))
        except zlib.error:
            return count
        if count > most:
            raise PictureTooLarge("the picture holds more pixels than it says; send another one")
        body = packed.unconsumed_tail
    return count


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The largest of its frames (ITU T.81, B.2.2), so that a second header cannot hide a larger one.

    Raises PictureTooLarge for what would keep a decoder busy for long: too many segments, scans or restarts.
    """
    sizes, scans, at = [], 0, 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(content, at)
        if found is None:
            break
        if found[1] == b"\xd9":
            _refuse_more(content[found.end() :])
            break
        code, after = found[1][0], found.end()
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[after + 3 : after + 7])
            sizes.append((width, height))
        scans += code == 0xDA
        at = after + max(2, int.from_bytes(content[after : after + 2], "big"))
    else:
        raise PictureTooLarge(f"the JPEG has more than {_MOST_SEGMENTS} segments; write it anew")
    largest = max(sizes, key=math.prod, default=None)
    if scans > MOST_SCANS or (largest is not None and scans * math.prod(largest) > MOST_SCANNED):
        raise PictureTooLarge(f"the JPEG has {scans} scans, too many for its size; send it as a baseline JPEG")
    if sum(content.count(bytes((0xFF, code))) for code in range(0xD0, 0xD8)) > MOST_PIXELS // 64:
        raise PictureTooLarge("the JPEG has more restarts than blocks; write it anew")
    return largest


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind, body = content[12:16], content[20:]
    _refuse_more(content[8 + int.from_bytes(content[4:8], "little") :])
    if kind == b"VP8X":
        if body[0] & 2:
            raise NotAPicture("this WebP is an animation; send one picture of it")
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None
