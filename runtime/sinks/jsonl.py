"""`sightings.jsonl` and `events.jsonl`: one JSON object a line, on the disk as soon as it is known."""

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from vreid.runtime.records import FinishedTrack, Floats, Match, Notice, Trace, TrackEvent, kind_name


class _Lines:
    """Goes on where an earlier run's file ends, so that a live run that is started again loses nothing that it wrote.

    When somebody has moved the file away, to keep or to pack it, the next line begins a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _continued(path)

    def add(self, fields: Mapping[str, Any]) -> None:
        """One line, flushed: what a reader sees is whole unless the program died in the middle of it."""
        if not _is_at(self._file, self._path):
            self._file.close()
            self._file = _continued(self._path)
        self._file.write(json_text(fields) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No line comes any more."""
        self._file.close()


class JsonlSink:
    """A line for each finished track."""

    def __init__(self, folder: Path) -> None:
        self._lines = _Lines(folder / "sightings.jsonl")

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """One line."""
        self._lines.add(sighting_fields(sighting, match, trace))

    def close(self, summary: Mapping[str, Any]) -> None:
        """The summary is not written here: see `report.json`."""
        self._lines.close()


class EventsSink:
    """A follower: a line for each event of a track."""

    def __init__(self, folder: Path) -> None:
        self._lines = _Lines(folder / "events.jsonl")

    def event(self, event: TrackEvent) -> None:
        """One line."""
        self._lines.add(event_fields(event))

    def close(self) -> None:
        """No event comes any more."""
        self._lines.close()


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
    the last, x1 y1 x2 y2 in pixels, `kept` the file with its kept picture in the folder of those, or null.

    `vehicle` and `name` are null for an unknown; `score` is null where there was nobody to compare with; `withheld` is why an
    unknown one was not enrolled that would have been.
    """
    return {
        "camera": sighting.camera,
        "track": sighting.track,
        **_match_fields(match),
        "first_frame": sighting.first_frame,
        "last_frame": sighting.last_frame,
        "first_time": round(float(sighting.first_time), 3),
        "last_time": round(float(sighting.last_time), 3),
        "seen": round(sighting.seen, 3) if sighting.seen else None,
        "kind": kind_name(sighting.kind),
        "plate": sighting.plate,
        "zones": list(sighting.zones),
        "kept": sighting.kept,
        "crops": sighting.crops,
        "quality": round(float(sighting.quality), 4),
        "box": _edges(trace.boxes[-1]) if len(trace.boxes) else None,
    }


def event_fields(event: TrackEvent) -> dict[str, Any]:
    """The fields of an event; `time` is in seconds on the source's clock, `seen` in seconds since 1970, `box` x1 y1 x2 y2 in
    pixels."""
    track = event.track
    return {
        "state": event.state,
        "key": event.key,
        "camera": track.camera,
        "track": track.track,
        "time": round(float(track.last_time), 3),
        "seen": round(track.seen, 3) if track.seen else None,
        **_match_fields(event.match),
        "final": event.final,
        "kind": kind_name(track.kind),
        "box": _edges(event.box),
    }


def notice_fields(notice: Notice) -> dict[str, Any]:
    """The fields of a notice; `seen` is when it was, in seconds since 1970."""
    return {"camera": notice.camera, "seen": round(notice.at, 3), **notice.fields}


def _match_fields(match: Match) -> dict[str, Any]:
    return {
        "vehicle": match.vehicle,
        "name": match.name,
        "known": match.known,
        "score": round(float(match.score), 4) if math.isfinite(match.score) else None,
        "threshold": round(match.threshold, 4),
        "calibrated": match.calibrated or None,
        "answer": match.answer,
        "maybe": match.maybe,
        "withheld": match.withheld,
    }


def _edges(box: Floats) -> list[float]:
    return [round(float(edge), 2) for edge in box]


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON that every reader takes: NumPy's numbers as numbers, infinities and NaN as null."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """The body of a message: `json_text` in UTF-8, with ? for half a surrogate pair."""
    return json_text(fields).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    """`value` in the types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
