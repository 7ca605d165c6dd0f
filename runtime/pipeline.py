"""The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sinks."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from vreid.models.errors import Refused
from vreid.models.preprocess import batch_of
from vreid.runtime.camera_pipeline import CameraPipeline, CropRequest, CropRules, SearchRules
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import Embedder
from vreid.runtime.frame_sync import FrameTimes, as_they_come, in_step
from vreid.runtime.identify import Identifier
from vreid.runtime.in_view import Follower, InView
from vreid.runtime.records import Frame, inside
from vreid.runtime.sinks.table import Sink
from vreid.runtime.sources.table import Camera, Source
from vreid.runtime.status import CameraStatus, Stages, Status, summary_of
from vreid.runtime.track_finalizer import IdentifiedTrack, LiveTrackFinalizer, PlateReader, TrackFinalizer, no_plate
from vreid.runtime.tracker import Tracker

_LOG = logging.getLogger("vreid")


@dataclass(frozen=True)
class Parts:
    """What a run is made of; all are open, and the caller closes them."""

    sources: Sequence[Source]
    detector: Detector
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
    report_after: float = 60.0  # seconds after which an open track of a live run is reported, and goes on


@dataclass(frozen=True)
class Outcome:
    """What came of a run: every track with its vehicle (of a finite run; a live one keeps none) and the summary that sinks got."""

    identified: list[IdentifiedTrack]
    summary: dict[str, Any]


class Run:
    """A run of open parts; `status` may be called from any thread while `to_the_end` is under way."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.live = any(source.live for source in parts.sources)
        self.stages = Stages()
        self.began, self.started = time.monotonic(), time.time() if parts.began is None else parts.began
        self.cameras = {source.camera: self._camera(source) for source in parts.sources}
        self.times = {source.camera: FrameTimes() for source in parts.sources if not source.live}
        self.warned: set[str] = set()
        self.frames = 0
        self.stepped = time.monotonic()
        in_view = InView(parts.identifier, parts.followers, self.started) if parts.followers else None
        self.finalizer = (
            LiveTrackFinalizer(parts.identifier, parts.sinks, self.stages, parts.plate, in_view, parts.idle)
            if self.live
            else TrackFinalizer(parts.identifier, parts.sinks, self.stages, parts.plate, in_view)
        )

    def _camera(self, source: Source) -> CameraPipeline:
        """One camera's part, with a tracker that suits the detector."""
        first, least = self.parts.detector.first_score, self.parts.detector.least_travel
        tracker = Tracker(strong=first, weak=min(0.1, first))
        report_after = self.parts.report_after if self.live else float("inf")
        began = cast(Camera, source).began if source.live else self.started
        return CameraPipeline(source.camera, self.parts.rules, tracker, least, report_after, began)

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
                self.parts.progress(self.frames)
                self._warn()
                if self.parts.stop.is_set():
                    break
            for camera in self.cameras.values():
                self.finalizer.take(camera.close())
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
        for source in self.parts.sources:
            if source.live or source.camera in self.warned or not (source.warnings or source.notes):
                continue
            self.warned.add(source.camera)
            if source.warnings and self.parts.strict:
                raise Refused(f"{source.warnings[0]}; leave --strict out to keep what is there")
            for text in (*source.warnings, *source.notes):
                _LOG.warning("%s: %s", source.camera, text)

    def _groups(self) -> Iterator[list[Frame]]:
        """Frames that belong together; threads of their own decode them, and they are waited for here."""
        groups = as_they_come(self.parts.sources, self.parts.stop) if self.live else in_step(self.parts.sources)
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
            found = [
                None if detections is None else inside(detections, frame.image.shape[1], frame.image.shape[0])
                for frame, detections in zip(together, self.parts.detector.detect(together), strict=True)
            ]
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
            if self.parts.followers and not self.finalizer.behind:
                self.finalizer.follow(camera.so_far(self.parts.searching))
            self.finalizer.take(camera.finished())

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
        tally, views = self.finalizer.tally, self.cameras.values()
        cameras = {}
        for source in self.parts.sources:
            view = self.cameras[source.camera]
            age = cast(Camera, source).age if source.live else 0.0
            cameras[source.camera] = CameraStatus(
                frames=view.frames,
                dropped=source.dropped,
                reconnects=cast(Camera, source).reconnects if source.live else 0,
                tracks=view.ended,
                open_tracks=len(view.open),
                age_s=age,
                live=source.live,
                alive=age < 5.0,
                fault=cast(Camera, source).fault if source.live else None,
                blind_s=cast(Camera, source).blind_s if source.live else 0.0,
            )
        gallery = self.parts.identifier.size()
        return Status(
            started=self.started,
            seconds=time.monotonic() - self.began,
            idle_s=time.monotonic() - self.stepped,
            ready=self.frames > 0,
            cameras=cameras,
            queues={"decide": self.finalizer.status()},
            stages=self.stages.status(),
            sightings=tally.sightings,
            unknown=tally.unknown,
            enrolled=len(tally.enrolled),
            embedded=sum(view.embedded for view in views),
            passed_over=sum(view.passed_over for view in views),
            vehicles=gallery[0],
            prototypes=gallery[1],
            thresholds=self.parts.identifier.scoring.levels,
        )

    def summary(self) -> dict[str, Any]:
        """What report.json holds."""
        return summary_of(self.parts, self.status(), self.times, self.finalizer.tally, self.stages, self.frames)
