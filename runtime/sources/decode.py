"""Video through PyAV, packet by packet: pictures with their own time stamps, whatever the header promises."""

import heapq
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import av.logging
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from vreid.models.preprocess import Image

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

ASSUMED_RATE = 25.0
MOST_KEPT = 31 << 20  # bytes; glibc's limits do not rise above 32 MiB
LOST_AFTER = 200  # failed reads in a row after which nothing more is expected of a container
FAILURES = (av.error.FFmpegError, OSError, ValueError)  # PyAV's errors, some of which are only ValueErrors
# The name of a camera's maker need not be UTF-8; PyAV 19 has no such argument.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
_COUNTED_IN_TIME = {"mov", "matroska", "webm", "avi", "flv", "asf"}  # their headers say how long they last


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded picture that is not yet converted. `stamp`: its own time in seconds, None where the stream has none."""

    stamp: float | None
    frame: "VideoFrame"


class Decoder:
    """The best video stream of an open container; audio, cover pictures and other streams are passed over.

    `damaged` counts packets that could not be decoded and pictures that the decoder marked as damaged.
    """

    def __init__(self, container: "InputContainer", threads: int = 1) -> None:
        """Raises LookupError if the container holds no video stream that this FFmpeg can decode."""
        self.container = container
        self.stream = _video_of(container)
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = threads
        self.rate = usable_rate(self.stream)
        self.damaged = 0
        self.interlaced = False
        self.reached = 0.0  # seconds into the container of the last packet of any stream
        self.stopped: str | None = None  # why reading ended before the end of the container
        self._packets = self._pictures = 0
        self._marked = 0  # packets next to a gap, as MPEG-TS counts them: of damage, or where two videos were joined
        self._shapes = VideoReformatter()
        self._kept = False
        self._in_order: list[float] | None = [] if container.format.name == "avi" else None

    def pictures(self, patient: bool = True) -> Generator[DecodedPicture]:
        """Every picture that can be decoded, in the order of showing. A damaged packet is passed over, and if `patient` a read
        that fails too; otherwise it ends the stream.
        """
        start = (self.container.start_time or 0) / av.time_base
        failed = 0
        while failed < LOST_AFTER:
            try:
                for packet in self.container.demux():
                    if failed:  # and it goes on behind the damage
                        self.damaged, self.stopped, failed = self.damaged + 1, None, 0
                    if packet.pts is not None and packet.time_base is not None:
                        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                        # Some headers count from 0, some from the start.
                        self.reached = max(self.reached, end, end - start)
                    if packet.stream.index == self.stream.index:  # stream_index is 0 in the packet that flushes
                        self._packets += bool(packet.size)
                        self._marked += packet.is_corrupt
                        yield from self._decoded(packet)
                self.damaged += self._marked if self._pictures < self._packets else 0
                return
            except FAILURES as error:
                failed += 1
                self.stopped = reason_of(error)
                if not patient:
                    return
        yield from self._decoded(None)

    def missing(self) -> float:
        """Seconds by which the file is shorter than its header says, past what sound files differ; 0 for a whole one.

        Only containers that write their duration down are judged, by the last packet of any stream: sound may be longer
        than the pictures. Two frames or 2 % may be missing.
        """
        known = _COUNTED_IN_TIME & set(self.container.format.name.split(","))
        if not known or not self.container.duration:
            return 0.0
        duration = self.container.duration / av.time_base
        missing = duration - self.reached
        frame = max(1 / self.rate, self.reached / max(1, self._packets))
        return missing if missing > max(2.5 * frame, 0.02 * duration) else 0.0

    def bgr(self, picture: DecodedPicture) -> Image:
        """(H, W, 3) uint8 BGR in the picture's own matrix and range of colours, turned as its metadata say."""
        frame = picture.frame
        try:
            shaped = self._shapes.reformat(frame, format="bgr24", threads=1)
        except FAILURES:  # colours that swscale does not know are taken for those of standard definition
            shaped = self._shapes.reformat(
                frame, format="bgr24", src_colorspace=Colorspace.ITU601, src_color_range=ColorRange.MPEG, threads=1
            )
        image = np.asarray(shaped.to_ndarray(), np.uint8)
        if not self._kept:
            self._kept = True
            keep_memory(8 * image.nbytes)
        turn = _TURNS.get(frame.rotation % 360)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)

    def _decoded(self, packet: Any) -> Generator[DecodedPicture]:
        try:
            frames = self.stream.codec_context.decode(packet)
        except FAILURES:
            self.damaged += 1
            return
        context, base = self.stream.codec_context, self.stream.time_base or Fraction(1, av.time_base)
        if self._in_order is not None and packet is not None and packet.size and packet.dts is not None:
            heapq.heappush(self._in_order, packet.dts)
        for frame in frames:
            self._pictures += 1
            self.damaged += frame.is_corrupt
            self.interlaced = self.interlaced or frame.interlaced_frame
            stamp: float | None = frame.pts if frame.pts is not None else frame.dts
            if self._in_order:  # AVI stamps packets in the order of decoding: the earliest is that of the next picture
                stamp = heapq.heappop(self._in_order)
            yield DecodedPicture(None if stamp is None else float(stamp * base), frame)
        while self._in_order and len(self._in_order) > context.has_b_frames + context.thread_count + 1:
            heapq.heappop(self._in_order)  # of a packet that gave no picture


def open_container(
    where: Any, options: Mapping[str, str], timeout: tuple[float, float] | None = None
) -> "InputContainer":
    """The container at `where`, FFmpeg's own log silent: it prints addresses with their passwords.

    Raises one of FAILURES; say `reason_of` it, since the text of the error itself may hold a password.
    """
    av.logging.set_level(None)
    av.logging.set_libav_level(-8)
    container: InputContainer = av.open(where, mode="r", options=dict(options), timeout=timeout, **_LENIENT)
    return container


def reason_of(error: BaseException) -> str:
    """What went wrong, in FFmpeg's or the system's words and without an address."""
    if isinstance(error, av.error.ExitError):  # PyAV's own word for a time that is over
        return "no answer in time"
    return str(getattr(error, "strerror", None) or type(error).__name__).rstrip(".")


def usable_rate(stream: "VideoStream") -> float:
    """Frames a second as the stream names them, or 25 where it names none or only the ticks of its clock (1000 and more)."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate < 1000:
            return float(rate)
    return ASSUMED_RATE


def _video_of(container: "InputContainer") -> "VideoStream":
    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    videos = [stream for stream in videos if stream.codec_context is not None]
    best = container.streams.best("video")
    if not videos:
        raise LookupError
    return next((stream for stream in videos if stream is best), videos[0])


def keep_memory(size: int) -> None:
    """Let glibc keep `size` bytes, and twice that, of freed memory for the next pictures (mallopt(3), M_MMAP_THRESHOLD).

    It raises its limits when a larger mapped block is freed. With the limits of a single picture it gives each one back to the
    system and takes it again, page by page, which costs a fifth of the time of decoding.
    """
    np.empty(min(size, MOST_KEPT), np.uint8)


class Clock:
    """Seconds since the first picture, from stamps that may be missing, stand still, jump back or begin anew.

    A stamp that jumps back counts as one usual step; where the next ones stay there, as in videos joined end to end, the clock
    goes on from its own last time. `longest`: a step ahead that is longer is a jump of the clock and not a pause, as FFmpeg
    takes it in MPEG-TS.
    """

    def __init__(self, step: float, longest: float = float("inf")) -> None:
        self._step, self._longest = step, longest
        self._shift: float | None = None  # from stamp to time
        self._time = 0.0
        self._astray = False  # the stamp before jumped

    def time(self, stamp: float | None) -> float:
        """The time of the next picture, never before that of the last one."""
        if self._shift is None:
            if stamp is None:  # the first picture with a stamp takes the place that it was counted to
                self._time += self._step
                return self._time - self._step
            self._shift = self._time - stamp
            return self._time
        if stamp is None:
            self._time += self._step
            return self._time
        ahead = stamp + self._shift - self._time
        if 0 <= ahead <= self._longest:
            self._time, self._astray = stamp + self._shift, False
            return self._time
        self._time += self._step
        if self._astray or ahead > 0:
            self._shift = self._time - stamp
        self._astray = not self._astray and ahead < 0
        return self._time
