"""The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sinks."""

import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, cast

from vreid.models.errors import Refused
from vreid.models.preprocess import batch_of
from vreid.runtime.crops import CropRules
from vreid.runtime.deciding import Decided, Deciding, DecidingLive
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import Embedder
from vreid.runtime.identify import Identifier
from vreid.runtime.merge import as_they_come, in_step
from vreid.runtime.plates import PlateReader, no_plate
from vreid.runtime.records import Frame
from vreid.runtime.sinks.table import Sink
from vreid.runtime.sources.table import Camera, Source
from vreid.runtime.status import CameraStatus, Status
from vreid.runtime.timing import Stages
from vreid.runtime.tracker import Tracker
from vreid.runtime.watching import Wanted, Watching


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
    Raises Refused for a source that breaks off, and when files show no vehicle at all; the sinks of a live run are
    closed even then, since what they hold cannot be seen again.
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
                if self.parts.stop.is_set():
                    break
            for watching in self.watching.values():
                self.deciding.take(watching.close())
        finally:
            if self.live:
                self.deciding.close()
        self.deciding.close()
        if not self.live and not self.deciding.tally.sightings:
            cameras = ", ".join(self.watching)
            raise Refused(f"no vehicle was found in {cameras}; try another --detector or a lower --min-score")

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
            found = self.parts.detector.detect(together)
        wanted: list[tuple[Watching, Wanted]] = []
        with self.stages.time("track"):
            for frame, detections in zip(together, found, strict=True):
                watching = self.watching[frame.camera]
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
        status = self.status()
        manifest, cameras = self.parts.embedder.manifest, {}
        for source in self.parts.sources:
            view = status.cameras[source.camera]
            cameras[source.camera] = {
                "frames": view.frames,
                "dropped": view.dropped,
                **({"reconnects": view.reconnects} if view.live else {}),
                "tracks": view.tracks,
                "width": source.size[0],
                "height": source.size[1],
                "frame_rate": source.frame_rate,
            }
        places = self.deciding.tally.cameras
        model = {key: getattr(manifest, key) for key in ("name", "backend", "precision", "fingerprint")}
        return {
            "started": datetime.fromtimestamp(self.started, timezone.utc).isoformat(timespec="seconds"),
            "model": {**model, **manifest.cost.model_dump()},
            "cameras": cameras,
            "vehicles": len(places),
            "seen_by_several": sum(len(cameras) > 1 for cameras in places.values()),
            "known": len(places) - status.enrolled,
            "enrolled": status.enrolled,
            "unknown": status.unknown,
            "sightings": status.sightings,
            "embedded": status.embedded,
            "passed_over": status.passed_over,
            "threshold": self.parts.identifier.threshold,
            "seconds": round(status.seconds, 2),
            "frames": self.frames,
            "frames_per_second": round(self.frames / max(status.seconds, 1e-9), 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "stages": self.stages.summary(),
            "outside": round(self._outside(status), 4),
            "identity": None,
        }

    def _outside(self, status: Status) -> float:
        """The share of the wall's time in which neither the detector nor the embedder worked, nor a camera was waited for."""
        inside = sum(status.stages[name].seconds for name in ("detect", "embed") if name in status.stages)
        waited = status.stages["wait"].seconds if self.live and "wait" in status.stages else 0.0
        return max(0.0, 1 - inside / max(status.seconds - waited, 1e-9))
