"""What `vreid run` left in its folder, read back and checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vreid.models.errors import Refused
from vreid.runtime.frame_sync import seconds_at
from vreid.runtime.mot import MotTable, read_mot


@dataclass(frozen=True)
class CameraLog:
    """One camera as the run saw it: frames (lost ones counted), picture size in pixels (0: unknown), frames a second.

    `times`: knots of frame (from 0) and seconds, see FrameTimes; none in the report of a live run or of an earlier commit.
    """

    frames: int
    width: int
    height: int
    frame_rate: float
    times: tuple[tuple[float, float], ...] = ()

    @property
    def timed(self) -> bool:
        """Whether it is known when a frame was taken."""
        return bool(self.times) or self.frame_rate > 0

    def seconds(self, frames: ArrayLike) -> NDArray[np.float64]:
        """(N,) frames from 1 -> (N,) seconds since the first, by the frames' own time stamps; by the mean rate where the
        report has none, and NaN where it has no rate either."""
        wanted = np.asarray(frames, np.float64) - 1
        if self.times:
            return seconds_at(self.times, wanted)
        return wanted / self.frame_rate if self.frame_rate > 0 else np.full(wanted.shape, np.nan)


@dataclass(frozen=True)
class LoggedSighting:
    """One line of sightings.jsonl: frames count from 0, `box` is the last one, x1 y1 x2 y2, `vehicle` None for an unknown."""

    camera: str
    vehicle: int | None
    first_frame: int
    last_frame: int
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder. `boxes`: camera -> the boxes with an id; `report` is report.json."""

    folder: Path
    cameras: dict[str, CameraLog]
    boxes: dict[str, MotTable]
    sightings: list[LoggedSighting]
    report: dict[str, Any]


def finished_run(folder: Path) -> FinishedRun:
    """Read the run in `folder`. Refused: no run, a broken one, or one that gave nobody an id."""
    report = _report(folder)
    try:
        cameras = {str(name): _camera_log(camera) for name, camera in report["cameras"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{folder / 'report.json'} lacks what its cameras saw ({error!r}); run again") from error
    if not cameras:
        raise Refused(f"{folder / 'report.json'} has no camera; run again with at least one source")
    boxes = {camera: _boxes(folder / "mot" / f"{camera}.txt") for camera in cameras}
    sightings = _sightings(folder / "sightings.jsonl", set(cameras))
    if not any(map(len, boxes.values())):
        raise Refused(
            f"the run {folder} gave none of its {len(sightings)} sightings an id, so there is nothing to evaluate; "
            f"run with --enrol-unknown, or with a --gallery that knows the vehicles"
        )
    return FinishedRun(folder, cameras, boxes, sightings, report)


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "report.json"
    if not path.is_file():
        raise Refused(f"{folder} is not a finished run: it has no report.json; give the --out folder of vreid run")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{path} is not JSON ({error}); run again") from error
    if not isinstance(report, dict):
        raise Refused(f"{path} is not the report of a run; run again")
    return report


def _camera_log(camera: dict[str, Any]) -> CameraLog:
    """The camera's part of the report; a live camera may not know its frame rate."""
    return CameraLog(
        frames=int(camera["frames"]) + int(camera.get("dropped") or 0),
        width=int(camera.get("width") or 0),
        height=int(camera.get("height") or 0),
        frame_rate=float(camera.get("frame_rate") or 0.0),
        times=tuple((float(frame), float(time)) for frame, time in camera.get("frame_times") or ()),
    )


def _boxes(path: Path) -> MotTable:
    table = read_mot(path)
    refuse_doubles(table, path)
    return table


def refuse_doubles(table: MotTable, path: Path) -> None:
    """Refused: a box without an id, or an id twice in a frame."""
    if (table.ids < 0).any():
        frame = int(table.frames[table.ids < 0][0])
        raise Refused(f"{path} has a box without an id in frame {frame}; give every box one, or take it out")
    keys, counts = np.unique(np.stack([table.frames, table.ids], axis=1), axis=0, return_counts=True)
    if (counts > 1).any():
        frame, number = keys[counts > 1][0].tolist()
        raise Refused(f"{path} has the id {number} twice in frame {frame}; an id belongs to one box a frame")


def _sightings(path: Path, cameras: set[str]) -> list[LoggedSighting]:
    if not path.is_file():
        raise Refused(f"{path.parent} is not a finished run: it has no {path.name}; give the --out folder of vreid run")
    sightings = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            fields = json.loads(line)
            box = None if fields.get("box") is None else _edges(*fields["box"])
            vehicle = None if fields["vehicle"] is None else int(fields["vehicle"])
            seen = LoggedSighting(
                str(fields["camera"]), vehicle, int(fields["first_frame"]), int(fields["last_frame"]), box
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{path}, line {number}, is not a sighting ({error!r}); run again") from error
        if seen.camera not in cameras:
            raise Refused(
                f"{path}, line {number}, is of camera {seen.camera}, which report.json does not have; run again"
            )
        sightings.append(seen)
    return sightings


def _edges(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    return float(x1), float(y1), float(x2), float(y2)
