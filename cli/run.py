"""`vreid run`: find vehicles again in video files and live cameras."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vreid.cli import output
from vreid.cli.gallery_place import GalleryFlag
from vreid.models.errors import Refused
from vreid.runtime.session import RunSettings, Session, Site, site_of

if TYPE_CHECKING:
    from vreid.runtime.run import OpenSender

MOTION = (
    "vehicles are found by motion, so rain, shadows and people count as well; a network knows better: "
    "vreid get, then --detector model:NAME (docs/detectors.md)"
)


@dataclass(frozen=True, kw_only=True)
class Args(Session):
    """Track vehicles through video files or live cameras and give each the id it has in the gallery.

    In place of sources and flags, a site's file may say everything: vreid run site.toml (docs/site.md)."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional] = field(repr=False)
    model: str = str(RunSettings.model)
    gallery: GalleryFlag | None = None
    to: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=(), repr=False)
    watch: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    metrics_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    json: bool = False
    """Print report.json's content on stdout."""


def main(args: Args) -> int:
    from vreid.runtime.network_address import substituted
    from vreid.runtime.public_models import models_folder, with_public_model

    if any(is_site(source) for source in args.sources):
        return _site(args)
    if args.out is None:
        raise Refused("a run needs a folder for what it finds; give --out runs/live, for example")
    session = replace(
        args,
        detector=with_public_model(args.detector, models_folder(os.environ)),
        sources=tuple(substituted(source, os.environ) for source in args.sources),
        to=tuple(substituted(address, os.environ) for address in args.to),
    )
    return done(site_of(session), args.json)


def is_site(source: str) -> bool:
    """Whether a word of the command line is a site's file and not a source."""
    return Path(source).suffix.lower() == ".toml" and "://" not in source


def _site(args: Args) -> int:
    """The run of the file that the command line names. Raises Refused where it says anything else too."""
    from vreid.runtime.site.read import read_site

    if len(args.sources) > 1:
        raise Refused("a site's file comes alone; name one file, and write further cameras into it as [camera.NAME]")
    for each in fields(Session):
        if each.name != "sources" and getattr(args, each.name) != each.default:
            flag = each.name.replace("_", "-")
            raise Refused(
                f"--{flag} has no place next to a site's file; write it into {args.sources[0]} (docs/site.md)"
            )
    file = Path(args.sources[0])
    return done(read_site(file, os.environ), args.json, lambda: read_site(file, os.environ))


def done(site: Site, json: bool, read: Callable[[], Site] | None = None) -> int:
    """Run `site` under a progress bar, and print its summary as a document or as tables; SIGHUP lets a live run go on with what
    `read` gives then."""
    import cv2

    from vreid.models.errors import refuse_threads
    from vreid.runtime.open_site import OpenSite
    from vreid.runtime.pipeline import Run
    from vreid.runtime.run import run_site
    from vreid.runtime.site.reload import Reloader, Requests
    from vreid.runtime.sources.table import address_of

    live = any(address_of(camera.source).live for camera in site.cameras)
    refuse_threads(site.threads)
    cv2.setNumThreads(site.threads)
    stop, requests = threading.Event(), Requests()
    by_motion = live and any(camera.detector.partition(":")[0] == "motion" for camera in site.cameras)

    def along(opened: OpenSite, run: Run) -> AbstractContextManager[object]:
        if by_motion:
            output.note(MOTION)
        return nullcontext() if read is None or not live else Reloader(opened, run, requests, read)

    hang_up = None if read is None else requests.add if live else _not_reloaded
    with signals(stop, live, hang_up), output.progress() as bar:
        task = bar.add_task("frames", total=None)
        frames = lambda count: bar.update(task, completed=count)  # noqa: E731
        summary = run_site(site, stop, frames, along, open_sender=sender_of(site))
    if site.fleet is not None and not live:
        output.note("what this run has found waits for the centre; vreid fleet send SITE sends it (docs/fleet.md)")
    if json:
        output.document(summary)
    else:
        print_summary(summary, site.out)
    return 0


def sender_of(site: Site) -> "OpenSender | None":
    """What sends to the centre of the site, if it names one."""
    if site.fleet is None:
        return None
    from vreid.fleet.sender import Sender

    return Sender


def _not_reloaded() -> None:
    output.note("a run over files ends by itself and does not read its file again; start it anew with the changed file")


@contextmanager
def signals(stop: threading.Event, live: bool, hang_up: Callable[[], None] | None) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a live run well, the second time at once; a run over files leaves nothing behind. SIGHUP calls
    `hang_up`; without one it ends the run as they do, unless it is ignored (nohup)."""

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set() or not live:
            raise KeyboardInterrupt
        stop.set()

    def read_again(number: int, frame: FrameType | None) -> None:
        if hang_up is not None:
            hang_up()

    handlers = {signal.SIGINT: end, signal.SIGTERM: end}
    if hang_up is not None:
        handlers[signal.SIGHUP] = read_again
    elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = end
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
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
        f"{summary['seen_by_several']} of them in several cameras; sightings that are unknown: {summary['unknown']}, "
        f"doubtful: {summary['doubtful']}; "
        f"{summary['frames_per_second']:.1f} frames a second, {summary['peak_memory_mb']:.0f} MB at most"
    )
    if withheld := summary["withheld"]:
        output.result(f"unknown and not enrolled: {withheld} (too many at once, or no crop good enough)")
    output.result(f"found by {summary['detector']}")
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
