"""How soon vehicles are identified, and what the run's time went into, out of its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vreid.runtime.evaluate.passages import Passage

NETWORKS = ("detect", "embed")
PERCENTILES = ("p50_ms", "p90_ms", "p99_ms")


def times_to_identify(passages: Sequence[Passage], report: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds from a vehicle's first true frame in a camera to its first box, and to its first box with the right id: of
    each camera and of "all". Never: found by no box of the right id. `decision`: what finding the id of a sighting that has
    ended took, None where the report does not tell.

    A box has the id that its track got once it had ended, so these tell how much of a passage goes without its id; the id
    itself is known `decision` after the track has ended, in a run over files after the last frame.
    """
    cameras = sorted({passage.camera for passage in passages})
    parts = {camera: [passage for passage in passages if passage.camera == camera] for camera in cameras}
    search = (report.get("stages") or {}).get("search")
    decision = None if search is None else {key: search.get(key) for key in ("count", *PERCENTILES)}
    return {**{name: _times(part) for name, part in {**parts, "all": list(passages)}.items()}, "decision": decision}


def _times(passages: Sequence[Passage]) -> dict[str, Any]:
    found = [p.found_after for p in passages if p.found_after is not None]
    right = [p.right_after for p in passages if p.right_after is not None]
    p50, p90 = (round(float(np.percentile(right, share)), 3) if right else None for share in (50, 90))
    return {
        "passages": len(passages),
        "identified": len(right),
        "never": len(passages) - len(right),
        "first_box_p50_s": round(float(np.median(found)), 3) if found else None,
        "p50_s": p50,
        "p90_s": p90,
        "longest_s": max(right, default=None),
    }


def latency_budget(report: Mapping[str, Any]) -> dict[str, Any]:
    """Stage -> its count, percentiles, seconds in all and share of the wall time; the share outside detector and embedder;
    crops embedded and passed over where the report has them.

    An older report has no seconds of a stage: they are estimated from the percentiles, see `_seconds`.
    """
    stages: Mapping[str, Mapping[str, Any]] = report.get("stages") or {}
    wall = float(report.get("seconds") or 0.0)
    seconds = {name: _seconds(stage) for name, stage in stages.items()}
    table = {
        name: {
            "count": stage.get("count"),
            **{key: stage.get(key) for key in PERCENTILES},
            "seconds": round(seconds[name], 3),
            "share": round(seconds[name] / wall, 4) if wall else None,
        }
        for name, stage in stages.items()
    }
    networks = sum(seconds.get(name, 0.0) for name in NETWORKS)
    return {
        "seconds": wall,
        "frames_per_second": report.get("frames_per_second"),
        "estimated": any("seconds" not in stage for stage in stages.values()),
        "stages": table,
        "outside_detector_and_embedder": round(max(0.0, 1 - networks / wall), 4) if wall and stages else None,
        "embedded": _count(report, "embedded"),
        "passed_over": _count(report, "passed_over"),
    }


def _seconds(stage: Mapping[str, Any]) -> float:
    """What the stage took in all; where it is not told, count times the mean of the straight lines through its
    percentiles, p10 lying as far below p50 as p90 lies above it, but not below 0."""
    if "seconds" in stage:
        return float(stage["seconds"])
    p50, p90, p99 = (float(stage.get(key) or 0.0) for key in PERCENTILES)
    p10 = max(0.0, 2 * p50 - p90)
    mean = 0.1 * p10 + 0.4 * (p10 + p50) / 2 + 0.4 * (p50 + p90) / 2 + 0.09 * (p90 + p99) / 2 + 0.01 * p99
    return int(stage.get("count") or 0) * mean / 1000


def _count(report: Mapping[str, Any], name: str) -> int | None:
    """The run's count, or the sum of its cameras'; None where it was not counted."""
    if report.get(name) is not None:
        return int(report[name])
    cameras = [camera[name] for camera in (report.get("cameras") or {}).values() if camera.get(name) is not None]
    return sum(map(int, cameras)) if cameras else None
