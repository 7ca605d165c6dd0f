"""An mp4 whose pictures stand at their own times, written through PyAV."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import av
import av.error
import av.logging
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from vreid.models.errors import Refused
from vreid.models.preprocess import Image

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

CODECS = {  # the first that this PyAV has; its wheels bring both, a build of one's own may lack x264
    "libx264": {"preset": "veryfast", "crf": "21"},
    "mpeg4": {"qmin": "2", "qmax": "6"},
}
TICKS = (
    60_000  # a second; whole numbers of them are a frame at 24, 25, 30, 50, 60, 29.97 and 59.94, and MPEG-4 takes 65535
)
ASSUMED_RATE = 25.0
THREADS = 2
_FAILURES = (av.error.FFmpegError, OSError, ValueError)
Write = Callable[[Image, float], None]


@contextmanager
def written_film(path: Path, size: tuple[int, int], rate: float) -> Iterator[Write]:
    """A function that takes (H, W, 3) uint8 BGR of `size` (width, height) and its time in seconds, rising.

    An odd width or height gets one pixel more, the last one again, since the codecs halve their colours. `rate` is what the
    encoder expects, 0 if unknown. The file is whole when the body ends, and not to be used if it raises. Raises Refused for
    a film that cannot be written, such as on a full disk.
    """
    av.logging.set_level(None)
    last = -1
    with ExitStack() as opened:
        with _in_words(path):
            file = path.open("wb")  # a file, since PyAV takes no name that is not UTF-8
            opened.callback(_closed, file)
            out = av.open(file, "w", format="mp4")
            opened.callback(_closed, out)
            stream = cast("VideoStream", out.add_stream(_codec(), rate=_rate(rate), options=CODECS[_codec()]))
            _prepare(stream, size)

        def write(image: Image, time: float) -> None:
            nonlocal last
            last = max(last + 1, round(time * TICKS))
            with _in_words(path):
                out.mux(stream.encode(_frame(image, last)))

        yield write
        with _in_words(path):
            out.mux(stream.encode(None))
            out.close()
            file.close()


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """What the encoder or the disk says, as a sentence."""
    try:
        yield
    except _FAILURES as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"cannot write a video into {path.parent} ({why}); make room, or choose another --out") from error


def _closed(out: "OutputContainer | BinaryIO") -> None:
    """Close what is not to be used any more, or was closed before."""
    with suppress(*_FAILURES):
        out.close()


def _codec() -> str:
    return next(name for name in CODECS if name in av.codecs_available)


def _rate(rate: float) -> Fraction:
    return Fraction(rate if 0 < rate < 1000 else ASSUMED_RATE).limit_denominator(1001)


def _prepare(stream: "VideoStream", size: tuple[int, int]) -> None:
    width, height = size
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, TICKS)
    context.max_b_frames = 0
    context.thread_count = THREADS
    context.bit_rate = max(400_000, width * height * 8)
    context.colorspace, context.color_range = 1, 1  # BT.709, as players take what is unnamed and large; 16 to 235
    context.color_primaries, context.color_trc = 1, 1


def _frame(image: Image, ticks: int) -> "av.VideoFrame":
    height, width = image.shape[:2]
    if width % 2 or height % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
    return frame
