"""One run as a person asks for it: opens everything, runs, and leaves the outputs whole or not at all."""

import os
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
from vreid.runtime.galleries.store import locked, unlocked
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.pipeline import Decided, Outcome, Parts, run
from vreid.runtime.sinks.table import SINKS, Sink
from vreid.runtime.sources.table import Source, open_source, open_sources
from vreid.runtime.staging import grown, refuse_in_the_way, staged
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
        # Entered last, left first: the gallery is kept before the outputs are, and those only need a rename.
        folder = opened.enter_context(grown(session.out) if live else staged(session.out))
        gallery = opened.enter_context(_gallery(session, embedder, bool(live)))
        identifier = Identifier(gallery, threshold, session.enrol_unknown, run=session.out.name)
        sinks: list[Sink] = [open_seam("sink", SINKS, name)(folder) for name in SINKS]

        def extra(decided: list[Decided]) -> dict[str, Any]:
            score = None if truth is None or live else identity_of(decided, truth)
            return {"detector": session.detector, "identity": score}

        outcome = run(Parts(sources, detector, embedder, identifier, sinks, stop=stop, watch=watch), extra)
        if session.annotate:
            _annotate(sources, session.sources, outcome, folder)
        if not live:
            refuse_in_the_way(folder, session.out)  # while the gallery can still forget
    return outcome.summary


@contextmanager
def _gallery(session: Session, embedder: Embedder, live: bool) -> Iterator[Gallery]:
    """The run's gallery. A finite run's writing is one transaction, and a new gallery of it appears when it is done."""
    manifest = embedder.manifest
    opening = partial(open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name)
    if session.gallery is None and not session.enrol_unknown:
        raise Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one")
    if session.gallery is None:
        with tempfile.TemporaryDirectory() as folder, opening(Path(folder) / "run.db", write=True) as gallery:
            yield gallery
    elif live or not session.enrol_unknown:
        with opening(session.gallery, write=session.enrol_unknown) as gallery:
            yield gallery
    elif session.gallery.exists():
        with opening(session.gallery, write=True) as gallery, gallery.transaction():
            yield gallery
    else:
        with _new(session.gallery) as draft, opening(draft, write=True) as gallery, gallery.transaction():
            yield gallery


@contextmanager
def _new(path: Path) -> Iterator[Path]:
    """Where a gallery is made that moves to `path` when the body succeeds; nobody else can make one there meanwhile."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for the gallery; make it first")
    lock = locked(path)
    try:
        if path.exists():  # between the look and the lock
            raise Refused(f"another program has just made the gallery {path}; run again to add to it")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            yield draft
            draft.replace(path)
            _on_disk(path.parent)
    finally:
        unlocked(path, lock)


def _on_disk(folder: Path) -> None:
    """What was renamed in `folder` survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _threshold(session: Session, embedder: Embedder) -> float:
    match = embedder.manifest.match
    calibrated = DEFAULT_THRESHOLD if match is None else match.threshold
    threshold = calibrated if session.threshold is None else session.threshold
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
