"""`vreid run`: find vehicles again in video files and live cameras."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import tyro

from vreid.cli import output
from vreid.runtime.session import Session


@dataclass(frozen=True, kw_only=True)
class Args(Session):
    """Track vehicles through video files or live cameras and give each the id it has in the gallery."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional] = field(repr=False)
    out: Path = field()  # required here
    model: str = "vreid-s"
    to: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=(), repr=False)
    metrics_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    json: bool = False
    """Print report.json's content on stdout."""


def main(args: Args) -> int:
    from vreid.runtime.network_address import substituted

    session = replace(
        args,
        sources=tuple(substituted(source, os.environ) for source in args.sources),
        to=tuple(substituted(address, os.environ) for address in args.to),
    )
    return done(session, args.json)


def done(session: Session, json: bool) -> int:
    """Run `session` under a progress bar, and print its summary as a document or as tables."""
    import cv2

    from vreid.models.errors import refuse_threads
    from vreid.runtime.run import run_session
    from vreid.runtime.sources.table import address_of

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
        print_summary(summary, session.out)
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


def print_summary(summary: dict[str, Any], out: Path | None) -> None:
    """The run in two short tables and, where truth is known, its score."""
    from vreid.runtime.threshold_summary import in_a_line

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
    output.result(in_a_line(summary["calibration"], summary["threshold"]))
    if identity := summary["identity"]:
        output.result(
            f"against the ground truth: identity accuracy {100 * identity['accuracy']:.1f} %, IDF1 {100 * identity['idf1']:.1f} %, "
            f"one id over all cameras for {100 * identity['kept_over_cameras']:.0f} % of {identity['vehicles']} vehicles"
        )
    if out is not None:
        output.result(f"report: {out / 'report.html'}")
