"""A video with what was found drawn into it: a second pass over a file, when every track knows its vehicle."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
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
from vreid.models.files import atomic
from vreid.models.preprocess import Image
from vreid.report.formats import Colour, colour_of, ink_on
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace, kind_name
from vreid.runtime.sources.decode import ASSUMED_RATE, FAILURES
from vreid.runtime.sources.table import Source

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_FONT = cv2.FONT_HERSHEY_SIMPLEX
Label = tuple[str, Colour]


def annotate(source: Source, marks: Sequence[tuple[Match, Trace, FinishedTrack]], path: Path) -> None:
    """Write `path`, an mp4 of every frame of `source`, at the frame's own time, with the boxes and labels of its own camera's
    marks.

    Refused: a live source, whose frames do not come twice, or a video that cannot be written. Complete or not at all.
    """
    if source.live:
        raise Refused(f"the camera {source.camera} is live and cannot be annotated; record it and give the file")
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent}; make it before writing {path.name}")
    boxes = _boxes_by_frame([mark for mark in marks if mark[2].camera == source.camera])
    with atomic(path) as temporary, written_video(temporary, source.size, source.frame_rate) as write:
        for frame in source:
            drawn = drawn_on(frame.image, boxes.get(frame.index, []))
            # A folder may hold pictures of several sizes; a video has one.
            fits = (drawn.shape[1], drawn.shape[0]) == tuple(source.size)
            write(drawn if fits else np.asarray(cv2.resize(drawn, source.size), np.uint8), frame.time)


def label_of(match: Match, sighting: FinishedTrack, final: bool = True) -> Label:
    """ "#12 blue van 0.83", "#12 car new" where it was enrolled, "unknown car 0.31"; and its colour. An id that is not final has
    a question mark: "#12? car 0.83"; who was not looked for is "car"."""
    unnamed = not match.name or match.name == f"vehicle-{match.vehicle or 0:04d}"
    what = kind_name(sighting.kind) if unnamed else str(match.name)
    score = f" {match.score:.2f}" if np.isfinite(match.score) else ""
    colour = colour_of(match.vehicle)
    if match.vehicle is None:
        return f"unknown {what}{score}" if final or score else what, colour
    return f"#{match.vehicle}{'' if final else '?'} {what}{score if match.known else ' new'}", colour


def drawn_on(image: Image, boxes: Sequence[tuple[Floats, Label]]) -> Image:
    """(H, W, 3) BGR and boxes x1 y1 x2 y2 in its pixels -> a copy with both drawn, letters to suit the picture."""
    drawn = image.copy()
    scale = min(1.2, max(0.45, image.shape[0] / 1300))
    thick = max(1, round(2 * scale))
    for box, (_, colour) in boxes:
        x1, y1, x2, y2 = (round(float(edge)) for edge in box)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour[::-1], 2 * thick)
    for box, label in boxes:  # over all boxes, so that no box runs through a label
        write_label(drawn, box, label, scale, thick)
    return drawn


def write_label(drawn: Image, box: Floats, label: Label, scale: float, thick: int) -> None:
    """The label on a plate of its colour, above the box, or inside where there is no room; never beyond the picture."""
    text, colour = _plain(label[0]), label[1]
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thick)
    gap = round(5 * scale)
    plate_width, plate_height = width + 2 * gap, height + below + 2 * gap
    left = int(np.clip(round(float(box[0])) - thick, 0, max(0, drawn.shape[1] - plate_width)))
    above = round(float(box[1])) - plate_height
    top = int(np.clip(above if above >= 0 else round(float(box[1])), 0, max(0, drawn.shape[0] - plate_height)))
    cv2.rectangle(drawn, (left, top), (left + plate_width, top + plate_height), colour[::-1], cv2.FILLED)
    at = (left + gap, top + gap + height)
    cv2.putText(drawn, text, at, _FONT, scale, ink_on(colour)[::-1], thick, cv2.LINE_AA)


def _plain(text: str) -> str:
    """ASCII, which is all that these letters have before OpenCV 5: "Müller" -> "Muller", others "?"."""
    bare = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(bare).encode("ascii", "replace").decode("ascii")


def _boxes_by_frame(marks: Sequence[tuple[Match, Trace, FinishedTrack]]) -> dict[int, list[tuple[Floats, Label]]]:
    """Frame from 0 -> what is drawn in it."""
    found: dict[int, list[tuple[Floats, Label]]] = {}
    for match, trace, sighting in marks:
        label = label_of(match, sighting)
        for frame, box in zip(trace.frames, trace.boxes, strict=True):
            found.setdefault(int(frame), []).append((box, label))
    return found


CODECS = {  # the first that this PyAV has; its wheels bring both, a build of one's own may lack x264
    "libx264": {"preset": "veryfast", "crf": "21"},
    "mpeg4": {"qmin": "2", "qmax": "6"},
}
TICKS = (
    60_000  # a second; whole numbers of them are a frame at 24, 25, 30, 50, 60, 29.97 and 59.94, and MPEG-4 takes 65535
)

_THREADS = 2
Write = Callable[[Image, float], None]


@contextmanager
def written_video(path: Path, size: tuple[int, int], rate: float, most: int | None = None) -> Iterator[Write]:
    """A function that takes (H, W, 3) uint8 BGR of `size` (width, height) and its time in seconds, rising.

    An odd width or height gets one pixel more, the last one again, since the codecs halve their colours. `rate` is what the
    encoder expects, 0 if unknown; `most` bounds the bits a second. The file is whole when the body ends, and not to be used if
    it raises. Raises Refused for a video that cannot be written, such as on a full disk.
    """
    av.logging.set_level(None)
    last = -1
    with ExitStack() as opened:
        with _in_words(path):
            file = path.open("wb")  # a file, since PyAV takes no name that is not UTF-8
            opened.callback(_closed, file)
            out = av.open(file, "w", format="mp4")
            opened.callback(_closed, out)
            stream = cast("VideoStream", out.add_stream(_codec(), rate=_rate(rate), options=_options(most)))
            _prepare(stream, size, most)

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
    except FAILURES as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"cannot write a video into {path.parent} ({why}); make room, or choose another --out") from error


def _closed(out: "OutputContainer | BinaryIO") -> None:
    """Close what is not to be used any more, or was closed before."""
    with suppress(*FAILURES):
        out.close()


def _codec() -> str:
    return next(name for name in CODECS if name in av.codecs_available)


def _rate(rate: float) -> Fraction:
    return Fraction(rate if 0 < rate < 1000 else ASSUMED_RATE).limit_denominator(1001)


def _options(most: int | None) -> dict[str, str]:
    return CODECS[_codec()] | ({} if most is None else {"maxrate": str(most), "bufsize": str(most)})


def _prepare(stream: "VideoStream", size: tuple[int, int], most: int | None) -> None:
    width, height = size
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, TICKS)
    context.max_b_frames = 0
    context.thread_count = _THREADS
    context.bit_rate = min(max(400_000, width * height * 8), most or 1 << 40)
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
