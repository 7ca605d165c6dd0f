"""`mot/<camera>.txt`: MOT text whose ids are vehicles, shared over the cameras; what a tracker's benchmark reads."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.evaluate.mot import MotTable, write_mot
from vreid.runtime.records import FinishedTrack, Match, Trace

_ROW = np.dtype([("frame", "i8"), ("id", "i8"), ("box", "f4", 4), ("score", "f4"), ("kind", "i8")])
_THINNEST = 0.005  # pixels; less is written as 0.00, which no reader takes


class MotSink:
    """Rows wait in one unnamed file a camera, not in memory: a run may last for weeks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mot"
        self._folder.mkdir(exist_ok=True)
        self._waiting: dict[str, IO[bytes]] = {}

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """The boxes of a track with a vehicle; one without is left out, for MOT text has no id for it."""
        if match.vehicle is None:
            return
        rows = np.zeros(len(trace.frames), _ROW)
        rows["frame"], rows["id"], rows["kind"] = trace.frames + 1, match.vehicle, sighting.kind
        rows["box"][:, :2], rows["box"][:, 2:] = trace.boxes[:, :2], trace.boxes[:, 2:] - trace.boxes[:, :2]
        rows["score"] = trace.scores
        if sighting.camera not in self._waiting:
            self._waiting[sighting.camera] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._waiting[sighting.camera].write(rows.tobytes())

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write every camera of the summary, one by one; a camera without a row gets an empty file."""
        for camera in sorted({*self._waiting, *summary.get("cameras", {})}):
            stored = b""
            if camera in self._waiting:
                with self._waiting.pop(camera) as file:
                    file.seek(0)
                    stored = file.read()
            write_mot(self._folder / f"{_file_name(camera)}.txt", _table(np.frombuffer(stored, _ROW)))


def open_mot(folder: Path) -> MotSink:
    """The sink of `folder`/mot/, written at the end of the run."""
    return MotSink(folder)


def _table(rows: NDArray[Any]) -> MotTable:
    """Rows by frame, then id. Where a frame has an id twice, as after a broken track, the surer box stays."""
    rows = rows[(rows["box"][:, 2:] > _THINNEST).all(axis=1)]
    rows = rows[np.lexsort((-rows["score"], rows["id"], rows["frame"]))]
    first = np.ones(len(rows), bool)
    first[1:] = (np.diff(rows["frame"]) != 0) | (np.diff(rows["id"]) != 0)
    rows = rows[first]
    unknown = np.full(len(rows), -1, np.float32)
    return MotTable(rows["frame"], rows["id"], rows["box"], rows["score"], rows["kind"], unknown)


def _file_name(camera: str) -> str:
    """The camera's name without what would be a folder."""
    return camera.replace("/", "_").replace("\\", "_").replace("\0", "_")
