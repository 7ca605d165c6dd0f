"""Replay: boxes from MOT text instead of a network; the detectors' test double, and a way to bring your own boxes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.camera_names import file_of
from vreid.runtime.detectors.options import numbers_of
from vreid.runtime.mot import MotTable, corners, read_mot
from vreid.runtime.records import Detections, Frame


class Replay:
    """Frame `index` of a camera shows the boxes of MOT frame `index + 1`; ids are not passed on."""

    first_score = 0.0  # what somebody wrote down is a vehicle
    least_travel = 0.0

    def __init__(self, path: Path, min_score: float, min_visibility: float) -> None:
        self._path = path
        self._min_score = min_score
        self._min_visibility = min_visibility
        self._cameras: dict[str, MotTable] = {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Refused: a camera without a file, or a file that is not MOT text."""
        return [self._boxes(frame) for frame in frames]

    def _boxes(self, frame: Frame) -> Detections:
        if frame.camera not in self._cameras:
            self._cameras[frame.camera] = self._read(frame.camera)
        table = self._cameras[frame.camera]
        rows = slice(*np.searchsorted(table.frames, [frame.index + 1, frame.index + 2]))
        return Detections(corners(table.boxes[rows]), table.scores[rows], table.kinds[rows])

    def _read(self, camera: str) -> MotTable:
        """The camera's boxes worth showing, sorted by frame."""
        table = read_mot(self._file(camera))
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


def open_replay(target: str, options: Mapping[str, str], *, threads: int, min_score: float | None) -> Replay:
    """`target`: one MOT file (one camera) or a folder of `[gt_]<camera>.txt`; option `min_visibility`."""
    path = Path(target)
    if not target or not path.exists():
        raise Refused(f"there is nothing to replay at '{target}'; write replay:FILE or replay:FOLDER with MOT text")
    values = numbers_of("replay", options, {"min_visibility": (0.1, 0.0, 1.0)})
    return Replay(path, min_score if min_score is not None else 0.0, values["min_visibility"])
