"""A run set up from its session, the one way for `vreid run` and `vreid.track`; outputs are complete or not there at all."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.models.files import atomic_folder, growing_folder, refuse_in_the_way
from vreid.models.seam import open_seam
from vreid.runtime.camera_pipeline import EMBEDDING
from vreid.runtime.detectors.table import Detector, open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.evaluate.truth import identity_of, truth_of_run
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.records import is_moment
from vreid.runtime.gallery.sqlite.database import new_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.in_view import Follower
from vreid.runtime.pipeline import Outcome, Parts, Run
from vreid.runtime.recent_positions import REMEMBERED_S
from vreid.runtime.session import Session
from vreid.runtime.sinks.jsonl import EventsSink
from vreid.runtime.sinks.table import SINKS, Sink, open_outputs, open_sink
from vreid.runtime.site_threshold import FixedThreshold, SiteThreshold, Threshold
from vreid.runtime.sources.table import Source, open_source, open_sources
from vreid.runtime.topology import Topology, read_topology
from vreid.runtime.track_finalizer import IdentifiedTrack, PlateReader, no_plate, plate_reader


@dataclass(frozen=True)
class OpenSession:
    """What a session names, open and checked; nothing was written so far. `live` are the names of the live cameras."""

    session: Session
    embedder: Embedder
    detector: Detector
    sources: Sequence[Source]
    live: Sequence[str]
    threshold: float | None  # the user's; None: this site's
    began: float | None  # seconds since 1970
    topology: Topology | None
    plate: PlateReader

    def gallery(self) -> AbstractContextManager[Gallery]:
        """The session's gallery, see `_gallery_of_run`. Raises Refused before anything is written."""
        manifest = self.embedder.manifest
        opening = partial(
            open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name,
            index=self.session.index,
        )  # fmt: skip
        return _gallery_of_run(opening, self.session.gallery, self.session.enrol_unknown, bool(self.live))

    def identifier(self, gallery: Gallery) -> Identifier:
        """The identifier of this run; of a live one it knows where the vehicles of `gallery` were lately."""
        name = "" if self.session.out is None else self.session.out.name
        rule: Threshold
        if self.threshold is None:
            rule = SiteThreshold(
                self.embedder.match, self.session.false_match_rate, self.topology, gallery.site_threshold(),
                gallery.about.dim,
            )  # fmt: skip
        else:
            rule = FixedThreshold(self.threshold)
        found = Identifier(
            gallery, rule, self.session.enrol_unknown,
            run=name, new_below=self.session.new_below, topology=self.topology,
        )  # fmt: skip
        if self.live:
            found.recall(time.time() - REMEMBERED_S)
        return found

    def run(
        self,
        identifier: Identifier,
        sinks: Sequence[Sink],
        stop: threading.Event,
        progress: Callable[[int], None] = lambda frames: None,
        followers: Sequence[Follower] = (),
    ) -> Run:
        """The run, which begins with `Run.to_the_end`."""
        return Run(
            Parts(
                self.sources, self.detector, self.embedder, identifier, sinks, EMBEDDING[self.session.embed], stop,
                progress, began=self.began, strict=self.session.strict, plate=self.plate, idle=identifier.maintain,
                followers=followers,
            )
        )  # fmt: skip


@contextmanager
def _gallery_of_run(opening: Callable[..., Gallery], path: Path | None, enrol: bool, live: bool) -> Iterator[Gallery]:
    """The run's gallery. A finite run's writing is one transaction, and a new gallery of it appears when it is done.

    Without a `path` it lasts for the run. Raises Refused where there is neither a gallery to search nor one to begin.
    """
    if path is None and not enrol:
        raise Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one")
    if path is None:
        with tempfile.TemporaryDirectory() as folder, opening(Path(folder) / "run.db", write=True) as gallery:
            yield gallery
    elif live or not enrol:
        with opening(path, write=enrol) as gallery:
            yield gallery
    elif path.exists():
        with opening(path, write=True) as gallery, gallery.transaction():
            yield gallery
    else:
        with new_gallery(path) as temporary, opening(temporary, write=True) as gallery, gallery.transaction():
            yield gallery


@contextmanager
def opened_session(session: Session, embedder: Embedder | None = None) -> Iterator[OpenSession]:
    """Open the model (unless `embedder` is given), the detector and the sources of `session`, and check the rest.

    Raises Refused for whatever does not fit, before anything is written.
    """
    if not session.sources:
        raise Refused("there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/")
    began = _seconds(session.began)
    with ExitStack() as opened:
        embedder = embedder or open_embedder(session.model, session.threads)
        detector = open_detector(session.detector, threads=session.threads, min_score=session.min_score)
        sources = open_sources(session.sources)
        for source in sources:
            opened.callback(source.close)
        live = [source.camera for source in sources if source.live]
        if live and (session.annotate or session.truth):
            flag = "--annotate" if session.annotate else "--truth"
            raise Refused(f"{flag} needs files, and {', '.join(live)} is live; record it, or leave {flag} out")
        threshold = session.threshold
        if threshold is not None and not -1 <= threshold <= 1:  # before a live run makes its gallery
            raise Refused(
                f"a threshold is a cosine from -1 to 1, not {threshold}; leave --threshold out for this site's"
            )
        if not 0 < session.false_match_rate < 1:
            raise Refused(f"a false-match rate of {session.false_match_rate} is not between 0 and 1; write 0.05")
        cameras = [source.camera for source in sources]
        topology = None if session.topology is None else read_topology(session.topology, cameras)
        plate = no_plate if session.plates is None else plate_reader(session.plates)
        yield OpenSession(session, embedder, detector, sources, live, threshold, began, topology, plate)


def run_session(
    session: Session, stop: threading.Event, progress: Callable[[int], None] = lambda frames: None
) -> dict[str, Any]:
    """Run; returns the summary that report.json holds.

    A run over files writes `out` and the gallery at its end, all or nothing. With a live source both grow as it goes, and
    setting `stop` ends it well. Raises Refused before anything is written or sent when a source, model or gallery does not
    fit. Without `out` nothing is written but the gallery.
    """
    truth = truth_of_run(session.sources, session.truth)
    with ExitStack() as stack:
        opened = stack.enter_context(opened_session(session))
        outputs = open_outputs(session.to, "run" if session.out is None else session.out.name)
        for output in outputs:
            stack.callback(output.close, {})  # also of a run that fails
        making = growing_folder if opened.live else atomic_folder
        # Entered last, left first: the gallery is kept before the outputs are, and those only need a rename.
        folder = None if session.out is None else stack.enter_context(making(session.out))
        gallery = stack.enter_context(opened.gallery())
        gallery.who = "run" if session.out is None else f"run:{session.out.name}"
        identifier = opened.identifier(gallery)
        sinks = [] if folder is None else _sinks(folder, bool(opened.live))
        followers: list[Follower] = [output for output in outputs if output.follows]
        if session.events and folder is not None:
            events = EventsSink(folder)
            stack.callback(events.close)
            followers.append(events)
        run = opened.run(identifier, [*sinks, *outputs], stop, progress, followers)

        def extra(identified: list[IdentifiedTrack]) -> dict[str, Any]:
            score = None if truth is None or opened.live else identity_of(identified, truth)
            return {"detector": session.detector, "embedding": session.embed, "identity": score}

        if session.metrics is not None:
            serving = open_seam("flag", {"--metrics": "vreid.runtime.monitor:Monitor"}, "--metrics", "live")
            monitor = serving(
                lambda: replace(run.status(), outputs={output.name: output.status() for output in outputs}),
                session.metrics,
                hosts=session.metrics_host,
            )
            stack.callback(monitor.close)
        for output in outputs:  # all else is open: only now is anybody outside connected to
            output.start()
        outcome = run.to_the_end(extra)
        if folder is not None and session.out is not None and not opened.live:
            if session.annotate:
                _annotate(opened.sources, session.sources, outcome, folder)
            refuse_in_the_way(folder, session.out)  # while the gallery can still forget
    return outcome.summary


def _seconds(began: datetime | None) -> float | None:
    """Seconds since 1970. Raises Refused for a time that no gallery takes."""
    if began is None:
        return None
    try:
        seconds = began.timestamp()
    except (OverflowError, ValueError, OSError):
        seconds = -1.0
    if not is_moment(seconds):
        raise Refused(f"--began {began.isoformat()} is not between 1970 and 2286; write it like 2026-11-22T08:00+01:00")
    return seconds


def _sinks(folder: Path, live: bool) -> list[Sink]:
    """MOT text is sorted by frame, so that it can be written only at the end: of a month of cameras nobody wants that."""
    return [open_sink(name, folder) for name in SINKS if name != "mot" or not live]


def _annotate(sources: Sequence[Source], texts: Sequence[str], outcome: Outcome, folder: Path) -> None:
    """A second pass over the files, since identities are decided at the end."""
    from vreid.runtime.sinks.annotate import annotate

    (folder / "video").mkdir()
    for source, text in zip(sources, texts, strict=True):
        marks = [
            (match, trace, sighting)
            for sighting, match, trace in outcome.identified
            if sighting.camera == source.camera
        ]
        again = open_source(text)
        try:
            annotate(again, marks, folder / "video" / f"{source.camera}.mp4")
        finally:
            again.close()
