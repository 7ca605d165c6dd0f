"""`vreid run`: find vehicles again in video files and live cameras."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vreid.cli import output

if TYPE_CHECKING:
    from vreid.runtime.session import Session


@dataclass(frozen=True)
class Args:
    """Follow vehicles through video files or live cameras and give each the id it has in the gallery."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional]
    """[name=]URI each: cam1.mp4, dir/, img_%04d.jpg, 0, /dev/video0, rtsp://..., rtmp://..., http://..., udp://..., synth://city?camera=1.

    ${NAME} and ${file:PATH} in an address stand for an environment variable and a file's content (docs/operations.md)."""
    out: Path
    """Folder for sightings.jsonl, mot/<camera>.txt, report.html and report.json."""
    model: str = "vreid-s"
    """Manifest .json, or the name of a bundled model."""
    gallery: Path | None = None
    """Gallery file; with --enrol-unknown it is made when missing, and may be left out for one run only."""
    detector: str = "motion"
    """yolox:FILE[?tiles=2], motion, or replay:PATH (a MOT file, or a folder of <camera>.txt)."""
    enrol_unknown: bool = False
    """Give every unknown vehicle a new id in the gallery."""
    threshold: float | None = None
    """Least cosine of a known vehicle; the manifest's calibrated one by default."""
    min_score: float | None = None
    """Least detector score; the detector's own by default."""
    truth: Path | None = None
    """Folder of ground truth (gt_<camera>.txt, MOT text): the run prints its IDF1."""
    annotate: bool = False
    """Also write video/<camera>.mp4 with boxes and ids, every frame at its own time (files only)."""
    embed: Literal["smart", "every"] = "smart"
    """Which crops are embedded: those that tell something new, or every one."""
    index: str = "flat"
    """How the gallery is searched: flat (exact), hnsw, ivf, ivfpq, gpu."""
    new_below: float | None = None
    """A vehicle is new below this score, known from the threshold on, and left unknown between; the threshold by default."""
    topology: Path | None = None
    """cameras.toml: how long vehicles take from camera to camera (docs/operations.md)."""
    plates: str | None = None
    """module:function of yours that reads a licence plate off a crop; what it reads is evidence beside looks."""
    to: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Ways out for each sighting besides the folder: mqtt://host/topic, http://host/path; may be repeated."""
    metrics: str | None = None
    """[HOST:]PORT where /metrics (Prometheus), /healthz, /livez and /readyz are served."""
    metrics_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A name by which others ask for them (header Host), besides IP addresses and localhost; may be repeated."""
    began: datetime | None = None
    """When the files' first frames were taken, such as 2026-11-22T08:00+01:00; now by default."""
    strict: bool = False
    """Refuse a film that breaks off or is damaged; by default what is there is kept, with a warning in the report."""
    threads: int = 1
    """CPU threads of detector and engine."""
    json: bool = False
    """Print report.json's content on stdout."""


def main(args: Args) -> int:
    """Run and say what was seen."""
    from vreid.runtime.secrets import substituted
    from vreid.runtime.session import Session

    session = Session(
        sources=[substituted(source, os.environ) for source in args.sources],
        model=args.model,
        detector=args.detector,
        out=args.out,
        gallery=args.gallery,
        enrol_unknown=args.enrol_unknown,
        threshold=args.threshold,
        min_score=args.min_score,
        truth=args.truth,
        annotate=args.annotate,
        threads=args.threads,
        embed=args.embed,
        index=args.index,
        new_below=args.new_below,
        topology=args.topology,
        plates=args.plates,
        to=[substituted(address, os.environ) for address in args.to],
        metrics=args.metrics,
        metrics_hosts=args.metrics_host,
        began=_moment(args.began),
        strict=args.strict,
    )
    return done(session, args.json)


def _moment(began: datetime | None) -> float | None:
    """Seconds since 1970. Raises Refused for a time that no gallery takes."""
    from vreid.models.errors import Refused
    from vreid.runtime.gallery.times import is_moment

    if began is None:
        return None
    try:
        seconds = began.timestamp()
    except (OverflowError, ValueError, OSError):
        seconds = -1.0
    if not is_moment(seconds):
        raise Refused(f"--began {began.isoformat()} is not between 1970 and 2286; write it like 2026-11-22T08:00+01:00")
    return seconds


def done(session: "Session", json: bool) -> int:
    """Run `session` under a progress bar, and print its summary as a document or as tables."""
    import cv2

    from vreid.models.ranges import refuse_threads
    from vreid.runtime.session import run_session
    from vreid.runtime.sources.address import address_of

    live = any(address_of(source).live for source in session.sources)
    refuse_threads(session.threads)
    cv2.setNumThreads(session.threads)
    stop = threading.Event()
    with _signals(stop, live), output.progress() as bar:
        task = bar.add_task("frames", total=None)
        summary = run_session(session, stop, lambda frames: bar.update(task, completed=frames))
    if json:
        output.document(summary)
    else:
        tell(summary, session.out)
    return 0


@contextmanager
def _signals(stop: threading.Event, live: bool) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a live run well, the second time at once; a run over files leaves nothing behind."""

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set() or not live:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(summary: dict[str, Any], out: Path) -> None:
    """The run in two short tables and, where truth is known, its score."""
    columns = ("frames", "dropped", "reconnects", "tracks")
    rows = [(name, *(camera.get(key, 0) for key in columns)) for name, camera in summary["cameras"].items()]
    output.table("cameras", ("camera", *columns), rows)
    stages = summary["stages"].items()
    output.table(
        "latency",
        ("stage", "count", "p50 ms", "p90 ms", "p99 ms", "s in all"),
        [(name, *stage.values()) for name, stage in stages],
    )
    output.result(
        f"{summary['vehicles']} vehicles ({summary['known']} known, {summary['enrolled']} newly enrolled), "
        f"{summary['seen_by_several']} of them in several cameras; {summary['unknown']} unknown sightings; "
        f"{summary['frames_per_second']:.1f} frames a second, {summary['peak_memory_mb']:.0f} MB at most"
    )
    boxes = summary["embedded"] + summary["passed_over"]
    output.result(
        f"{summary['embedded']} of {boxes} boxes of followed vehicles embedded ({summary['embedding']}); "
        f"{100 * summary['outside']:.0f} % of the time outside detector and embedder"
    )
    if identity := summary["identity"]:
        output.result(
            f"against the ground truth: identity accuracy {100 * identity['accuracy']:.1f} %, IDF1 {100 * identity['idf1']:.1f} %, "
            f"one id over all cameras for {100 * identity['kept_over_cameras']:.0f} % of {identity['vehicles']} vehicles"
        )
    output.result(f"report: {out / 'report.html'}")
