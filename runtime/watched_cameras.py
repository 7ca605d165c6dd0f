"""The cameras that a run watches, which a reload exchanges, and what their sources have counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from vreid.runtime.detectors.table import Detector
from vreid.runtime.session import Keep, Regions
from vreid.runtime.sources.table import Camera, Source


@dataclass(frozen=True)
class CameraParts:
    """What one camera's part of a run is made of. Several cameras may have one detector, which gets their frames together."""

    source: Source
    detector: Detector
    regions: Regions = field(default_factory=Regions)
    keep: Keep = "none"


@dataclass(frozen=True)
class SourceCounts:
    """What sources of a camera have counted."""

    dropped: int = 0
    reconnects: int = 0
    blind_s: float = 0.0

    def plus(self, source: Source) -> "SourceCounts":
        """With what this one has counted by now."""
        if not source.live:
            return replace(self, dropped=self.dropped + source.dropped)
        camera = cast(Camera, source)
        return SourceCounts(
            self.dropped + camera.dropped, self.reconnects + camera.reconnects, self.blind_s + camera.blind_s
        )


@dataclass(frozen=True)
class Watched:
    """The cameras that are watched, and what sources that were closed have counted, by camera. Other threads read both, so they
    are exchanged as one: a source is counted as open or as closed, never as both."""

    cameras: Mapping[str, CameraParts]
    closed: Mapping[str, SourceCounts] = field(default_factory=dict)

    def counts(self, name: str) -> SourceCounts:
        """Of all sources that a camera ever had."""
        before, now = self.closed.get(name, SourceCounts()), self.cameras.get(name)
        return before if now is None else before.plus(now.source)

    def with_only(self, cameras: Mapping[str, CameraParts]) -> "Watched":
        """These cameras instead; the sources that are not among them count as closed."""
        gone = [
            name for name, was in self.cameras.items() if name not in cameras or cameras[name].source is not was.source
        ]
        return Watched(cameras, {**self.closed, **{name: self.counts(name) for name in gone}})
