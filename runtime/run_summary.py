"""What report.json holds of a run."""

import resource
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from vreid.runtime.deciding import Tally
from vreid.runtime.frame_times import FrameTimes
from vreid.runtime.sources.table import Source
from vreid.runtime.status import Status
from vreid.runtime.timing import Stages

if TYPE_CHECKING:
    from vreid.runtime.pipeline import Parts


def summary_of(
    parts: "Parts", status: Status, times: Mapping[str, FrameTimes], tally: Tally, stages: Stages, frames: int
) -> dict[str, Any]:
    """The run as `status` has it; `times` are those of the files' frames, by camera."""
    manifest, places = parts.embedder.manifest, tally.cameras
    model = {key: getattr(manifest, key) for key in ("name", "backend", "precision", "fingerprint")}
    return {
        "started": datetime.fromtimestamp(status.started, timezone.utc).isoformat(timespec="seconds"),
        "model": {**model, **manifest.cost.model_dump()},
        "cameras": {source.camera: _camera(source, status, times.get(source.camera)) for source in parts.sources},
        "vehicles": len(places),
        "seen_by_several": sum(len(cameras) > 1 for cameras in places.values()),
        "known": len(places) - status.enrolled,
        "enrolled": status.enrolled,
        "unknown": status.unknown,
        "sightings": status.sightings,
        "embedded": status.embedded,
        "passed_over": status.passed_over,
        "threshold": parts.identifier.threshold,
        "seconds": round(status.seconds, 2),
        "frames": frames,
        "frames_per_second": round(frames / max(status.seconds, 1e-9), 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "stages": stages.summary(),
        "outside": round(_outside(parts, status), 4),
        "identity": None,
    }


def _camera(source: Source, status: Status, times: FrameTimes | None) -> dict[str, Any]:
    """One camera; times and warnings only where there is something to say."""
    view = status.cameras[source.camera]
    steady = times is None or times.steady(source.frame_rate)
    more = {
        "frame_times": None if times is None or steady else times.knots(),
        "warnings": list(source.warnings),
        "notes": list(source.notes),
    }
    return {
        "frames": view.frames,
        "dropped": view.dropped,
        **({"reconnects": view.reconnects} if view.live else {}),
        "tracks": view.tracks,
        "width": source.size[0],
        "height": source.size[1],
        "frame_rate": source.frame_rate,
        **{name: value for name, value in more.items() if value},
    }


def _outside(parts: "Parts", status: Status) -> float:
    """The share of the wall's time in which neither the detector nor the embedder worked, nor a camera was waited for."""
    live = any(source.live for source in parts.sources)
    inside = sum(status.stages[name].seconds for name in ("detect", "embed") if name in status.stages)
    waited = status.stages["wait"].seconds if live and "wait" in status.stages else 0.0
    return max(0.0, 1 - inside / max(status.seconds - waited, 1e-9))
