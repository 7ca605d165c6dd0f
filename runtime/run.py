"""A run of a site, the one way for `vreid run`: its folder, its gallery, its outputs and all else that gets what it finds."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vreid.models.errors import Refused
from vreid.models.files import atomic_folder, growing_folder, refuse_in_the_way
from vreid.models.seam import open_seam
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.camera_states import CameraStateReporter
from vreid.runtime.evaluate.truth import identity_of, truth_of_run
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.edit_socket import EditServer
from vreid.runtime.gallery.maintenance import retain
from vreid.runtime.gallery_place import path_of
from vreid.runtime.in_view import Follower
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, link_to
from vreid.runtime.kept.keeper import Keeper
from vreid.runtime.mot import MotTable
from vreid.runtime.open_site import OpenSite, opened_site
from vreid.runtime.pipeline import Outcome, Parts, Run, show_nothing
from vreid.runtime.records import Frame, Notice
from vreid.runtime.session import CameraSettings, FleetSettings, Session, Site, site_of
from vreid.runtime.sinks.jsonl import EventsSink
from vreid.runtime.sinks.table import SINKS, OutputSink, Sink, open_outputs, open_sink
from vreid.runtime.sources.rate import limited
from vreid.runtime.sources.table import addresses_of, open_source
from vreid.runtime.status import FleetStatus, Status
from vreid.runtime.track_finalizer import IdentifiedTrack
from vreid.runtime.watch_list import WatchList
from vreid.runtime.watches import faults_of_all, missing_kinds


class Viewer(Follower, Protocol):
    """Who looks at a run: gets the events of tracks, and each frame with the open tracks of its camera, and changes neither."""

    def show(self, frame: Frame, tracks: Mapping[int, OpenTrack]) -> None: ...


class FleetSender(Protocol):
    """Sends what waits in the gallery's outbox to the centre, from `start` to `close`; the run never waits for it."""

    def start(self) -> None: ...
    def status(self) -> FleetStatus: ...
    def close(self) -> None: ...


OpenSender = Callable[[FleetSettings, Gallery], FleetSender]


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
    viewers: Sequence[Viewer] = (),
    open_sender: OpenSender | None = None,
) -> dict[str, Any]:
    """Run; returns the summary that report.json holds. `along` is what goes on as long as the run, such as a `Reloader`;
    `viewers` look at it; `open_sender` gives what sends to the centre, where the site names one.

    A run over files writes `out` and the gallery at its end, all or nothing. With a live source both grow as it goes, and
    setting `stop` ends it well. Raises Refused before anything is written or sent when a source, model or gallery does not
    fit. Without `out` nothing is written but the gallery.
    """
    truth = truth_of_run([camera.source for camera in site.cameras], site.truth)
    with ExitStack() as stack:
        opened = stack.enter_context(opened_site(site))
        _refuse_useless_watch(opened, shown_here=bool(viewers))
        outputs = open_outputs(site.to, "run" if site.out is None else site.out.name)
        for output in outputs:
            stack.callback(output.close, {})  # also of a run that fails
        making = growing_folder if opened.live else atomic_folder
        # Entered last, left first: the gallery is kept before the outputs are, and those only need a rename.
        folder = None if site.out is None else stack.enter_context(making(site.out))
        gallery = stack.enter_context(opened.gallery())
        gallery.who = "run" if site.out is None else f"run:{site.out.name}"
        _retain(gallery, site.retain)
        sender = _sender(opened, gallery, open_sender, stack)
        identifier = opened.identifier(gallery)
        sinks = [] if folder is None else _sinks(folder, bool(opened.live))
        parts = opened.parts(identifier, [*sinks, *outputs], stop, progress)
        run = Run(_with_listeners(parts, opened, folder, gallery, outputs, viewers, stack))
        _serve(opened, run, gallery, outputs, sender, stack)
        stack.enter_context(along(opened, run))
        outcome = run.to_the_end(partial(_more_of_summary, site, None if opened.live else truth))
        opened.guards.keep()
        if folder is not None and not opened.live:
            _finish(folder, site, outcome)
    return outcome.summary


def _with_listeners(
    parts: Parts,
    opened: OpenSite,
    folder: Path | None,
    gallery: Gallery,
    outputs: Sequence[OutputSink],
    viewers: Sequence[Viewer],
    stack: ExitStack,
) -> Parts:
    """The parts of the run, and all that gets its events, its frames and its notices."""

    def notify(notice: Notice) -> None:
        for output in outputs:
            output.notice(notice)

    viewers = [*viewers, *_live_pictures(opened, folder)]
    followers = [*_followers(opened, folder, outputs, stack), *viewers]
    keeper = None if folder is None else _keeper(opened, folder, gallery)
    if keeper is not None:
        stack.enter_context(keeper)
    if opened.site.watch:
        followers.append(_watch_list(opened.site, gallery, notify))

    def show(frame: Frame, tracks: Mapping[int, OpenTrack]) -> None:
        for viewer in viewers:
            viewer.show(frame, tracks)

    return replace(parts, followers=followers, show=show if viewers else show_nothing, keeper=keeper, notify=notify)


def _sender(
    opened: OpenSite, gallery: Gallery, open_sender: OpenSender | None, stack: ExitStack
) -> tuple[str, FleetSender] | None:
    """Make the outbox of a site with a centre, and what sends of a live run, by the name of the box; a run over files commits at
    its end, so that nothing could be sent before. Raises Refused where the gallery can have no outbox."""
    settings = opened.site.fleet
    if settings is None:
        return None
    with gallery.transaction() as store:
        store.outbox(make=True)
    if open_sender is None or not opened.live:
        return None
    sender = open_sender(settings, gallery)
    stack.callback(sender.close)
    return settings.box, sender


def _serve(
    opened: OpenSite,
    run: Run,
    gallery: Gallery,
    outputs: Sequence[OutputSink],
    sender: tuple[str, FleetSender] | None,
    stack: ExitStack,
) -> None:
    """Let others read the metrics, edit the gallery and hear of the cameras' states, for as long as the run goes on."""
    if opened.site.metrics is not None:
        stack.callback(_monitor(opened.site, run, outputs, sender).close)
    for output in outputs:  # all else is open: only now is anybody outside connected to
        output.start()
    if sender is not None:
        sender[1].start()
    if opened.live and gallery.writable and isinstance(opened.site.gallery, Path):  # a database has other writers
        edit = run.parts.identifier.edit
        stack.enter_context(EditServer(gallery, lambda request, who: run.finalizer.call(lambda: edit(request, who))))
    if opened.live and outputs:
        stack.enter_context(CameraStateReporter(run.camera_status, run.parts.notify, run.parts.stop))


def _more_of_summary(
    site: Site, truth: Mapping[str, MotTable] | None, identified: list[IdentifiedTrack]
) -> dict[str, Any]:
    """What the summary of a run says of its settings, and its score against the ground truth, if it has one."""
    detectors = dict.fromkeys(camera.detector for camera in site.cameras)
    score = None if truth is None else identity_of(identified, truth)
    return {"detector": ", ".join(detectors), "embedding": site.embed, "identity": score}


def _finish(folder: Path, site: Site, outcome: Outcome) -> None:
    """What is left to do when a run over files is over, in the folder that becomes `site.out`."""
    if site.annotate:
        _annotate(site.cameras, outcome, folder)
    if site.out is not None:
        refuse_in_the_way(folder, site.out)  # while the gallery can still forget


def _retain(gallery: Gallery, seconds: float | None) -> None:
    """Let the gallery keep its sightings for `seconds` from now on, inf for ever; None: as it has it."""
    wanted = None if seconds == math.inf else seconds
    if seconds is not None and gallery.retention() != wanted:
        retain(gallery, wanted)


def _followers(
    opened: OpenSite, folder: Path | None, outputs: Sequence[OutputSink], stack: ExitStack
) -> list[Follower]:
    """What gets the events of tracks: outputs that want them, and a file."""
    followers: list[Follower] = [output for output in outputs if output.follows]
    if opened.site.events and folder is not None:
        events = EventsSink(folder)
        stack.callback(events.close)
        followers.append(events)
    return followers


def _live_pictures(opened: OpenSite, folder: Path | None) -> list[Viewer]:
    """What draws the newest pictures of live cameras, where that is wanted."""
    if not (opened.site.annotate and folder is not None and opened.live):
        return []
    from vreid.runtime.sinks.live_picture import LivePictures

    (folder / "picture").mkdir(exist_ok=True)
    return [LivePictures(folder / "picture")]


def _monitor(site: Site, run: Run, outputs: Sequence[OutputSink], sender: tuple[str, FleetSender] | None) -> Any:
    """What serves the metrics. Raises Refused."""
    serving = open_seam("flag", {"--metrics": "vreid.runtime.monitor:Monitor"}, "--metrics", "live")

    def status() -> Status:
        fleet = {} if sender is None else {sender[0]: sender[1].status()}
        return replace(run.status(), outputs={output.name: output.status() for output in outputs}, fleet=fleet)

    return serving(status, site.metrics, hosts=site.metrics_host)


def _refuse_useless_watch(opened: OpenSite, shown_here: bool) -> None:
    """Raises Refused where there is a watch list, and nobody gets its alerts, or they can never come."""
    site, kinds = opened.site, {each.source.camera: each.detector.kinds for each in opened.cameras}
    for fault in (
        *faults_of_all(site.watch, list(kinds), site.to, site.plates, flags=True, shown_here=shown_here),
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
    place = site.out / "kept" if site.gallery is None else folder_of_gallery(path_of(site.gallery))
    about = {"folder": str(place), "url": link_to(place, site.out)}
    spans = [span for span in (opened.keep.seconds, gallery.retention()) if span is not None]
    limits = replace(opened.keep, seconds=min(spans, default=None))
    return Keeper(KeptFolder(folder / "kept" if site.gallery is None else place), limits, bool(opened.live), about)


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
