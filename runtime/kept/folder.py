"""The folder of kept pictures: `gate/2026-11-29/101530123-31.jpg`, by camera, the time (UTC) of a sighting's end, and track.

So a file is found from a sighting's row in the gallery, whichever vehicle that belongs to now. C++ knows the names too.
"""

import contextlib
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.runtime.gallery.records import SightingInfo

_LOG = logging.getLogger("vreid")
PICTURE, CLIP = ".jpg", ".mp4"
SLACK = 50  # over its bound, a folder is brought down by a part of so many more, so that this is seldom
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FILE = re.compile(r"\.?(\d{9})-\d+(?:\.[\d-]+\.tmp)?\.(?:jpg|mp4)", re.ASCII)  # also one that a killed process left
# files that this process is to write yet, and that nobody has removed before they are there
_EXPECTED: set[Path] = set()


def folder_of_gallery(gallery: Path) -> Path:
    """Where the kept pictures of a gallery lie: known.db.pictures for known.db."""
    real = gallery.resolve()
    return real.with_name(f"{real.name}.pictures")


def kept_name(camera: str, seen: float, track: int, ending: str = PICTURE) -> str:
    """The path in the folder, parted by "/", of a sighting that ended at `seen`, in seconds since 1970."""
    day, clock = _stamp(seen)
    return f"{camera}/{day}/{clock}-{track}{ending}"


def _stamp(seen: float) -> tuple[str, str]:
    """The day and the time of day to the millisecond (UTC); texts in the order of time."""
    seconds, milliseconds = divmod(math.floor(seen * 1000), 1000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%d}", f"{moment:%H%M%S}{milliseconds:03d}"


@dataclass(frozen=True)
class KeptFile:
    """A file of the folder, temporary ones included; `stamp` is its day and time of day."""

    path: Path
    stamp: tuple[str, str]
    size: int


class KeptFolder:
    """A folder of kept pictures, which need not be there. What has another name than a kept picture is never touched."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: bytes) -> int:
        """Write a file, complete or not at all; its size. Raises OSError."""
        with self.replacing(name) as temporary:
            temporary.write_bytes(content)
        return len(content)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A temporary file that becomes `name` when the body succeeds. Raises OSError."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            yield temporary

    def expect(self, name: str) -> None:
        """Say that `name` is to be written later; until `is_wanted` is asked, `remove` also holds for what is not there yet."""
        _EXPECTED.add(self.path / name)

    def is_wanted(self, name: str) -> bool:
        """Whether nobody has removed `name` since it was expected, asked when it was written; if somebody has, it goes."""
        path = self.path / name
        if path in _EXPECTED:
            _EXPECTED.discard(path)
            return True
        path.unlink(missing_ok=True)
        return False

    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for day, folders in self._days() for folder in folders for file in _files(day, folder))

    def find(self, camera: str, seen: float, track: int) -> Path | None:
        """The file that was kept of a sighting, if there is one."""
        return next((Path(path) for path in self._names(camera, seen, track) if os.path.isfile(path)), None)  # noqa: PTH113

    def _names(self, camera: str, seen: float, track: int) -> list[str]:
        """The paths that it may have, as text: a page looks for a hundred of them."""
        if "/" in camera or not camera.strip("."):  # of a program's own sightings; a run's camera is called otherwise
            return []
        stem = f"{self.path}/{kept_name(camera, seen, track, '')}"
        return [stem + PICTURE, stem + CLIP]

    def remove(self, camera: str, seen: float, track: int) -> int:
        """Remove what was kept of a sighting, what a killed process left unfinished and what is still to be written too; how
        many files there were. Raises Refused where one cannot be removed."""
        paths = [Path(name) for name in self._names(camera, seen, track)]
        _EXPECTED.difference_update(paths)  # first: who writes one now asks after that
        try:
            return sum(_removed(each) for path in paths for each in (path, *_unfinished(path)))
        except OSError as error:
            raise Refused(
                f"cannot remove the kept picture {error.filename} ({error.strerror}); make its folder writable"
            ) from error

    def remove_before(self, moment: float) -> int:
        """Remove what ended before `moment`, seconds since 1970; how many files there were. One that cannot be removed is said."""
        if moment <= 0:
            return 0
        stamp, count = _stamp(moment), 0
        for day, folders in self._days():
            if day > stamp[0]:
                break
            old = [file for folder in folders for file in _files(day, folder) if file.stamp < stamp]
            count += sum(_removed_or_said(file.path) for file in old)
            _drop_empty(folders)
        return count

    def remove_oldest(self, most: int) -> int:
        """If there are more than `most` bytes, remove the oldest files, until there is some room; how many there were."""
        size, count = self.size(), 0
        if size <= most:
            return 0
        for day, folders in self._days():
            for file in sorted((f for folder in folders for f in _files(day, folder)), key=lambda file: file.stamp):
                if size <= most - most // SLACK:
                    return count
                if _removed_or_said(file.path):
                    count, size = count + 1, size - file.size
            _drop_empty(folders)
        return count

    def _days(self) -> list[tuple[str, list[Path]]]:
        """The days, rising, and their folders, one a camera."""
        found: dict[str, list[Path]] = {}
        for camera in _folders_in(self.path):
            for day in _folders_in(camera):
                if _DAY.fullmatch(day.name):
                    found.setdefault(day.name, []).append(day)
        return sorted(found.items())


def link_to(folder: Path, out: Path) -> str:
    """The relative URL of the folder as a page in `out` has it, with "/" at its end."""
    return quote(os.fsencode(os.path.relpath(folder.resolve(), out.resolve()))) + "/"


def _folders_in(folder: Path) -> list[Path]:
    """Never through a link, which may lead anywhere."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # it is not there, or not for us
        return []


def _files(day: str, folder: Path) -> list[KeptFile]:
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _FILE.fullmatch(entry.name)
            if match is not None and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # another process removes it too
                    found.append(KeptFile(Path(entry.path), (day, match[1]), entry.stat(follow_symlinks=False).st_size))
    return found


def _unfinished(path: Path) -> list[Path]:
    """The temporary files that became or would have become `path`."""
    return list(path.parent.glob(f".{path.stem}.*.tmp{path.suffix}"))


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _removed_or_said(path: Path) -> bool:
    try:
        return _removed(path)
    except OSError as error:
        _LOG.warning("cannot remove the kept picture %s (%s); make its folder writable", path, error.strerror)
        return False


def _drop_empty(folders: list[Path]) -> None:
    for folder in folders:
        for path in (folder, folder.parent):
            with contextlib.suppress(OSError):  # there is something in it
                path.rmdir()


class KeptRemovals:
    """Kept pictures of sightings that are deleted from the gallery at `path`: their files go when that is committed, and stay when
    it is not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[SightingInfo] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sightings: Iterable[SightingInfo]) -> None:
        """Their files go with the next `committed`."""
        self._waiting += sightings

    def rolled_back(self, count: int) -> None:
        """Only the first `count` are deleted still."""
        del self._waiting[count:]

    def committed(self) -> None:
        """Remove the files. One that cannot be removed is said, for nothing in the gallery leads to it any more."""
        gone, self._waiting = self._waiting, []
        folder = KeptFolder(folder_of_gallery(self._path))
        for seen in gone:
            try:
                folder.remove(seen.camera, seen.at, seen.track)
            except Refused as refused:
                _LOG.warning("%s and remove the file: its sighting is deleted", refused)
