"""What a run looks like from outside, at one moment: for metrics, health checks and the summary."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CameraStatus:
    """One camera. `age_s` is the time since its last frame (inf: none yet); `alive` is false while it is sought."""

    frames: int
    dropped: int
    reconnects: int
    tracks: int  # ended and told
    open_tracks: int
    age_s: float
    live: bool
    alive: bool
    fault: str | None = None  # what is wrong with its pictures: black, blank, frozen
    blind_s: float = 0.0  # seconds in which something was, in all


@dataclass(frozen=True)
class QueueStatus:
    """A bounded queue between two threads: how much lies in it, how much may, and what it had to let go."""

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
class OutletStatus:
    """A way out. Messages the peer took, those let go for want of room or time, and those it would not take."""

    sent: int
    dropped: int
    failed: int
    retries: int  # attempts that came to nothing and were, or will be, made again
    waiting: int
    room: int
    alive: bool  # false while the peer is sought


@dataclass(frozen=True)
class Status:
    """The whole run. `vehicles` and `prototypes` are those of the gallery; `embedded` counts crops."""

    started: float  # seconds since 1970
    seconds: float
    ready: bool  # every part is open and the first frame of some camera is through
    idle_s: float = 0.0  # since frames last went through the pipeline
    cameras: Mapping[str, CameraStatus] = field(default_factory=dict)
    queues: Mapping[str, QueueStatus] = field(default_factory=dict)
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    sightings: int = 0
    unknown: int = 0
    enrolled: int = 0
    embedded: int = 0
    passed_over: int = 0  # crops of followed vehicles that were not embedded
    vehicles: int = 0
    prototypes: int = 0
    outlets: Mapping[str, OutletStatus] = field(default_factory=dict)
