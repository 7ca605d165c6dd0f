"""Files as sources, read losslessly: videos, every frame that can be decoded, in order, with its own time; and pictures."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.runtime.records import Frame
from vreid.runtime.sources.decode import FAILURES, Clock, DecodedPicture, Decoder, open_container, reason_of
from vreid.runtime.sources.table import PATTERN, PICTURES, Source

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
            raise Refused(f"{path} holds no video; give another file, or re-encode it, for example to H.264") from error
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
        return [f"{self._path} is interlaced, so vehicles in motion show combs; record progressively where you can"]

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


NOMINAL_RATE = 10.0
VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".m4v", ".ts", ".webm", ".mpg", ".mpeg", ".wmv", ".flv")


def open_folder(where: str, camera: str) -> Source:
    """The pictures of a folder (not of folders in it), 2.jpg before 10.jpg; hidden files are left out."""
    folder = Path(where)
    if not folder.is_dir():
        raise Refused(f"there is no folder {where}; check the path")
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not paths and (videos := sorted(path.name for path in folder.iterdir() if path.suffix.lower() in VIDEOS)):
        raise Refused(
            f"the folder {where} holds no pictures but videos; name each as a source, such as {folder / videos[0]}"
        )
    if not paths:
        raise Refused(f"the folder {where} holds no pictures ({', '.join(PICTURES)}); check the path")
    return _pictures(sorted(paths, key=lambda path: natural_order(path.name)), camera)


def open_pattern(where: str, camera: str) -> Source:
    """The pictures that img_%04d.jpg stands for, by rising number; the first may be any, and gaps are passed over."""
    pattern = Path(where)
    parts = PATTERN.split(pattern.name)  # before, "0" or "", width, after
    if len(parts) != 4:
        raise Refused(f"{where} needs exactly one number, such as img_%04d.jpg")
    before, zero, width, after = parts
    folder = pattern.parent
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}; check the path")
    fits = re.compile(re.escape(before) + r" *([0-9]+)" + re.escape(after))
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := fits.fullmatch(path.name))]
    numbered = sorted((n, path) for n, path in found if path.name == f"{before}{n:{zero}{width}d}{after}")
    if not numbered:
        raise Refused(f"no picture fits {where}; check the path and the number of digits")
    return _pictures([path for _, path in numbered], camera)


def open_picture(where: str, camera: str) -> Source:
    """One picture, one frame."""
    return _pictures([Path(where)], camera)


def _pictures(paths: Sequence[Path], camera: str) -> Source:
    height, width = read_picture(paths[0]).shape[:2]
    return FrameSequence(camera, NOMINAL_RATE, (width, height), len(paths), lambda index: read_picture(paths[index]))


class FrameSequence:
    """`count` frames of `size` (width, height), each made by its index when it is taken; every iteration starts at the first.

    What `picture` raises, such as Refused for a damaged file, ends the iteration.
    """

    live = False
    dropped = 0
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __init__(
        self, camera: str, frame_rate: float, size: tuple[int, int], count: int, picture: Callable[[int], Image]
    ) -> None:
        self.camera, self.frame_rate, self.size = camera, frame_rate, size
        self._count, self._picture, self._closed = count, picture, False

    def __iter__(self) -> Iterator[Frame]:
        """Every frame."""
        for index in range(self._count):
            if self._closed:
                return
            yield Frame(self.camera, index, index / self.frame_rate, self._picture(index))

    def close(self) -> None:
        """End the iteration at its next frame."""
        self._closed = True


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that reads digits as numbers: a2 < a10; upper and lower case alike."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part] + [(2, 0, name)]
