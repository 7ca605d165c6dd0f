"""What a run is to do, as its flags say it: `vreid run` parses them into a `Session`, `vreid.track` makes one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Session:
    """The flags of `vreid run`. They are checked where the run is set up (`vreid.runtime.run`)."""

    sources: Sequence[str] = field(repr=False)  # they may hold passwords, as `to` may
    """[name=]URI each: a.mp4, dir/, img_%04d.jpg, 0, /dev/video0, csi://0, gst:..., rtsp://, rtmp://, http://, udp://, synth://city?camera=1.

    ${NAME} and ${file:PATH} in an address stand for an environment variable and a file's content (docs/operations.md)."""
    out: Path | None = None
    """Folder for sightings.jsonl, mot/<camera>.txt, report.html and report.json."""
    model: str | Path = "vreid-s"
    """Manifest .json, or the name of a bundled model."""
    gallery: Path | None = None
    """Gallery file; with --enrol-unknown it is made when missing, and may be left out for one run only."""
    detector: str = "motion"
    """model:FILE[?tiles=2], motion, or replay:PATH (a MOT file, or a folder of <camera>.txt); docs/detectors.md."""
    enrol_unknown: bool = False
    """Give every unknown vehicle a new id in the gallery."""
    threshold: float | None = None
    """One score for all cameras from which a vehicle is known; by default this site's, learnt by pair of cameras."""
    false_match_rate: float = 0.05
    """Share of new vehicles that may get the id of another one; this site's threshold is set for it."""
    min_score: float | None = None
    """Least detector score; the detector's own by default."""
    truth: Path | None = None
    """Folder of ground truth (gt_<camera>.txt, MOT text): the run prints its IDF1."""
    annotate: bool = False
    """Also write video/<camera>.mp4 with boxes and ids, every frame at its own time (files only)."""
    events: bool = False
    """Also write events.jsonl: every track as it appears, is identified, provisionally while it is in view, and leaves."""
    embed: Literal["smart", "every"] = "smart"
    """Which crops are embedded: those that add something, or every one."""
    index: str = "flat"
    """How the gallery is searched: flat (exact), hnsw, ivf, ivfpq, gpu."""
    new_below: float | None = None
    """A vehicle is new below this score, known from the threshold on, and left unknown between; the threshold by default."""
    topology: Path | None = None
    """cameras.toml: how long vehicles take from camera to camera (docs/operations.md)."""
    plates: str | None = None
    """module:function of yours that reads a licence plate off a crop; a plate decides before looks do."""
    to: Sequence[str] = field(default=(), repr=False)
    """Outputs for each sighting besides the folder: mqtt://host/topic, http://host/path; may be repeated."""
    metrics: str | None = None
    """[HOST:]PORT where /metrics (Prometheus), /healthz, /livez and /readyz are served."""
    metrics_host: Sequence[str] = ()
    """A name in the header Host that is served too, besides IP addresses and localhost; may be repeated."""
    began: datetime | None = None
    """When the files' first frames were taken, such as 2026-11-22T08:00+01:00; now by default."""
    strict: bool = False
    """Refuse a video that breaks off or is damaged; by default what is there is kept, with a warning in the report."""
    threads: int = 1
    """CPU threads of detector and engine."""
