"""One run as a person asks for it: opens everything, runs, and leaves the outputs whole or not at all."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.crops import EMBEDDING
from vreid.runtime.deciding import Decided
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.evaluate.truth import identity_of, truth_of
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.retention import purge_due
from vreid.runtime.gallery.temporary import gallery_of_run
from vreid.runtime.identify import REMEMBERED_S, Identifier
from vreid.runtime.pipeline import Outcome, Parts, Run
from vreid.runtime.plates import no_plate, plate_reader
from vreid.runtime.sinks.outlets import open_outlets
from vreid.runtime.sinks.table import SINKS, Sink
from vreid.runtime.sources.table import Source, open_source, open_sources
from vreid.runtime.staging import grown, refuse_in_the_way, staged
from vreid.runtime.topology import read_topology


@dataclass(frozen=True)
class Session:
    """What to run. `gallery` None is one that lasts for the run; `threshold` None is the manifest's."""

    sources: Sequence[str] = field(repr=False)  # they may hold passwords
    model: str | Path  # a manifest, or the name of a bundled model
    detector: str
    out: Path
    gallery: Path | None = None
    enrol_unknown: bool = False
    threshold: float | None = None
    min_score: float | None = None
    truth: Path | None = None
    annotate: bool = False
    threads: int = 1
    embed: str = "smart"  # a key of EMBEDDING
    index: str = "flat"
    new_below: float | None = None  # None: the threshold
    topology: Path | None = None
    plates: str | None = None  # "module:function" that reads a plate off a picture
    to: Sequence[str] = field(default=(), repr=False)  # outputs besides the folder
    metrics: str | None = None  # [HOST:]PORT
    metrics_hosts: Sequence[str] = ()  # names in the header Host that are answered besides IP addresses
    began: float | None = None  # of files, seconds since 1970
    strict: bool = False  # refuse a film that breaks off or is damaged


def run_session(
    session: Session, stop: threading.Event, watch: Callable[[int], None] = lambda frames: None
) -> dict[str, Any]:
    """Run; returns the summary that report.json holds.

    A run over files writes `out` and the gallery at its end, all or nothing. With a live source both grow as it goes, and
    setting `stop` ends it well. Raises Refused before anything is written when a source, model or gallery does not fit.
    """
    if not session.sources:
        raise Refused("there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/")
    with ExitStack() as opened:
        embedder = open_embedder(session.model, session.threads)
        detector = open_detector(session.detector, threads=session.threads, min_score=session.min_score)
        truth = truth_of(session.sources, session.truth)
        sources = open_sources(session.sources)
        for source in sources:
            opened.callback(source.close)
        live = [source.camera for source in sources if source.live]
        if live and (session.annotate or session.truth):
            flag = "--annotate" if session.annotate else "--truth"
            raise Refused(f"{flag} needs files, and {', '.join(live)} is live; record it, or leave {flag} out")
        threshold = _threshold(session, embedder)
        cameras = [source.camera for source in sources]
        topology = None if session.topology is None else read_topology(session.topology, cameras)
        plate = no_plate if session.plates is None else plate_reader(session.plates)
        ways_out = open_outlets(session.to, session.out.name)
        for way in ways_out:
            opened.callback(way.close, {})  # also of a run that fails
        # Entered last, left first: the gallery is kept before the outputs are, and those only need a rename.
        folder = opened.enter_context(grown(session.out) if live else staged(session.out))
        manifest = embedder.manifest
        space = partial(open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim)
        opening = partial(space, model=manifest.name, index=session.index)
        gallery = opened.enter_context(gallery_of_run(opening, session.gallery, session.enrol_unknown, bool(live)))
        gallery.who = f"run:{session.out.name}"
        identifier = Identifier(
            gallery, threshold, session.enrol_unknown,
            run=session.out.name, new_below=session.new_below, topology=topology,
        )  # fmt: skip
        if live:
            identifier.recall(time.time() - REMEMBERED_S)
        # MOT text is sorted by frame, so that it can be written only at the end: of a month of cameras nobody wants that.
        written = [name for name in SINKS if name != "mot" or not live]
        sinks: list[Sink] = [open_seam("sink", SINKS, name)(folder) for name in written]

        def extra(decided: list[Decided]) -> dict[str, Any]:
            score = None if truth is None or live else identity_of(decided, truth)
            return {"detector": session.detector, "embedding": session.embed, "identity": score}

        running = Run(
            Parts(
                sources, detector, embedder, identifier, [*sinks, *ways_out], EMBEDDING[session.embed], stop, watch,
                began=session.began, strict=session.strict, plate=plate, idle=lambda: _in_time(gallery),
            )
        )  # fmt: skip
        if session.metrics is not None:
            from vreid.runtime.monitor import Monitor  # needs a package that only this does

            monitor = Monitor(
                lambda: replace(running.status(), outlets={way.name: way.status() for way in ways_out}),
                session.metrics,
                hosts=session.metrics_hosts,
            )
            opened.callback(monitor.close)
        outcome = running.to_the_end(extra)
        if session.annotate:
            _annotate(sources, session.sources, outcome, folder)
        if not live:
            refuse_in_the_way(folder, session.out)  # while the gallery can still forget
    return outcome.summary


def _in_time(gallery: Gallery) -> None:
    """What the gallery's retention asks for, where this run may write it."""
    if gallery.writable:
        purge_due(gallery)


def _threshold(session: Session, embedder: Embedder) -> float:
    threshold = embedder.threshold if session.threshold is None else session.threshold
    if not -1 <= threshold <= 1:  # before a live run makes its gallery
        raise Refused(
            f"a threshold is a cosine from -1 to 1, not {threshold}; leave --threshold out for the manifest's"
        )
    return threshold


def _annotate(sources: Sequence[Source], texts: Sequence[str], outcome: Outcome, folder: Path) -> None:
    """A second pass over the files, since identities are decided at the end."""
    from vreid.runtime.sinks.annotate import annotate

    (folder / "video").mkdir()
    for source, text in zip(sources, texts, strict=True):
        marks = [
            (match, trace, sighting) for sighting, match, trace in outcome.decided if sighting.camera == source.camera
        ]
        again = open_source(text)
        try:
            annotate(again, marks, folder / "video" / f"{source.camera}.mp4")
        finally:
            again.close()
