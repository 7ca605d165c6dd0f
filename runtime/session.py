"""One run as a person asks for it: opens everything, runs, and leaves the outputs whole or not at all."""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.pipeline import Decided, Outcome, Parts, run
from vreid.runtime.sinks.table import SINKS, Sink
from vreid.runtime.sources.table import Source, open_source, open_sources
from vreid.runtime.staging import staged
from vreid.runtime.truth import identity_of, truth_of

DEFAULT_THRESHOLD = 0.6


@dataclass(frozen=True)
class Session:
    """What to run. `gallery` None is one that lasts for the run; `threshold` None is the manifest's."""

    sources: Sequence[str]
    model: Path
    detector: str
    out: Path
    gallery: Path | None = None
    enrol_unknown: bool = False
    threshold: float | None = None
    min_score: float | None = None
    truth: Path | None = None
    annotate: bool = False
    threads: int = 1


def run_session(
    session: Session, stop: threading.Event, watch: Callable[[int], None] = lambda frames: None
) -> dict[str, Any]:
    """Run; returns the summary that report.json holds.

    A run over files writes `out` and the gallery at its end, all or nothing. With a live source both grow as it goes, and
    setting `stop` ends it well. Raises Refused before anything is written when a source, model or gallery does not fit.
    """
    with ExitStack() as opened:
        embedder = open_embedder(session.model, session.threads)
        truth = truth_of(session.sources, session.truth)
        sources = open_sources(session.sources)
        for source in sources:
            opened.callback(source.close)
        detector = open_detector(session.detector, threads=session.threads, min_score=session.min_score)
        gallery = opened.enter_context(_gallery(session, embedder))
        live = any(source.live for source in sources)
        if live:
            session.out.mkdir(parents=True, exist_ok=True)
        folder = session.out if live else opened.enter_context(staged(session.out))
        sinks: list[Sink] = [open_seam("sink", SINKS, name)(folder) for name in SINKS]
        identifier = Identifier(gallery, _threshold(session, embedder), session.enrol_unknown, run=session.out.name)

        def extra(decided: list[Decided]) -> dict[str, Any]:
            score = None if truth is None else identity_of(decided, truth)
            return {"detector": session.detector, "identity": score}

        outcome = run(Parts(sources, detector, embedder, identifier, sinks, stop=stop, watch=watch), extra)
        if session.annotate and not live:
            _annotate(sources, session.sources, outcome, folder)
        return outcome.summary


@contextmanager
def _gallery(session: Session, embedder: Embedder) -> Iterator[Gallery]:
    """The run's gallery; one that was made for a run that failed is taken away again."""
    manifest = embedder.manifest
    opening = partial(open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name)
    if session.gallery is None:
        if not session.enrol_unknown:
            raise Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one")
        with (
            tempfile.TemporaryDirectory() as folder,
            opening(Path(folder) / "run.db", write=True) as gallery,
        ):
            yield gallery
        return
    fresh = not session.gallery.exists()
    try:
        with opening(session.gallery, write=session.enrol_unknown) as gallery:
            yield gallery
    except BaseException:
        if fresh:
            for name in ("", "-wal", "-shm", ".lock"):
                session.gallery.with_name(session.gallery.name + name).unlink(missing_ok=True)
        raise


def _threshold(session: Session, embedder: Embedder) -> float:
    if session.threshold is not None:
        return session.threshold
    match = embedder.manifest.match
    return DEFAULT_THRESHOLD if match is None else match.threshold


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
