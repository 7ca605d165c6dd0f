"""Pictures as a source: a folder in natural order, a printf pattern, or one file; sizes may differ."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.runtime.records import Frame
from vreid.runtime.sources.table import PATTERN, PICTURES, Source

NOMINAL_RATE = 10.0


def open_folder(where: str, camera: str) -> Source:
    """The pictures of a folder (not of folders in it), 2.jpg before 10.jpg; hidden files are left out."""
    folder = Path(where)
    if not folder.is_dir():
        raise Refused(f"there is no folder {where}; check the path")
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not paths:
        raise Refused(f"the folder {where} holds no pictures ({', '.join(PICTURES)}); check the path")
    return PicturesSource(sorted(paths, key=lambda path: natural_order(path.name)), camera)


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
    return PicturesSource([path for _, path in numbered], camera)


def open_picture(where: str, camera: str) -> Source:
    """One picture, one frame."""
    return PicturesSource([Path(where)], camera)


class PicturesSource:
    """Pictures as the frames of a camera, at a nominal 10 a second. Each iteration starts at the first."""

    live = False
    dropped = 0
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    frame_rate = NOMINAL_RATE

    def __init__(self, paths: Sequence[Path], camera: str) -> None:
        self.camera = camera
        self._paths = list(paths)
        self._closed = False
        height, width = read_picture(self._paths[0]).shape[:2]
        self.size = (width, height)

    def __iter__(self) -> Iterator[Frame]:
        """Every picture; Refused, by name, at one that is damaged."""
        for index, path in enumerate(self._paths):
            if self._closed:
                return
            yield Frame(self.camera, index, index / self.frame_rate, read_picture(path))

    def close(self) -> None:
        """End the iteration at its next picture."""
        self._closed = True


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sort key that reads digits as numbers: a2 < a10; upper and lower case alike."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part] + [(2, 0, name)]
