"""`sightings.jsonl`: one JSON object a sighting, on the disk as soon as it is decided."""

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from vreid.runtime.records import FinishedTrack, Match, Trace, kind_name


class JsonlSink:
    """Goes on where an earlier run's file ends, so that a live run that is started again loses nothing that it wrote.

    When somebody has moved the file away, to keep or to pack it, the next line begins a new one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sightings.jsonl"
        self._file = _continued(self._path)

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """One line, flushed: what a reader sees is whole unless the program died in the middle of it."""
        if not _is_at(self._file, self._path):
            self._file.close()
            self._file = _continued(self._path)
        self._file.write(json_text(sighting_fields(sighting, match, trace)) + "\n")
        self._file.flush()

    def close(self, summary: Mapping[str, Any]) -> None:
        """The summary is not written here: see `report.json`."""
        self._file.close()


def _continued(path: Path) -> IO[str]:
    """`path`, open at its end, without the piece of a line that a program left which died in the middle of it."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                whole = content.rfind(b"\n") + 1
            file.truncate(whole)
    return path.open("a", encoding="utf-8", buffering=1)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def sighting_fields(sighting: FinishedTrack, match: Match, trace: Trace) -> dict[str, Any]:
    """The line's fields: frames from 0, times in seconds on the source's clock, `seen` the last in seconds since 1970, `box`
    the last, x1 y1 x2 y2 in pixels.

    `vehicle` and `name` are null for an unknown; `score` is null where there was nobody to compare with.
    """
    return {
        "camera": sighting.camera,
        "track": sighting.track,
        "vehicle": match.vehicle,
        "name": match.name,
        "known": match.known,
        "score": round(float(match.score), 4) if math.isfinite(match.score) else None,
        "threshold": round(match.threshold, 4),
        "calibrated": match.calibrated,
        "first_frame": sighting.first_frame,
        "last_frame": sighting.last_frame,
        "first_time": round(float(sighting.first_time), 3),
        "last_time": round(float(sighting.last_time), 3),
        "seen": round(sighting.seen, 3) if sighting.seen else None,
        "kind": kind_name(sighting.kind),
        "plate": sighting.plate,
        "crops": sighting.crops,
        "quality": round(float(sighting.quality), 4),
        "box": [round(float(edge), 2) for edge in trace.boxes[-1]] if len(trace.boxes) else None,
    }


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON that every reader takes: NumPy's numbers as numbers, infinities and NaN as null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    """`value` in the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
