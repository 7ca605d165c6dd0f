"""How soon a vehicle in view has its right id, how often an id is revised, and how long a wrong one is shown: one table.

    python bench/time_to_identity.py ../shared/data/roadside-video made/s11 made/s12

Each folder holds cam*.mp4 and gt_cam*.txt with the true boxes, which are the detector's. The files are played as live cameras,
in step and as fast as the machine can, so that each track is identified when it ends and provisionally before; times are those
of the frames. Rows in bench/results/time_to_identity.json.

An id is right if it was enrolled for this vehicle, by an earlier track, or by this one where no earlier track of the vehicle has
one: a vehicle that comes back under a new id counts as wrong, as does one under another vehicle's.
"""

import argparse
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS

from vreid.runtime.embedder import open_embedder
from vreid.runtime.mot import MotTable, corners, read_mot
from vreid.runtime.records import Frame, overlaps
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sources.table import SOURCES, open_source

WIDE = 60.0  # pixels
SETTLED = 1.0  # seconds after its first id in which a track may change it freely


class InStep:
    """Lets no camera be more than one frame ahead of another."""

    def __init__(self) -> None:
        self._changed, self._given = threading.Condition(), dict[str, float]()

    def join(self, camera: str) -> None:
        """One more camera."""
        self._given[camera] = -1

    def wait(self, camera: str, frame: float) -> None:
        """Until every camera has given the frame before."""
        with self._changed:
            self._changed.wait_for(lambda: min(self._given.values()) >= frame - 1)
            self._given[camera] = frame
            self._changed.notify_all()

    def leave(self, camera: str) -> None:
        """It has ended."""
        self.wait(camera, self._given[camera])
        with self._changed:
            self._given[camera] = float("inf")
            self._changed.notify_all()


class LiveFile:
    """A live camera that gives the frames of a file, none of them dropped."""

    live, dropped, reconnects, refusal = True, 0, 0, ""
    warnings, notes = (), ()
    fault, blind_s, age, began = None, 0.0, 0.0, 1e9

    def __init__(self, camera: str, path: str) -> None:
        self.camera, self._file = camera, open_source(path)
        self.frame_rate, self.size = self._file.frame_rate, self._file.size
        IN_STEP.join(camera)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._file:
            IN_STEP.wait(self.camera, frame.index)
            yield Frame(self.camera, frame.index, frame.time, frame.image)
        IN_STEP.leave(self.camera)

    def limit(self, rate: float | None) -> None:
        """All frames are given."""

    def met(self, patience: float = 10.0) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def open_live_file(where: str, camera: str) -> LiveFile:
    """A member of the seam of sources."""
    return LiveFile(camera, where)


@dataclass(frozen=True)
class Shown:
    """A track of a true vehicle: its frames, and from which frame on it had which id, the last one for good."""

    camera: str
    vehicle: int
    first: int
    last: int
    enrolled: bool  # its last id is a new one
    ids: Sequence[tuple[float, int | None]]  # second, id

    def at(self, time: float) -> int | None:
        """The id that is shown at a time."""
        return next((number for since, number in reversed(self.ids) if since <= time + 1e-6), None)


def tracks_of(folder: Path, truth: Mapping[str, MotTable]) -> list[Shown]:
    """The tracks of a run in order of their ends, each with the true vehicle on whose box its last one lies."""
    ids: dict[tuple[str, int], list[tuple[float, int | None]]] = {}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["state"] in ("identified", "revised"):
            ids.setdefault((event["camera"], event["track"]), []).append((event["time"], event["vehicle"]))
    found = []
    for line in (folder / "sightings.jsonl").read_text().splitlines():
        row = json.loads(line)
        table = truth[row["camera"]]
        table = table.rows(table.frames == row["last_frame"] + 1)
        shared = overlaps(np.array([row["box"]]), corners(table.boxes))[0]
        if len(shared) and shared.max() >= 0.5:
            vehicle = int(table.ids[shared.argmax()])
            found.append(
                Shown(
                    row["camera"], vehicle, row["first_frame"], row["last_frame"], not row["known"],
                    ids.get((row["camera"], row["track"]), []),
                )
            )  # fmt: skip
    return found


def measured(tracks: Sequence[Shown], truth: Mapping[str, MotTable], rate: float) -> dict[str, Any]:
    """Over all vehicles that get WIDE pixels wide: seconds to the right id; shares of revised ids and of wrong seconds."""
    owners: dict[int, int] = {}
    waits, at_end, shown, wrong, foreign, revised, named = [], [], 0, 0, 0, 0, 0
    for track in tracks:
        own = {number for number, vehicle in owners.items() if vehicle == track.vehicle}
        final = track.ids[-1][1] if track.ids else None
        if final is not None and track.enrolled:
            owners[final] = track.vehicle
            own = own or {final}
        table = truth[track.camera]
        table = table.rows(
            (table.ids == track.vehicle) & (table.frames > track.first) & (table.frames <= track.last + 1)
        )
        frames = np.sort(table.frames) - 1
        numbers = [track.at(frame / rate) for frame in frames]
        shown += sum(number is not None for number in numbers)
        wrong += sum(number is not None and number not in own for number in numbers)
        foreign += sum(number is not None and number not in own and number in owners for number in numbers)
        if track.ids:
            named += 1
            changes = [since for since, _ in track.ids[1:] if since > track.ids[0][0] + SETTLED]
            revised += bool(changes)
        wide = table.frames[table.boxes[:, 2] >= WIDE] - 1
        if not len(wide):
            continue
        began = float(wide.min()) / rate
        right = [frame for frame, number in zip(frames, numbers, strict=True) if number in own]
        waits.append(max(0.0, right[0] / rate - began) if right else np.inf)
        at_end.append(max(0.0, track.last / rate - began) if final in own else np.inf)
    return {
        "tracks": len(waits),
        "p50_s": _p50(waits),
        "p50_at_the_end_s": _p50(at_end),
        "within_1_s": round(float(np.mean(np.array(waits) <= 1.0)), 3),
        "never": round(float(np.mean(np.isinf(waits))), 3),
        "never_at_the_end": round(float(np.mean(np.isinf(at_end))), 3),
        "revised_after_1_s": round(revised / max(1, named), 3),
        "wrong_seconds": round(wrong / max(1, shown), 3),
        "of_another_vehicle": round(foreign / max(1, shown), 3),
        "shown_s": round(shown / rate, 1),
    }


def _p50(seconds: Sequence[float]) -> float | None:
    """The median, None where it is never."""
    middle = float(np.median(seconds))
    return round(middle, 2) if np.isfinite(middle) else None


IN_STEP = InStep()


def main() -> None:
    global IN_STEP
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--topology", type=Path)
    parser.add_argument("--model", default="vreid-s", help="manifest .json, or the name of a bundled model")
    flags = parser.parse_args()
    SOURCES["device"] = "__main__:open_live_file"
    rows = []
    for videos in flags.folders:
        IN_STEP = InStep()
        names = [video.stem for video in sorted(videos.glob("cam*.mp4"))]
        truth = {name: read_mot(videos / f"gt_{name}.txt") for name in names}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            session = Session(
                sources=[f"{name}=v4l2://{videos.resolve() / name}.mp4" for name in names],
                detector=f"replay:{videos}",
                model=flags.model,
                out=out,
                enrol_unknown=True,
                events=True,
                topology=flags.topology,
            )
            summary = run_session(session, threading.Event())
            tracks = tracks_of(out, truth)
        rate = next(iter(summary["cameras"].values()))["frame_rate"]
        searches = summary["stages"]["provisional"]
        row = {
            "videos": videos.name,
            "model": open_embedder(flags.model).manifest.fingerprint,
            **measured(tracks, truth, rate),
            "searches_a_track": round(searches["count"] / max(1, summary["sightings"]), 2),
            "search_p50_ms": searches["p50_ms"],
            "date": date.today().isoformat(),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    (RESULTS / "time_to_identity.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
