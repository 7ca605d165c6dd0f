"""Video files, read losslessly through cv2: every frame, in order, as fast as it is asked for."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.records import Frame
from vreid.runtime.sources.table import Source

ASSUMED_RATE = 25.0
_COUNTED = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
)  # these write down how many frames they hold; others only how long they last


def open_file(where: str, camera: str) -> Source:
    """The source of a video file. Refused if it is missing, empty, no video, or damaged in its first frame."""
    return FileSource(Path(where), camera)


class FileSource:
    """One video file; the time of a frame is index / frame rate. Each iteration starts at the first frame."""

    live = False
    dropped = 0

    def __init__(self, path: Path, camera: str) -> None:
        self.camera = camera
        self._path = path
        self._closed = False
        capture, image = _opened(path)
        self._ready: tuple[cv2.VideoCapture, Image] | None = (capture, image)
        self.frame_rate = usable_rate(capture.get(cv2.CAP_PROP_FPS))
        self.size = (image.shape[1], image.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        """Every frame; Refused at the end if the file promised clearly more than it held."""
        if self._closed:
            return
        capture, image = self._ready or _opened(self._path)
        self._ready = None
        try:
            rate, index, position, more = capture.get(cv2.CAP_PROP_FPS), 0, 0.0, True
            promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            while more:
                yield Frame(self.camera, index, index / self.frame_rate, image)
                if self._closed:
                    return
                index, position = index + 1, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                more, read = capture.read()
                image = np.asarray(read, np.uint8) if more else image
        finally:
            capture.release()
        reached = index if self._path.suffix.lower() in _COUNTED else max(index, round(position * rate) + 1)
        if breaks_off(reached, promised):
            raise Refused(f"{self._path} breaks off at frame {index} of {promised:.0f}; copy or re-encode it")

    def close(self) -> None:
        """End the iteration at its next frame; the file is let go of there, or now if nobody reads it."""
        self._closed = True
        if self._ready is not None:
            self._ready[0].release()
            self._ready = None


def usable_rate(rate: float) -> float:
    """The file's own frames a second, or 25 where it names none (0, NaN) or only its clock's ticks (1000 and more)."""
    return rate if math.isfinite(rate) and 0 < rate < 1000 else ASSUMED_RATE


def breaks_off(reached: int, promised: float) -> bool:
    """Whether more is missing than the two frames or 2 % by which sound files differ from their own headers."""
    return math.isfinite(promised) and promised - reached > max(2.0, 0.02 * promised)


def _opened(path: Path) -> tuple[cv2.VideoCapture, Image]:
    """The file's capture, and its first frame decoded."""
    if not path.is_file():
        raise Refused(f"there is no video {path}; check the path")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise Refused(f"{path} is empty (0 bytes); copy or record it again")
    # FFmpeg alone, where there is one: the others take a path for a pattern or guess at damaged files. An absolute
    # path, because "gate:1.mp4" would be a protocol.
    ffmpeg = cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)
    with _quiet():
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
        opened = capture.isOpened()
        decoded, image = capture.read() if opened else (False, None)
    if decoded and image is not None:
        return capture, np.asarray(image, np.uint8)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if opened else -1.0
    capture.release()
    if count == 0:
        raise Refused(f"{path} is a video without frames; record it again")
    if opened:
        raise Refused(f"the first frame of {path} cannot be decoded; copy or re-encode it, for example to H.264")
    raise Refused(
        f"{path} holds no video that OpenCV can read, or is damaged; copy or re-encode it, for example to mp4"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's own warnings off while a file is tried: the refusal says it better. FFmpeg's need an environment."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
