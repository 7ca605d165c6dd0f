"""The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sinks."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from vreid.models.errors import Refused
from vreid.models.preprocess import batch_of
from vreid.runtime.camera_pipeline import (
    LONGEST_LIVE,
    LONGEST_TRACE,
    CameraPipeline,
    CropRequest,
    CropRules,
    OpenTrack,
    SearchRules,
)
from vreid.runtime.embedder import Embedder
from vreid.runtime.frame_sync import FrameTimes, as_they_come, in_step
from vreid.runtime.guards import Guards
from vreid.runtime.identify import Identifier
from vreid.runtime.in_view import SIGN_OF_LIFE_S, Follower, InView
from vreid.runtime.plates import PlateReader, no_plate
from vreid.runtime.records import Detections, FinishedTrack, Frame, Notice, Trace, inside
from vreid.runtime.sinks.table import Sink
from vreid.runtime.sources.table import Camera, Source
from vreid.runtime.standing import StandingRules
from vreid.runtime.status import CameraStatus, FrameRates, Stages, Status, summary_of
from vreid.runtime.track_finalizer import IdentifiedTrack, LiveTrackFinalizer, TrackFinalizer
from vreid.runtime.tracker import Tracker
from vreid.runtime.watched_cameras import CameraParts, SourceCounts, Watched

if TYPE_CHECKING:
    from vreid.runtime.kept.keeper import Keeper

_LOG = logging.getLogger("vreid")


Show = Callable[[Frame, Mapping[int, OpenTrack]], None]


def show_nothing(frame: Frame, tracks: Mapping[int, OpenTrack]) -> None:
    """Of a run whose pictures nobody looks at."""


@dataclass(frozen=True)
class Parts:
    """What a run is made of; all are open, and the caller closes them."""

    cameras: Sequence[CameraParts]
    embedder: Embedder
    identifier: Identifier
    sinks: Sequence[Sink]
    rules: CropRules = field(default_factory=CropRules)
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[int], None] = lambda frames: None
    began: float | None = None  # when the files' first frames were taken, seconds since 1970; None: now
    plate: PlateReader = no_plate
    idle: Callable[[], None] = lambda: None  # now and then, by the thread that writes, in a live run
    strict: bool = False  # a file that breaks off or is damaged is refused
    followers: Sequence[Follower] = ()  # get the events of tracks; without any nothing is provisional
    searching: SearchRules = field(default_factory=SearchRules)
    standing: StandingRules = field(default_factory=StandingRules)
    show: Show = show_nothing  # each frame with its camera's open tracks
    keeper: "Keeper | None" = None  # keeps pictures of the sightings of cameras with `keep`
    guards: Guards = field(default_factory=Guards)  # those that the identifier asks
    notify: Callable[[Notice], None] = lambda notice: None
    sign_of_life: float = SIGN_OF_LIFE_S  # seconds after which followers hear again of a vehicle that stands


@dataclass(frozen=True)
class Outcome:
    """What came of a run: every track with its vehicle (of a finite run; a live one keeps none) and the summary that sinks got."""

    identified: list[IdentifiedTrack]
    summary: dict[str, Any]


class Run:
    """A run of open parts; `status` and `change` may be called from any thread while `to_the_end` is under way."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.watched = Watched({camera.source.camera: camera for camera in parts.cameras})
        self.latest = dict(self.watched.cameras)  # with the cameras that were taken out
        self.live = any(camera.source.live for camera in parts.cameras)
        self.stages, self.rates = Stages(), FrameRates()
        self.began, self.started = time.monotonic(), time.time() if parts.began is None else parts.began
        self.cameras = {name: self._camera(camera) for name, camera in self.latest.items()}
        self.times = {name: FrameTimes() for name, camera in self.latest.items() if not camera.source.live}
        self._changes: queue.SimpleQueue[tuple[Sequence[CameraParts], threading.Event]] = queue.SimpleQueue()
        self._over = threading.Event()
        self.warned: set[str] = set()
        self.frames = 0
        self.stepped = time.monotonic()
        in_view = (
            InView(parts.identifier, parts.followers, self.started, parts.sign_of_life) if parts.followers else None
        )
        self.finalizer = (
            LiveTrackFinalizer(parts.identifier, parts.sinks, self.stages, parts.plate, in_view, parts.idle)
            if self.live
            else TrackFinalizer(parts.identifier, parts.sinks, self.stages, parts.plate, in_view)
        )

    def _camera(self, camera: CameraParts, earlier: CameraPipeline | None = None) -> CameraPipeline:
        """One camera's part, with a tracker that suits the detector; `earlier`, which is closed, begins anew."""
        source, first, least = camera.source, camera.detector.first_score, camera.detector.least_travel
        tracker = Tracker(strong=first, weak=min(0.1, first), after=earlier.tracker.last_id if earlier else 0)
        began = cast(Camera, source).began if source.live else self.started
        if earlier is not None:
            earlier.begin(tracker, least, began)
            earlier.regions = camera.regions
            return earlier
        longest = LONGEST_LIVE if self.live else LONGEST_TRACE
        return CameraPipeline(
            source.camera, self.parts.rules, tracker, least, self.parts.standing, began, longest, camera.regions
        )

    def change(self, cameras: Sequence[CameraParts]) -> bool:
        """Go on with these cameras, of a live run; returns when it does, or False where the run has ended.

        A camera with the source and the detector that it had goes on with its tracks; the tracks of others end as they do at
        the end of a run. The caller closes the sources that are no longer there.
        """
        done = threading.Event()
        self._changes.put((cameras, done))
        while not done.wait(0.1):
            if self._over.is_set():
                return done.is_set()
        return True

    def _sources(self) -> list[Source]:
        """The sources that are to be read now, after the changes that wait."""
        while not self._changes.empty():
            cameras, done = self._changes.get()
            self._go_on_with({camera.source.camera: camera for camera in cameras})
            done.set()
        return [camera.source for camera in self.watched.cameras.values()]

    def _go_on_with(self, cameras: dict[str, CameraParts]) -> None:
        kept = {
            name
            for name, before in self.watched.cameras.items()
            if (now := cameras.get(name)) and now.source is before.source and now.detector is before.detector
        }
        for name, before in self.watched.cameras.items():
            if name not in kept:
                self._end(name, self.cameras[name].close())
                before.detector.forget(name)
        for name, camera in cameras.items():
            if name in kept:
                self.cameras[name].regions = camera.regions
            else:
                self.cameras[name] = self._camera(camera, self.cameras.get(name))
        self.watched, self.latest = self.watched.with_only(cameras), {**self.latest, **cameras}

    def to_the_end(self, extra: Callable[[list[IdentifiedTrack]], dict[str, Any]] = lambda identified: {}) -> Outcome:
        """Run to the end of the files, or until `parts.stop` is set.

        A run over files decides the identities of all its tracks jointly at the end; as soon as one source is live each
        track is decided when it ends. `extra` adds to the summary of a finite run, such as its score against ground truth.
        Raises Refused when files show no vehicle at all, and, if `parts.strict`, for a file that breaks off or is damaged;
        the sinks of a live run are closed even then, since what they hold cannot be seen again.
        """
        try:
            self._process()
        except BaseException:
            if self.live:
                self._close(self.summary())
            raise
        finally:
            self._over.set()
        summary = {**self.summary(), **extra(self.finalizer.identified)}
        self._close(summary)
        return Outcome(self.finalizer.identified, summary)

    def _process(self) -> None:
        """Every frame, and the decision of every track."""
        try:
            for together in self._groups():
                self._step(together)
                self.frames += len(together)
                self.stepped = time.monotonic()
                self.rates.count(self.stepped - self.began, {name: view.frames for name, view in self.cameras.items()})
                self.parts.progress(self.frames)
                self._warn()
                if self.parts.stop.is_set():
                    break
            for name, camera in self.cameras.items():
                self._end(name, camera.close())
            if self.parts.keeper is not None:
                self.parts.keeper.finish()
            self._warn()
        finally:
            if self.live:
                self.finalizer.close()
        self.finalizer.close()
        if not self.live and not self.finalizer.tally.sightings:
            cameras = ", ".join(self.cameras)
            raise Refused(f"no vehicle was found in {cameras}; try another --detector or a lower --min-score")

    def _warn(self) -> None:
        """Say what was wrong with files that have ended, once, or refuse them."""
        for camera in self.parts.cameras:
            source = camera.source
            if source.live or source.camera in self.warned or not (source.warnings or source.notes):
                continue
            self.warned.add(source.camera)
            if source.warnings and self.parts.strict:
                raise Refused(f"{source.warnings[0]}; leave --strict out to keep what is there")
            for text in (*source.warnings, *source.notes):
                _LOG.warning("%s: %s", source.camera, text)

    def _groups(self) -> Iterator[list[Frame]]:
        """Frames that belong together; threads of their own decode them, and they are waited for here."""
        groups = as_they_come(self._sources, self.parts.stop) if self.live else in_step(self._sources())
        while True:
            with self.stages.time("wait"):
                together = next(groups, None)
            if together is None:
                return
            yield together

    def _close(self, summary: dict[str, Any]) -> None:
        for sink in self.parts.sinks:
            sink.close(summary)

    def _step(self, together: list[Frame]) -> None:
        with self.stages.time("detect"):
            found = self._detect(together)
        requests: list[tuple[CameraPipeline, CropRequest]] = []
        with self.stages.time("track"):
            for frame, detections in zip(together, found, strict=True):
                camera = self.cameras[frame.camera]
                if frame.camera in self.times:
                    self.times[frame.camera].add(frame.index, frame.time)
                if detections is None:
                    camera.pass_by(frame)
                else:
                    requests += [(camera, request) for request in camera.see(frame, detections)]
        self._embed(requests)
        for frame in together:
            camera = self.cameras[frame.camera]
            if notice := self.parts.guards.see(frame.camera, frame.time, camera.new_vehicles(), camera.began):
                self.parts.notify(notice)
            if self.parts.followers and not self.finalizer.behind:
                self.finalizer.follow(camera.so_far(self.parts.searching))
            self.finalizer.follow(camera.standing_now())
            self.parts.show(frame, camera.open)
            if self.parts.keeper is not None:
                self.parts.keeper.see(frame, camera.open, self.watched.cameras[frame.camera].keep)
            self._end(frame.camera, camera.finished())

    def _end(self, name: str, ended: Sequence[tuple[FinishedTrack, Trace]]) -> None:
        """Tracks of a camera have ended."""
        keeper, keep = self.parts.keeper, self.latest[name].keep
        kept = ended if keeper is None else [(keeper.ended(track, keep), trace) for track, trace in ended]
        self.finalizer.take(kept)

    def _detect(self, together: Sequence[Frame]) -> list[Detections | None]:
        """The vehicles of each frame, None where its detector did not look; one gets the frames of all its cameras at once."""
        detectors = [self.watched.cameras[frame.camera].detector for frame in together]
        found: list[Detections | None] = [None] * len(together)
        for detector in {id(one): one for one in detectors}.values():
            rows = [row for row, one in enumerate(detectors) if one is detector]
            for row, seen in zip(rows, detector.detect([together[row] for row in rows]), strict=True):
                height, width = together[row].image.shape[:2]
                found[row] = None if seen is None else inside(seen, width, height)
        return found

    def _embed(self, requests: list[tuple[CameraPipeline, CropRequest]]) -> None:
        """One batch over all cameras."""
        if not requests:
            return
        spec = self.parts.embedder.manifest.input
        with self.stages.time("preprocess"):
            pixels = batch_of([request.crop for _, request in requests], spec.height, spec.width)
        with self.stages.time("embed"):
            features = self.parts.embedder.infer(pixels)
        for (camera, request), feature in zip(requests, features, strict=True):
            camera.learn(request, feature)

    def status(self) -> Status:
        """The run as it is now."""
        tally, views, keeper = self.finalizer.tally, list(self.cameras.values()), self.parts.keeper
        gallery = self.parts.identifier.size()
        return Status(
            started=self.started,
            seconds=time.monotonic() - self.began,
            idle_s=time.monotonic() - self.stepped,
            ready=self.frames > 0,
            cameras=self.camera_status(),
            queues={"decide": self.finalizer.status(), **({} if keeper is None else {"keep": keeper.status()})},
            stages=self.stages.status(),
            sightings=tally.sightings,
            unknown=tally.unknown,
            doubtful=tally.doubtful,
            withheld=tally.withheld,
            enrolled=len(tally.enrolled),
            embedded=sum(view.embedded for view in views),
            passed_over=sum(view.passed_over for view in views),
            vehicles=gallery[0],
            prototypes=gallery[1],
            thresholds=self.parts.identifier.scoring.levels,
        )

    def camera_status(self) -> dict[str, CameraStatus]:
        """The cameras as they are now; costs next to nothing."""
        watched = self.watched  # once: another thread may exchange it
        return {name: self._camera_status(each.source, watched.counts(name)) for name, each in watched.cameras.items()}

    def _camera_status(self, source: Source, counts: SourceCounts) -> CameraStatus:
        name, view = source.camera, self.cameras[source.camera]
        age = cast(Camera, source).age if source.live else 0.0
        alarm, alarms = self.parts.guards.alarm(name)
        return CameraStatus(
            frames=view.frames,
            dropped=counts.dropped,
            reconnects=counts.reconnects,
            tracks=view.ended,
            open_tracks=len(view.open),
            age_s=age,
            live=source.live,
            alive=age < 5.0,
            fault=cast(Camera, source).fault if source.live else None,
            blind_s=counts.blind_s,
            alarm=alarm,
            alarms=alarms,
            rate=self.rates.of(name, time.monotonic() - self.began, view.frames),
        )

    def summary(self) -> dict[str, Any]:
        """What report.json holds; also of the cameras that were taken out under way."""
        sources = [camera.source for camera in self.latest.values()]
        cameras = {source.camera: self._camera_status(source, self.watched.counts(source.camera)) for source in sources}
        status = replace(self.status(), cameras=cameras)
        return summary_of(self.parts, sources, status, self.times, self.finalizer.tally, self.stages, self.frames)
