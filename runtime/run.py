"""A run set up from its site, the one way for `vreid run` and `vreid.track`; outputs are complete or not there at all."""

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.models.files import atomic_folder, growing_folder, refuse_in_the_way
from vreid.models.seam import open_seam
from vreid.runtime.amounts import bytes_of, duration_of
from vreid.runtime.camera_pipeline import EMBEDDING
from vreid.runtime.camera_states import CameraStateReporter
from vreid.runtime.detectors.table import Detector, open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.evaluate.truth import identity_of, truth_of_run
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.edit_socket import EditServer
from vreid.runtime.gallery.maintenance import retain
from vreid.runtime.gallery.records import is_moment
from vreid.runtime.gallery.sqlite.database import new_gallery
from vreid.runtime.guards import GuardRules, Guards
from vreid.runtime.identify import Identifier
from vreid.runtime.in_view import Follower
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, link_to
from vreid.runtime.kept.keeper import Keeper, KeepLimits
from vreid.runtime.pipeline import Outcome, Parts, Run, Show, show_nothing
from vreid.runtime.plates import PlateReader, no_plate, plate_reader
from vreid.runtime.recent_positions import REMEMBERED_S
from vreid.runtime.records import Notice
from vreid.runtime.session import CameraSettings, Session, Site, site_of
from vreid.runtime.sinks.jsonl import EventsSink
from vreid.runtime.sinks.table import SINKS, OutputSink, Sink, open_outputs, open_sink
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.sources.rate import limited
from vreid.runtime.sources.table import addresses_of, open_source, open_sources
from vreid.runtime.standing import StandingRules
from vreid.runtime.threshold import FixedThreshold, Threshold
from vreid.runtime.topology import Layout, Topology, read_topology, topology_of
from vreid.runtime.track_finalizer import IdentifiedTrack
from vreid.runtime.watch_list import WatchList
from vreid.runtime.watched_cameras import CameraParts
from vreid.runtime.watches import faults_of_all, missing_kinds


@dataclass(frozen=True)
class OpenSite:
    """What a site names, open and checked; nothing was written so far. `live` are the names of the live cameras."""

    site: Site
    embedder: Embedder
    cameras: Sequence[CameraParts]
    live: Sequence[str]
    began: float | None  # seconds since 1970
    topology: Topology
    plate: PlateReader
    keep: KeepLimits
    guards: Guards

    def gallery(self) -> AbstractContextManager[Gallery]:
        """The site's gallery, see `_gallery_of_run`. Raises Refused before anything is written."""
        manifest = self.embedder.manifest
        opening = partial(
            open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name,
            index=self.site.index,
        )  # fmt: skip
        return _gallery_of_run(opening, self.site.gallery, self.site.enrol_unknown, bool(self.live))

    def identifier(self, gallery: Gallery) -> Identifier:
        """The identifier of this run; of a live one it knows where the vehicles of `gallery` were lately."""
        name = "" if self.site.out is None else self.site.out.name
        rule: Threshold
        if self.site.threshold is None:
            rule = SiteThreshold(
                self.embedder.match, self.site.false_match_rate, self.topology, gallery.site_threshold(),
                gallery.about.dim,
            )  # fmt: skip
        else:
            rule = FixedThreshold(self.site.threshold)
        found = Identifier(
            gallery, rule, self.site.enrol_unknown,
            run=name, new_below=self.site.new_below, topology=self.topology, withhold=self.guards.why_withheld,
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
        show: Show = show_nothing,
        keeper: Keeper | None = None,
        notify: Callable[[Notice], None] = lambda notice: None,
    ) -> Run:
        """The run, which begins with `Run.to_the_end`."""
        return Run(
            Parts(
                self.cameras, self.embedder, identifier, sinks, EMBEDDING[self.site.embed], stop,
                progress, began=self.began, strict=self.site.strict, plate=self.plate, idle=identifier.maintain,
                followers=followers, standing=StandingRules(self.site.stationary_after, min(3600.0, self.site.stationary_every)),
                sign_of_life=self.site.stationary_every,
                show=show, keeper=keeper, guards=self.guards, notify=notify,
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
def opened_site(site: Site, embedder: Embedder | None = None) -> Iterator[OpenSite]:
    """Open the model (unless `embedder` is given), the detectors and the sources of `site`, and check the rest.

    Raises Refused for whatever does not fit, before anything is written.
    """
    if not site.cameras:
        raise Refused("there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/")
    began = _seconds(site.began)
    with ExitStack() as opened:
        embedder = embedder or open_embedder(site.model, site.threads)
        detectors = open_detectors(site.cameras, site.threads)
        cameras = []
        for settings, source in zip(site.cameras, open_sources([each.source for each in site.cameras]), strict=True):
            opened.callback(source.close)
            cameras.append(
                CameraParts(
                    limited(source, settings.rate), detectors[detector_key(settings)], settings.regions, settings.keep
                )
            )
        live = [camera.source.camera for camera in cameras if camera.source.live]
        if live and site.truth:
            raise Refused(f"--truth needs files, and {', '.join(live)} is live; record it, or leave --truth out")
        threshold = site.threshold
        if threshold is not None and not -1 <= threshold <= 1:  # before a live run makes its gallery
            raise Refused(
                f"a threshold is a cosine from -1 to 1, not {threshold}; leave --threshold out for this site's"
            )
        if not 0 < site.false_match_rate < 1:
            raise Refused(f"a false-match rate of {site.false_match_rate} is not between 0 and 1; write 0.05")
        if not (site.stationary_after > 0 and site.stationary_every > 0):
            raise Refused("--stationary-after and --stationary-every are seconds above 0; write 60 and 21600")
        guards = _guards(site)
        topology = open_topology(site, [camera.source.camera for camera in cameras])
        plate = no_plate if site.plates is None else plate_reader(site.plates)
        limits = KeepLimits(bytes_of(site.keep_most), None if site.keep_for is None else duration_of(site.keep_for))
        yield OpenSite(site, embedder, cameras, live, began, topology, plate, limits, guards)


def _guards(site: Site) -> Guards:
    """Raises Refused."""
    if site.most_new < 0 or not 0 <= site.least_quality <= 1:
        raise Refused("--most-new is a number of vehicles from 0 on, and --least-quality lies between 0 and 1")
    return Guards(GuardRules(site.most_new, site.least_quality))


DetectorKey = tuple[str, float | None]


def detector_key(camera: CameraSettings) -> DetectorKey:
    """Cameras of one key have one detector."""
    return camera.detector, camera.min_score


def open_detectors(
    cameras: Sequence[CameraSettings], threads: int, opened: Mapping[DetectorKey, Detector] | None = None
) -> dict[DetectorKey, Detector]:
    """The detectors of these cameras by their address and least score; those of `opened` are used again. Raises Refused."""
    found = dict(opened or {})
    for camera in cameras:
        if detector_key(camera) not in found:
            found[detector_key(camera)] = open_detector(camera.detector, threads=threads, min_score=camera.min_score)
    return {key: found[key] for key in map(detector_key, cameras)}


def open_topology(site: Site, cameras: Sequence[str]) -> Topology:
    """The ways between these cameras. Raises Refused."""
    if isinstance(site.topology, Layout):
        return topology_of(site.topology, cameras, "[topology]")
    return Topology() if site.topology is None else read_topology(site.topology, cameras)


def run_session(
    session: Session, stop: threading.Event, progress: Callable[[int], None] = lambda frames: None
) -> dict[str, Any]:
    """`run_site` of a short command line."""
    return run_site(site_of(session), stop, progress)


def run_site(
    site: Site,
    stop: threading.Event,
    progress: Callable[[int], None] = lambda frames: None,
    along: Callable[[OpenSite, Run], AbstractContextManager[object]] = lambda opened, run: nullcontext(),
) -> dict[str, Any]:
    """Run; returns the summary that report.json holds. `along` is what goes on as long as the run, such as a `Reloader`.

    A run over files writes `out` and the gallery at its end, all or nothing. With a live source both grow as it goes, and
    setting `stop` ends it well. Raises Refused before anything is written or sent when a source, model or gallery does not
    fit. Without `out` nothing is written but the gallery.
    """
    texts = [camera.source for camera in site.cameras]
    truth = truth_of_run(texts, site.truth)
    with ExitStack() as stack:
        opened = stack.enter_context(opened_site(site))
        if site.watch:
            _refuse_useless_watch(opened)
        outputs = open_outputs(site.to, "run" if site.out is None else site.out.name)
        for output in outputs:
            stack.callback(output.close, {})  # also of a run that fails
        making = growing_folder if opened.live else atomic_folder
        # Entered last, left first: the gallery is kept before the outputs are, and those only need a rename.
        folder = None if site.out is None else stack.enter_context(making(site.out))
        gallery = stack.enter_context(opened.gallery())
        gallery.who = "run" if site.out is None else f"run:{site.out.name}"
        _retain(gallery, site.retain)
        identifier = opened.identifier(gallery)
        sinks = [] if folder is None else _sinks(folder, bool(opened.live))
        followers, show = _followers(site, folder, opened, outputs, stack)
        keeper = None if folder is None else _keeper(opened, folder, gallery)
        if keeper is not None:
            stack.enter_context(keeper)

        def notify(notice: Notice) -> None:
            for output in outputs:
                output.notice(notice)

        if site.watch:
            followers.append(_watch_list(site, gallery, notify))
        run = opened.run(identifier, [*sinks, *outputs], stop, progress, followers, show, keeper, notify)

        def extra(identified: list[IdentifiedTrack]) -> dict[str, Any]:
            score = None if truth is None or opened.live else identity_of(identified, truth)
            detectors = dict.fromkeys(camera.detector for camera in site.cameras)
            return {"detector": ", ".join(detectors), "embedding": site.embed, "identity": score}

        if site.metrics is not None:
            stack.callback(_monitor(site, run, outputs).close)
        for output in outputs:  # all else is open: only now is anybody outside connected to
            output.start()
        if opened.live and gallery.writable and site.gallery is not None:
            stack.enter_context(
                EditServer(gallery, lambda request, who: run.finalizer.call(lambda: identifier.edit(request, who)))
            )
        if opened.live and outputs:
            stack.enter_context(CameraStateReporter(run.camera_status, notify))
        stack.enter_context(along(opened, run))
        outcome = run.to_the_end(extra)
        if folder is not None and site.out is not None and not opened.live:
            if site.annotate:
                _annotate(site.cameras, outcome, folder)
            refuse_in_the_way(folder, site.out)  # while the gallery can still forget
    return outcome.summary


def _retain(gallery: Gallery, seconds: float | None) -> None:
    """Let the gallery keep its sightings for `seconds` from now on, inf for ever; None: as it has it."""
    wanted = None if seconds == math.inf else seconds
    if seconds is not None and gallery.retention() != wanted:
        retain(gallery, wanted)


def _followers(
    site: Site, folder: Path | None, opened: OpenSite, outputs: Sequence[OutputSink], stack: ExitStack
) -> tuple[list[Follower], Show]:
    """Who gets the events of tracks, outputs that want them first, and what gets each frame."""
    followers: list[Follower] = [output for output in outputs if output.follows]
    if site.events and folder is not None:
        events = EventsSink(folder)
        stack.callback(events.close)
        followers.append(events)
    if not (site.annotate and folder is not None and opened.live):
        return followers, show_nothing
    from vreid.runtime.sinks.live_picture import LivePictures

    (folder / "picture").mkdir(exist_ok=True)
    pictures = LivePictures(folder / "picture")
    return [*followers, pictures], pictures.show


def _monitor(site: Site, run: Run, outputs: Sequence[OutputSink]) -> Any:
    """What serves the metrics. Raises Refused."""
    serving = open_seam("flag", {"--metrics": "vreid.runtime.monitor:Monitor"}, "--metrics", "live")
    return serving(
        lambda: replace(run.status(), outputs={output.name: output.status() for output in outputs}),
        site.metrics,
        hosts=site.metrics_host,
    )


def _refuse_useless_watch(opened: OpenSite) -> None:
    """Raises Refused where nobody gets the alerts of the watch list, or they can never come."""
    site, kinds = opened.site, {each.source.camera: each.detector.kinds for each in opened.cameras}
    for fault in (
        *faults_of_all(site.watch, list(kinds), site.to, site.plates, flags=True),
        *missing_kinds(site.watch, kinds),
    ):
        raise Refused(fault)


def _watch_list(site: Site, gallery: Gallery, notify: Callable[[Notice], None]) -> WatchList:
    def name_of(vehicle: int) -> str | None:
        with gallery.reading() as store:
            return store.name_of(vehicle)

    return WatchList(site.watch, notify, name_of)


def _keeper(opened: OpenSite, folder: Path, gallery: Gallery) -> Keeper | None:
    """What keeps pictures: in a folder next to the gallery, or in that of a run without one. A live run always has one, since
    its site may be reloaded, and what was kept before grows old."""
    site = opened.site
    if site.out is None or not (opened.live or any(camera.keep != "none" for camera in site.cameras)):
        return None
    place = site.out / "kept" if site.gallery is None else folder_of_gallery(site.gallery)
    about = {"folder": str(place), "url": link_to(place, site.out)}
    spans = [span for span in (opened.keep.seconds, gallery.retention()) if span is not None]
    limits = replace(opened.keep, seconds=min(spans, default=None))
    return Keeper(KeptFolder(folder / "kept" if site.gallery is None else place), limits, bool(opened.live), about)


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


def _annotate(cameras: Sequence[CameraSettings], outcome: Outcome, folder: Path) -> None:
    """A second pass over the files, since identities are decided at the end."""
    from vreid.runtime.sinks.annotate import annotate

    (folder / "video").mkdir()
    for camera, address in zip(cameras, addresses_of([each.source for each in cameras]), strict=True):
        marks = [
            (match, trace, sighting)
            for sighting, match, trace in outcome.identified
            if sighting.camera == address.camera
        ]
        again = limited(open_source(camera.source), camera.rate)
        try:
            annotate(again, marks, folder / "video" / f"{address.camera}.mp4")
        finally:
            again.close()
