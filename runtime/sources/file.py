"""Video files, read losslessly: every frame that can be decoded, in order, with its own time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.models.errors import Refused
from vreid.runtime.records import Frame
from vreid.runtime.sources.decode import FAILURES, Clock, DecodedPicture, Decoder, open_container, reason_of
from vreid.runtime.sources.table import Source

if TYPE_CHECKING:
    from av.container import InputContainer

_THREADS = 1  # of decoding, which has a thread of its own; with two it takes a quarter more CPU time a frame
JUMP = 10.0  # seconds: a longer step in MPEG-TS is another clock, which is FFmpeg's own limit


def open_file(where: str, camera: str) -> Source:
    """The source of a video file. Refused if it is missing, empty, not a video, or holds no frame that can be decoded."""
    return FileSource(Path(where), camera)


class FileSource:
    """One video file; the time of a frame is its own stamp less that of the first. Each iteration starts at the first frame.

    `warnings` says, after an iteration, what was wrong with the file: it broke off, or parts of it were damaged.
    """

    live = False
    dropped = 0

    def __init__(self, path: Path, camera: str) -> None:
        self.camera = camera
        self.warnings: Sequence[str] = ()
        self.notes: Sequence[str] = ()
        self._path = path
        self._closed = False
        self._ready: _Reading | None = _Reading(path)
        first = self._ready.first_image
        self.frame_rate = self._ready.decoder.rate
        self.size = (first.shape[1], first.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        """Every frame; what is damaged or missing is in `warnings` at the end."""
        if self._closed:
            return
        reading = self._ready or _Reading(self._path)
        self._ready = None
        index = 0
        try:
            clock = reading.clock()
            for picture in reading.pictures():
                yield Frame(self.camera, index, clock.time(picture.stamp), reading.decoder.bgr(picture))
                if self._closed:
                    return
                index += 1
            self.warnings, self.notes = reading.warnings(index), reading.notes()
        finally:
            reading.close()

    def close(self) -> None:
        """End the iteration at its next frame; the file is let go of there, or now if nobody reads it."""
        self._closed = True
        if self._ready is not None:
            self._ready.close()
            self._ready = None


class _Reading:
    """A file that is open, its first picture decoded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        container = _container(path)
        try:
            self.decoder = Decoder(container, _THREADS)
            self._decoded = self.decoder.pictures()
            self._first = next(self._decoded)
        except LookupError as error:
            container.close()
            raise Refused(f"{path} holds no video; give a film, or re-encode it, for example to H.264") from error
        except StopIteration as error:
            container.close()
            if self.decoder.damaged or self.decoder.stopped:
                raise Refused(f"no frame of {path} can be decoded; copy or re-encode it") from error
            raise Refused(f"{path} is a video without frames; record it again") from error
        self.first_image = self.decoder.bgr(self._first)

    def pictures(self) -> Iterator[DecodedPicture]:
        """Every picture, once."""
        yield self._first
        yield from self._decoded

    def clock(self) -> Clock:
        """A clock for the stamps of this file."""
        joined = "mpegts" in self.decoder.container.format.name
        return Clock(1 / self.decoder.rate, JUMP if joined else float("inf"))

    def warnings(self, frames: int) -> list[str]:
        """What is wrong with the file, after its last frame: a sentence each."""
        found, missing = [], self.decoder.missing()
        if missing or self.decoder.stopped:
            short = f", {missing:.1f} s before the end that its header names" if missing else ""
            why = f" ({self.decoder.stopped})" if self.decoder.stopped else ""
            found.append(f"{self._path} breaks off at frame {frames}{short}{why}; copy or re-encode it")
        if self.decoder.damaged:
            found.append(
                f"{self._path} is damaged in {self.decoder.damaged} places, where frames are missing or spoilt; "
                "copy or re-encode it"
            )
        return found

    def notes(self) -> list[str]:
        """What is worth knowing of the file, and no fault."""
        if not self.decoder.interlaced:
            return []
        return [f"{self._path} is interlaced, so vehicles in motion show combs; film progressively where you can"]

    def close(self) -> None:
        """Let go of the file."""
        self._decoded.close()
        self.decoder.container.close()


def _container(path: Path) -> "InputContainer":
    """The open file. Raises Refused, each in its own words, for what is missing, forbidden, empty or not a video."""
    if not path.is_file():
        raise Refused(f"there is no video {path}; check the path")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise Refused(f"{path} is empty (0 bytes); copy or record it again")
    try:  # "file:" and an absolute path, because "gate:1.mp4" would be a protocol
        return open_container(f"file:{path.absolute()}", {})
    except FAILURES as error:
        if _lacks_index(path):
            raise Refused(
                f"{path} was cut off before its index (moov) was written, without which no MP4 can be read; recover it with "
                "untrunc, or record to .mkv or .ts, which need none"
            ) from error
        raise Refused(
            f"{path} holds no video that FFmpeg can read, or is damaged ({reason_of(error)}); copy or re-encode it, "
            "for example to mp4"
        ) from error


def _lacks_index(path: Path) -> bool:
    """Whether the file is an MP4 (ISO/IEC 14496-12: boxes of 4 bytes length, 4 bytes type) without the box `moov`."""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        place, size = 0, path.stat().st_size
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            if head[4:8] == b"moov":
                return False
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the length stands behind the type
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: to the end of the file
                return True
            place += length
    return True
