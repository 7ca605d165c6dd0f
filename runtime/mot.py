"""MOT text, one box a line, `frame,id,x,y,w,h[,score[,class[,visibility]]]`: read, written, and the sink of a run."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.runtime.records import FinishedTrack, Floats, Ints, Match, Trace

LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class MotTable:
    """One camera's boxes as columns: frames (N,) from 1, ids (N,) or -1 for none, boxes (N, 4) x y w h in pixels,
    scores (N,), kinds (N,) class or -1, visibility (N,) 0-1."""

    frames: Ints
    ids: Ints
    boxes: Floats
    scores: Floats
    kinds: Ints
    visibility: Floats

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, which: Ints | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> "MotTable":
        """The rows that `which` (a mask or row numbers) picks."""
        return MotTable(*(column[which] for column in vars(self).values()))


def corners(boxes: Floats) -> Floats:
    """(N, 4) x y w h -> (N, 4) x1 y1 x2 y2."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _numbers(line: str) -> tuple[list[int], list[float]]:
    """One line -> [frame, id, class], [x, y, w, h, score, visibility]; ValueError says what is wrong with it."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 6:
        raise ValueError(f"it has {len(fields)} fields and needs frame,id,x,y,w,h")
    values = [float(field) for field in fields[:9]] + [1.0, -1.0, 1.0][max(0, min(len(fields), 9) - 6) :]
    if not all(map(math.isfinite, values)):
        raise ValueError("it holds a number that is not finite")
    frame, track, x, y, w, h, score, kind, visibility = values
    if frame < 1 or frame > LARGEST_ID or frame != int(frame):
        raise ValueError(f"frame {fields[0]} is not a whole number from 1")
    if track < -1 or track > LARGEST_ID or track != int(track):
        raise ValueError(f"id {fields[1]} is not a whole number from 0 to {LARGEST_ID}, nor -1 for none")
    if w <= 0 or h <= 0:
        raise ValueError("its width or height is not above 0")
    if kind != int(kind) or abs(kind) > LARGEST_ID:
        raise ValueError(f"class {fields[7]} is not a whole number")
    # Result files of MOTChallenge end in -1,-1,-1,-1: no score is given, and a negative visibility is an unknown one.
    score = 1.0 if score == -1 else score
    return [int(frame), int(track), int(kind)], [x, y, w, h, score, 1.0 if visibility < 0 else visibility]


def read_mot(path: str | Path) -> MotTable:
    """The table at `path`, rows in the file's order; score and visibility are 1 where they are missing or -1, class -1.

    Raises Refused, with file and line number, for a missing file or a line that is not MOT text.
    """
    path = Path(path)
    if not path.is_file():
        raise Refused(f"there is no MOT file {path}; give a text file with lines of frame,id,x,y,w,h")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise Refused(f"{path} cannot be read as MOT text ({error}); give lines of frame,id,x,y,w,h") from error
    whole: list[list[int]] = []
    parts: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            integers, floats = _numbers(line)
        except ValueError as error:
            raise Refused(f"{path}, line {number}: {error}; correct the line") from error
        whole.append(integers)
        parts.append(floats)
    i = np.asarray(whole, np.int64).reshape(-1, 3)
    f = np.asarray(parts, np.float32).reshape(-1, 6)
    return MotTable(i[:, 0], i[:, 1], f[:, :4], f[:, 4], i[:, 2], f[:, 5])


def write_mot(path: str | Path, rows: MotTable) -> None:
    """Write `rows` in their order, whole or not at all; boxes to a hundredth of a pixel."""
    path = Path(path)
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent}; make it before writing {path.name}")
    columns = zip(rows.frames, rows.ids, rows.boxes, rows.scores, rows.kinds, rows.visibility, strict=True)
    lines = [
        f"{frame},{track},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},{kind},{visibility:.2f}\n"
        for frame, track, (x, y, w, h), score, kind, visibility in columns
    ]
    write_atomic(path, "".join(lines))


_ROW = np.dtype([("frame", "i8"), ("id", "i8"), ("box", "f4", 4), ("score", "f4"), ("kind", "i8")])
_THINNEST = 0.005  # pixels; less is written as 0.00, which no reader takes


class MotSink:
    """Writes `folder`/mot/ at the end of a run. Rows wait in one unnamed file a camera, not in memory: a run may last for weeks."""

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


def _table(rows: NDArray[Any]) -> MotTable:
    """Rows by frame, then id. Where a frame has an id twice, as after a broken track, the box of the higher score stays."""
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
