"""The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sinks."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from vreid.models.errors import Refused
from vreid.models.preprocess import batch_of
from vreid.runtime.boxes import inside
from vreid.runtime.camera_pipeline import Wanted, Watching
from vreid.runtime.crops import CropRules
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import Embedder
from vreid.runtime.frame_sync import as_they_come, in_step
from vreid.runtime.frame_times import FrameTimes
from vreid.runtime.identify import Identifier
from vreid.runtime.plates import PlateReader, no_plate
from vreid.runtime.records import Frame
from vreid.runtime.sinks.table import Sink
from vreid.runtime.sources.table import Camera, Source
from vreid.runtime.status import CameraStatus, Stages, Status, summary_of
from vreid.runtime.track_finalizer import Decided, Deciding, DecidingLive
from vreid.runtime.tracker import Tracker

LOG = logging.getLogger("vreid")


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
    watch: Callable[[int], None] = lambda frames: None
    began: float | None = None  # when the files' first frames were taken, seconds since 1970; None: now
    plate: PlateReader = no_plate
    idle: Callable[[], None] = lambda: None  # now and then, by the thread that writes, in a live run
    strict: bool = False  # a file that breaks off or is damaged is refused
    told_after: float = 60.0  # seconds after which an open track of a live run is told, and goes on


@dataclass(frozen=True)
class Outcome:
    """What came of a run: every decision (of a finite run; a live one keeps none) and the summary that sinks were told."""

    decided: list[Decided]
    summary: dict[str, Any]


def run(parts: Parts, extra: Callable[[list[Decided]], dict[str, Any]] = lambda decided: {}) -> Outcome:
    """Run to the end of the files, or until `parts.stop` is set.

    A run over files decides the identities of all its tracks jointly at the end; as soon as one source is live each track
    is decided when it ends. `extra` adds to the summary of a finite run, such as its score against ground truth.
    Raises Refused when files show no vehicle at all, and, if `parts.strict`, for a file that breaks off or is damaged; the
    sinks of a live run are closed even then, since what they hold cannot be seen again.
    """
    return Run(parts).to_the_end(extra)


class Run:
    """A run of open parts; `status` may be asked from any thread while `to_the_end` is under way."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.live = any(source.live for source in parts.sources)
        self.stages = Stages()
        self.began, self.started = time.monotonic(), time.time() if parts.began is None else parts.began
        self.watching = {source.camera: self._watching(source) for source in parts.sources}
        self.times = {source.camera: FrameTimes() for source in parts.sources if not source.live}
        self.warned: set[str] = set()
        self.frames = 0
        self.stepped = time.monotonic()
        self.deciding = (
            DecidingLive(parts.identifier, parts.sinks, self.stages, parts.plate, parts.idle)
            if self.live
            else Deciding(parts.identifier, parts.sinks, self.stages, parts.plate)
        )

    def _watching(self, source: Source) -> Watching:
        """One camera's part, with a tracker that suits the detector."""
        first, least = self.parts.detector.first_score, self.parts.detector.least_travel
        tracker = Tracker(strong=first, weak=min(0.1, first))
        told_after = self.parts.told_after if self.live else float("inf")
        began = cast(Camera, source).began if source.live else self.started
        return Watching(source.camera, self.parts.rules, tracker, least, told_after, began)

    def to_the_end(self, extra: Callable[[list[Decided]], dict[str, Any]] = lambda decided: {}) -> Outcome:
        """See `run`."""
        try:
            self._follow()
        except BaseException:
            if self.live:
                self._close(self.summary())
            raise
        summary = {**self.summary(), **extra(self.deciding.decided)}
        self._close(summary)
        return Outcome(self.deciding.decided, summary)

    def _follow(self) -> None:
        """Every frame, and the decision of every track."""
        try:
            for together in self._groups():
                self._step(together)
                self.frames += len(together)
                self.stepped = time.monotonic()
                self.parts.watch(self.frames)
                self._warn()
                if self.parts.stop.is_set():
                    break
            for watching in self.watching.values():
                self.deciding.take(watching.close())
            self._warn()
        finally:
            if self.live:
                self.deciding.close()
        self.deciding.close()
        if not self.live and not self.deciding.tally.sightings:
            cameras = ", ".join(self.watching)
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
                LOG.warning("%s: %s", source.camera, text)

    def _groups(self) -> Iterator[list[Frame]]:
        """Frames that belong together; they are decoded beside, and waited for."""
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
                inside(detections, frame.image.shape[1], frame.image.shape[0])
                for frame, detections in zip(together, self.parts.detector.detect(together), strict=True)
            ]
        wanted: list[tuple[Watching, Wanted]] = []
        with self.stages.time("track"):
            for frame, detections in zip(together, found, strict=True):
                watching = self.watching[frame.camera]
                if frame.camera in self.times:
                    self.times[frame.camera].add(frame.index, frame.time)
                wanted += [(watching, want) for want in watching.see(frame, detections)]
        self._embed(wanted)
        for frame in together:
            self.deciding.take(self.watching[frame.camera].finished())

    def _embed(self, wanted: list[tuple[Watching, Wanted]]) -> None:
        """One batch over all cameras."""
        if not wanted:
            return
        spec = self.parts.embedder.manifest.input
        with self.stages.time("preprocess"):
            pixels = batch_of([want.crop for _, want in wanted], spec.height, spec.width)
        with self.stages.time("embed"):
            features = self.parts.embedder.infer(pixels)
        for (watching, want), feature in zip(wanted, features, strict=True):
            watching.learn(want, feature)

    def status(self) -> Status:
        """The run as it is now."""
        tally, views = self.deciding.tally, self.watching.values()
        cameras = {}
        for source in self.parts.sources:
            view = self.watching[source.camera]
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
            queues={"decide": self.deciding.status()},
            stages=self.stages.status(),
            sightings=tally.sightings,
            unknown=tally.unknown,
            enrolled=len(tally.enrolled),
            embedded=sum(view.embedded for view in views),
            passed_over=sum(view.passed_over for view in views),
            vehicles=gallery[0],
            prototypes=gallery[1],
        )

    def summary(self) -> dict[str, Any]:
        """What report.json holds."""
        return summary_of(self.parts, self.status(), self.times, self.deciding.tally, self.stages, self.frames)
