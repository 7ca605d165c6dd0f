"""The state of a run at one moment, how long its stages take, and the summary in report.json."""

import math
import random
import resource
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from vreid.runtime.frame_sync import FrameTimes
from vreid.runtime.site_evidence import Pair
from vreid.runtime.sources.table import Source
from vreid.runtime.threshold import Level

if TYPE_CHECKING:
    from vreid.runtime.pipeline import Parts
    from vreid.runtime.track_finalizer import Tally


STALLED_S = 30.0  # after which a run in which nothing moves counts as stalled


@dataclass(frozen=True)
class CameraStatus:
    """One camera. `age_s` is the time since its last frame (inf: none yet); `alive` is false while it is away."""

    frames: int
    dropped: int
    reconnects: int
    tracks: int  # ended and reported
    open_tracks: int
    age_s: float
    live: bool
    alive: bool
    fault: str | None = None  # what is wrong with its pictures: black, blank, frozen
    blind_s: float = 0.0  # seconds in which something was, in all
    alarm: bool = False  # there are too many new vehicles (runtime/guards.py)
    alarms: int = 0  # that have begun
    rate: float = 0.0  # frames a second over the last minute

    @property
    def healthy(self) -> bool:
        """Whether its pictures show something."""
        return self.fault is None


@dataclass(frozen=True)
class QueueStatus:
    """A bounded queue between two threads: how much lies in it, how much may, and what it had to drop."""

    depth: int
    room: int
    dropped: int


@dataclass(frozen=True)
class StageStatus:
    """A stage of the pipeline: how often it ran, its seconds in all, and percentiles of one call in seconds."""

    count: int
    seconds: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class OutputStatus:
    """An output. Messages the peer took, those dropped for want of room or time, and those it would not take."""

    sent: int
    dropped: int
    failed: int
    retries: int  # attempts that came to nothing and were, or will be, made again
    waiting: int
    room: int
    alive: bool  # false while the peer is away


@dataclass(frozen=True)
class FleetStatus:
    """What a box sends to its centre, and what it receives. Counts are of this process, but what was dropped for want of room and
    what is unanswered are of the gallery."""

    alive: bool  # false while the centre is away
    sent: int
    sent_pictures: int
    retries: int
    waiting: int = 0  # messages
    waiting_pictures: int = 0
    waiting_bytes: int = 0
    room: int = 0  # bytes that may wait
    dropped: int = 0
    dropped_pictures: int = 0
    lag_s: float = 0.0  # age of the oldest that waits
    received: int = 0  # messages of the centre
    unanswered: int = 0  # sightings without an identity
    heard: float = 0.0  # when something was received last, in seconds since 1970; 0: never


@dataclass(frozen=True)
class Status:
    """The whole run. `vehicles` and `prototypes` are those of the gallery; `embedded` counts crops; `thresholds` are those
    that this site has shown."""

    started: float  # seconds since 1970
    seconds: float
    ready: bool  # every part is open and the first frame of some camera is through
    idle_s: float = 0.0  # since frames last went through the pipeline
    cameras: Mapping[str, CameraStatus] = field(default_factory=dict)
    queues: Mapping[str, QueueStatus] = field(default_factory=dict)
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    sightings: int = 0
    unknown: int = 0
    doubtful: int = 0
    withheld: int = 0  # unknown ones that a guard kept from being enrolled
    enrolled: int = 0
    embedded: int = 0
    passed_over: int = 0  # crops of tracked vehicles that were not embedded
    vehicles: int = 0
    prototypes: int = 0
    thresholds: Mapping[Pair, Level] = field(default_factory=dict)
    outputs: Mapping[str, OutputStatus] = field(default_factory=dict)
    fleet: Mapping[str, FleetStatus] = field(default_factory=dict)  # by box: this one, or none


RATE_S = 60.0  # over which frames a second are counted


class FrameRates:
    """Frames a second of each camera over the last minute, from counts that the run hands in as it goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past: deque[tuple[float, dict[str, int]]] = deque([(0.0, {})])  # seconds of the run, frames

    def count(self, seconds: float, frames: Mapping[str, int]) -> None:
        """So many frames of each camera have gone through after so many seconds of the run; kept once a second."""
        if seconds - self._past[-1][0] >= 1.0:
            with self._lock:
                self._past.append((seconds, dict(frames)))
                while self._past[1][0] <= seconds - RATE_S:
                    self._past.popleft()

    def of(self, camera: str, seconds: float, frames: int) -> float:
        """Of a camera that has given so many frames by now; from any thread."""
        with self._lock:
            past = [*self._past]
        since, before = next((one for one in reversed(past) if one[0] <= seconds - RATE_S), past[0])
        return max(0, frames - before.get(camera, 0)) / max(seconds - since, 1e-9)


_STAGES = ("wait", "detect", "track", "preprocess", "embed", "provisional", "search", "tell")
KEPT = 20_000


class Stages:
    """Times of the stages by name; beyond `kept` a stage keeps a fair sample (Vitter, Algorithm R, 1985)."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._random = kept, random.Random(0)
        self.times: dict[str, list[float]] = {stage: [] for stage in _STAGES}
        self._counts: dict[str, int] = dict.fromkeys(_STAGES, 0)
        self._seconds: dict[str, float] = dict.fromkeys(_STAGES, 0.0)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Times the body as one call of `stage`; a body that raises is not counted."""
        began = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - began)

    def add(self, stage: str, seconds: float) -> None:
        """One call of `stage` took `seconds`."""
        times = self.times[stage]
        self._counts[stage] += 1
        self._seconds[stage] += seconds
        if len(times) < self._kept:
            times.append(seconds)
        elif (place := self._random.randrange(self._counts[stage])) < self._kept:
            times[place] = seconds

    def status(self) -> dict[str, StageStatus]:
        """Each stage that ran; may be called from any thread."""
        found = {}
        for stage, times in self.times.items():
            if kept := list(times):
                p50, p90, p99 = np.percentile(kept, (50, 90, 99)).tolist()
                found[stage] = StageStatus(self._counts[stage], self._seconds[stage], p50, p90, p99)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        """Stage -> count, seconds in all, and p50, p90, p99 in milliseconds, of the stages that ran."""
        return {
            stage: {
                "count": now.count,
                "p50_ms": round(1000 * now.p50, 3),
                "p90_ms": round(1000 * now.p90, 3),
                "p99_ms": round(1000 * now.p99, 3),
                "seconds": round(now.seconds, 3),
            }
            for stage, now in self.status().items()
        }


def summary_of(
    parts: "Parts",
    sources: Sequence[Source],
    status: Status,
    times: Mapping[str, FrameTimes],
    tally: "Tally",
    stages: Stages,
    frames: int,
) -> dict[str, Any]:
    """The run as `status` has it; `times` are those of the files' frames, by camera."""
    manifest, places = parts.embedder.manifest, tally.cameras
    model = {key: getattr(manifest, key) for key in ("name", "backend", "precision", "fingerprint")}
    return {
        "started": datetime.fromtimestamp(status.started, timezone.utc).isoformat(timespec="seconds"),
        "model": {**model, **manifest.cost.model_dump()},
        "cameras": {source.camera: _camera(source, status, times.get(source.camera)) for source in sources},
        "vehicles": len(places),
        "seen_by_several": sum(len(cameras) > 1 for cameras in places.values()),
        "known": len(places) - status.enrolled,
        "enrolled": status.enrolled,
        "unknown": status.unknown,
        "doubtful": status.doubtful,
        "withheld": status.withheld,
        "sightings": status.sightings,
        "embedded": status.embedded,
        "passed_over": status.passed_over,
        "threshold": parts.identifier.rule.prior,
        "calibration": parts.identifier.calibration(),
        "seconds": round(status.seconds, 2),
        "frames": frames,
        "frames_per_second": round(frames / max(status.seconds, 1e-9), 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "stages": stages.summary(),
        "outside": round(_outside(sources, status), 4),
        "kept": None if parts.keeper is None else parts.keeper.summary(),
        "identity": None,
    }


def _camera(source: Source, status: Status, times: FrameTimes | None) -> dict[str, Any]:
    """One camera; times and warnings only where there is something to say."""
    view = status.cameras[source.camera]
    steady = times is None or times.steady(source.frame_rate)
    more = {
        "frame_times": None if times is None or steady else times.knots(),
        "warnings": list(source.warnings),
        "notes": list(source.notes),
    }
    return {
        "frames": view.frames,
        "dropped": view.dropped,
        **({"reconnects": view.reconnects} if view.live else {}),
        **({"alarms": view.alarms} if view.alarms else {}),
        "tracks": view.tracks,
        "width": source.size[0],
        "height": source.size[1],
        "frame_rate": source.frame_rate,
        **{name: value for name, value in more.items() if value},
    }


def _outside(sources: Sequence[Source], status: Status) -> float:
    """The share of the wall's time in which neither the detector nor the embedder worked, nor a camera was waited for."""
    live = any(source.live for source in sources)
    inside = sum(status.stages[name].seconds for name in ("detect", "embed") if name in status.stages)
    waited = status.stages["wait"].seconds if live and "wait" in status.stages else 0.0
    return max(0.0, 1 - inside / max(status.seconds - waited, 1e-9))


def why_blind(status: Status) -> str | None:
    """Which cameras give pictures that show nothing, in a sentence; None: none does, as far as they are up."""
    blind = [f"{name} gives {one.fault} pictures" for name, one in status.cameras.items() if one.alive and one.fault]
    return "; ".join(sorted(blind)) or None


def why_stalled(status: Status, stalled_s: float = STALLED_S) -> str | None:
    """What is wrong with a run that does not move, in a sentence; None: it moves, or only waits for cameras it seeks."""
    if status.idle_s < stalled_s:
        return None
    if status.cameras and not any(camera.alive for camera in status.cameras.values()):
        return None
    alive = ", ".join(sorted(name for name, camera in status.cameras.items() if camera.alive)) or "no camera"
    idle = f"for {status.idle_s:.0f} s" if math.isfinite(status.idle_s) else "yet"
    return f"nothing went through the pipeline {idle}, though these are up: {alive}"
