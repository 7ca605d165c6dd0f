"""Replay: boxes from MOT text instead of a network; the detectors' test double, and a way to bring your own boxes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.camera_names import file_of
from vreid.runtime.detectors.table import numbers_of
from vreid.runtime.mot import MotTable, corners, read_mot
from vreid.runtime.records import Detections, Frame

_LOG = logging.getLogger("vreid")
MOSTLY = 0.5  # the share of boxes outside from which another size of the video is likely


class ReplayDetector:
    """Frame `index` of a camera shows the boxes of MOT frame `index + 1`; ids are not passed on."""

    first_score = 0.0  # what somebody wrote down is a vehicle
    least_travel = 0.0
    kinds = None

    def __init__(self, path: Path, min_score: float, min_visibility: float) -> None:
        self._path = path
        self._min_score = min_score
        self._min_visibility = min_visibility
        self._cameras: dict[str, MotTable] = {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Refused: a camera without a file, or a file that is not MOT text."""
        return [self._boxes(frame) for frame in frames]

    def forget(self, camera: str) -> None:
        """Read its file anew."""
        self._cameras.pop(camera, None)

    def _boxes(self, frame: Frame) -> Detections:
        if frame.camera not in self._cameras:
            self._cameras[frame.camera] = self._read(frame)
        table = self._cameras[frame.camera]
        rows = slice(*np.searchsorted(table.frames, [frame.index + 1, frame.index + 2]))
        return Detections(corners(table.boxes[rows]), table.scores[rows], table.kinds[rows])

    def _read(self, frame: Frame) -> MotTable:
        """The boxes worth showing of the camera of `frame`, its first, sorted by frame."""
        file = self._file(frame.camera)
        table = read_mot(file)
        _refuse_another_size(table, file, frame)
        table = table.rows((table.scores >= self._min_score) & (table.visibility >= self._min_visibility))
        return table.rows(np.argsort(table.frames, kind="stable"))

    def _file(self, camera: str) -> Path:
        if self._path.is_file():
            if self._cameras:
                first = next(iter(self._cameras))
                raise Refused(
                    f"{self._path} is one file and serves camera '{first}'; give a folder that also holds {camera}.txt"
                )
            return self._path
        found = file_of(self._path, (f"{camera}.txt", f"gt_{camera}.txt"))
        if found is not None:
            return found
        raise Refused(f"{self._path} has no boxes for camera '{camera}'; put {camera}.txt or gt_{camera}.txt into it")


def _refuse_another_size(table: MotTable, file: Path, frame: Frame) -> None:
    """Refused where no box lies in the picture: they were made for pictures of another size. Said where most do not."""
    height, width = frame.image.shape[:2]
    edges = corners(table.boxes)
    middles = (edges[:, :2] + edges[:, 2:]) / 2
    if not len(edges):
        return
    sizes = f"they reach {edges[:, 2].max():.0f} x {edges[:, 3].max():.0f}, the picture is {width} x {height}"
    if not ((edges[:, 2:] > 0) & (edges[:, :2] < (width, height))).all(axis=1).any():
        raise Refused(
            f"all boxes of {file} lie outside of the picture of {frame.camera}: {sizes}; "
            "give boxes that were made for videos of this size"
        )
    outside = ~((middles >= 0) & (middles <= (width, height))).all(axis=1)
    if outside.mean() > MOSTLY:
        _LOG.warning(
            "%d of %d boxes of %s have their middle outside of the picture: %s", outside.sum(), len(edges), file, sizes
        )


def open_replay(target: str, options: Mapping[str, str], *, threads: int, min_score: float | None) -> ReplayDetector:
    """`target`: one MOT file (one camera) or a folder of `[gt_]<camera>.txt`; option `min_visibility`."""
    path = Path(target)
    if not target or not path.exists():
        raise Refused(f"there is nothing to replay at '{target}'; write replay:FILE or replay:FOLDER with MOT text")
    values = numbers_of("replay", options, {"min_visibility": (0.1, 0.0, 1.0)})
    return ReplayDetector(path, min_score if min_score is not None else 0.0, values["min_visibility"])
