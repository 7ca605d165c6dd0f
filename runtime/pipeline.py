"""The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sinks."""

import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from vreid.models.errors import Refused
from vreid.models.preprocess import batch_of
from vreid.runtime.crops import CropRules
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import Embedder
from vreid.runtime.identify import Identifier, moment
from vreid.runtime.merge import as_they_come, in_step
from vreid.runtime.records import Frame, Match, Sighting, Trace
from vreid.runtime.sinks.table import Sink
from vreid.runtime.sources.table import Source
from vreid.runtime.timing import Stages
from vreid.runtime.tracker import Tracker
from vreid.runtime.watching import Wanted, Watching

Decided = tuple[Sighting, Match, Trace]


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
    return _Run(parts).to_the_end(extra)


class _Run:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.live = any(source.live for source in parts.sources)
        self.stages = Stages()
        self.watching = {source.camera: self._watching(source.camera) for source in parts.sources}
        self.frames = 0
        self.waiting: list[tuple[Sighting, Trace]] = []
        self.decided: list[Decided] = []
        self.seen: dict[int, set[str]] = {}
        self.enrolled: set[int] = set()
        self.counts = {"unknown": 0, "sightings": 0}
        self.began, self.started = time.monotonic(), datetime.now(timezone.utc)

    def _watching(self, camera: str) -> Watching:
        """One camera's part, with a tracker that suits the detector."""
        first, least = self.parts.detector.first_score, self.parts.detector.least_travel
        return Watching(camera, self.parts.rules, Tracker(strong=first, weak=min(0.1, first)), least)

    def to_the_end(self, extra: Callable[[list[Decided]], dict[str, Any]]) -> Outcome:
        try:
            self._follow()
        except BaseException:
            if self.live:
                self._close(self._summary())
            raise
        summary = {**self._summary(), **extra(self.decided)}
        self._close(summary)
        return Outcome(self.decided, summary)

    def _follow(self) -> None:
        """Every frame, and the decision of every track."""
        for together in self._groups():
            self._step(together)
            self.frames += len(together)
            self.parts.watch(self.frames)
            if self.parts.stop.is_set():
                break
        for watching in self.watching.values():
            self._take(watching.close())
        self._decide_jointly()
        if not self.live and not self.counts["sightings"]:
            cameras = ", ".join(self.watching)
            raise Refused(f"no vehicle was found in {cameras}; try another --detector or a lower --min-score")

    def _groups(self) -> Iterator[list[Frame]]:
        """Frames that belong together. Of files the decoding is timed; live ones decode beside, and are waited for."""
        groups = as_they_come(self.parts.sources, self.parts.stop) if self.live else in_step(self.parts.sources)
        while True:
            began = time.perf_counter()
            together = next(groups, None)
            if together is None:
                return
            self.stages.add("wait" if self.live else "decode", time.perf_counter() - began)
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
            self._take(self.watching[frame.camera].finished())

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

    def _take(self, ended: list[tuple[Sighting, Trace]]) -> None:
        """Ended tracks: decided at once when live, kept for the joint decision otherwise."""
        if not self.live:
            self.waiting += ended
            return
        for sighting, trace in ended:
            with self.stages.time("search"):
                match = self.parts.identifier.identify(sighting)
            self._tell(sighting, match, trace)

    def _decide_jointly(self) -> None:
        if not self.waiting:
            return
        began = time.perf_counter()
        matches = self.parts.identifier.assign([sighting for sighting, _ in self.waiting])
        each = (time.perf_counter() - began) / len(self.waiting)
        told = sorted(zip(self.waiting, matches, strict=True), key=lambda pair: moment(pair[0][0]))
        for (sighting, trace), match in told:  # as time went, so that a new vehicle is new where it first was seen
            self.stages.add("search", each)
            self._tell(sighting, match, trace)
            self.decided.append((sighting, match, trace))

    def _tell(self, sighting: Sighting, match: Match, trace: Trace) -> None:
        self.counts["sightings"] += 1
        if match.vehicle is None:
            self.counts["unknown"] += 1
        else:
            if not match.known:
                self.enrolled.add(match.vehicle)
            self.seen.setdefault(match.vehicle, set()).add(sighting.camera)
        for sink in self.parts.sinks:
            sink.sighting(sighting, match, trace)

    def _summary(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        manifest = self.parts.embedder.manifest
        cameras = {}
        for source in self.parts.sources:
            watching = self.watching[source.camera]
            cameras[source.camera] = {
                "frames": watching.frames,
                "dropped": source.dropped,
                "tracks": watching.ended,
                "width": source.size[0],
                "height": source.size[1],
                "frame_rate": source.frame_rate,
            }
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "model": {
                "name": manifest.name,
                "backend": manifest.backend,
                "precision": manifest.precision,
                "fingerprint": manifest.fingerprint,
                **manifest.cost.model_dump(),
            },
            "cameras": cameras,
            "vehicles": len(self.seen),
            "seen_by_several": sum(len(cameras) > 1 for cameras in self.seen.values()),
            "known": len(self.seen) - len(self.enrolled),
            "enrolled": len(self.enrolled),
            **self.counts,
            "threshold": self.parts.identifier.threshold,
            "seconds": round(seconds, 2),
            "frames": self.frames,
            "frames_per_second": round(self.frames / max(seconds, 1e-9), 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "stages": self.stages.summary(),
            "identity": None,
        }
