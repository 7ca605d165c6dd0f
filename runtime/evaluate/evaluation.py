"""The evaluation of a run as one document: what `eval.json` holds and `eval.html` shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.files import write_atomic
from vreid.report.formats import percent
from vreid.report.page import pieces, write_page
from vreid.report.timeline import Bar, timeline
from vreid.runtime.evaluate.finished_run import CameraLog, FinishedRun, finished_run
from vreid.runtime.evaluate.identities import (
    PairedBox,
    Passage,
    identity_scores,
    pairs_of,
    passages_of,
    placed_sightings,
)
from vreid.runtime.evaluate.tracking import (
    COUNTS,
    IOU,
    SHARES,
    FrameOverlap,
    assignment,
    box_scores,
    frame_overlaps,
    identity_accuracy,
)
from vreid.runtime.evaluate.truth import CountedBoxes, counted_boxes
from vreid.runtime.sinks.jsonl import json_text

DRAWN = 60  # vehicles on the page


def evaluate_run(
    folder: Path, truth: Path, min_visibility: float = 0.0, progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Evaluate the run in `folder` against the truth in the folder `truth`; `progress` gets parts done and parts in all.

    Raises Refused for a folder that is not a run, a run without an id, truth that is missing or of another video, and a
    library that is not installed.
    """
    run = finished_run(folder)
    both = counted_boxes(run, truth, min_visibility, IOU)
    cameras = {
        camera: list(frame_overlaps({camera: both.truth[camera]}, {camera: both.found[camera]}))
        for camera in run.cameras
    }
    done = [0]

    def one_done() -> None:
        done[0] += 1
        progress(done[0], len(cameras) + 1)

    boxes = box_scores(cameras, IOU, one_done)
    frames = [at for camera in cameras.values() for at in camera]
    chosen, _ = assignment(frames, IOU)
    pairs = pairs_of(frames, IOU)
    passages = passages_of(run, both.truth, pairs, chosen)
    return {
        "run": str(folder),
        "truth": str(truth),
        "detector": run.report.get("detector"),
        "iou": IOU,
        "min_visibility": min_visibility,
        "ignored": {"true_boxes": both.ignored_true, "found_boxes": both.ignored_found},
        "cameras": {camera: asdict(log) for camera, log in run.cameras.items()},
        "notes": _notes(both, pairs),
        "boxes": boxes,
        "identity": _identity(run, both, frames, pairs, passages, chosen),
        "time_to_identify": times_to_identify(passages, run.report),
        "latency": latency_budget(run.report),
        "vehicles": _vehicles(passages, chosen),
    }


def write_evaluation(folder: Path, document: Mapping[str, Any], html: bool = False) -> list[Path]:
    """Write `document` as eval.json, and as the page eval.html with `html`, each complete or not at all; returns where."""
    written = [folder / "eval.json"]
    write_atomic(written[0], json_text(document, indent=2) + "\n")
    if html:
        written.append(write_page(folder / "eval.html", _page(document)))
    return written


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    """The page: the scores of each camera, and under which ids each true vehicle went over time."""
    rows = [
        [camera, *(percent(one[name]) for name in SHARES), *(one[name] for name in COUNTS)]
        for camera, one in document["boxes"].items()
    ]
    vehicles = document["vehicles"][:DRAWN]
    cameras = {camera: CameraLog(**log) for camera, log in document["cameras"].items()}
    bars = [bar for vehicle in vehicles for bar in _bars(vehicle, cameras)]
    return pieces(
        "evaluation.html.j2",
        **document,
        head=["camera", *SHARES.values(), *COUNTS.values()],
        rows=rows,
        timeline=timeline(bars, [_lane(vehicle) for vehicle in vehicles], ()),
        drawn=DRAWN,
    )


def _lane(vehicle: Mapping[str, Any]) -> str:
    return f"vehicle {vehicle['vehicle']}"


def _bars(vehicle: Mapping[str, Any], cameras: Mapping[str, CameraLog]) -> Iterator[Bar]:
    for passage in vehicle["passages"]:
        log = cameras[passage["camera"]]
        log = log if log.timed else replace(log, frame_rate=1.0)
        stretches = passage["stretches"] or [(None, passage["first_frame"], passage["last_frame"])]
        for number, first, last in stretches:
            begin, end = log.seconds([first, last + 1]).tolist()
            yield Bar(_lane(vehicle), begin, end, number)


def _identity(
    run: FinishedRun,
    both: CountedBoxes,
    frames: Sequence[FrameOverlap],
    pairs: Sequence[PairedBox],
    passages: Sequence[Passage],
    chosen: dict[int, int],
) -> dict[str, Any]:
    """The sightings' scores and those of the boxes, which `vreid run --truth` prints too."""
    accuracy = identity_accuracy(frames)
    driven: dict[int, set[str]] = {}
    for passage in passages:
        driven.setdefault(passage.vehicle, set()).add(passage.camera)
    return {
        **identity_scores(placed_sightings(run, both.truth, both.found, pairs, IOU), passages, chosen),
        "box_accuracy": round(accuracy.accuracy, 4),
        "kept_over_cameras": round(accuracy.kept_over_cameras * accuracy.vehicles_over_cameras),
        "found_in_several_cameras": accuracy.vehicles_over_cameras,
        "driven_through_several_cameras": sum(len(cameras) > 1 for cameras in driven.values()),
    }


def _vehicles(passages: Sequence[Passage], chosen: dict[int, int]) -> list[dict[str, Any]]:
    """Each true vehicle: its id, None if it never got one of its own, and its passages."""
    by_vehicle: dict[int, list[Passage]] = {}
    for passage in passages:
        by_vehicle.setdefault(passage.vehicle, []).append(passage)
    return [
        {"vehicle": vehicle, "id": chosen.get(vehicle), "passages": [_fields(passage) for passage in part]}
        for vehicle, part in sorted(by_vehicle.items())
    ]


def _fields(passage: Passage) -> dict[str, Any]:
    return {key: value for key, value in asdict(passage).items() if key != "vehicle"}


def _notes(both: CountedBoxes, pairs: Sequence[PairedBox]) -> list[str]:
    """What the figures do not show."""
    met = {pair.camera for pair in pairs}
    return [
        f"no box of {camera} lies on a true one: see that the truth is of this video, frame by frame from 1"
        for camera in both.found
        if len(both.found[camera]) and len(both.truth[camera]) and camera not in met
    ]


_NETWORKS = ("detect", "embed")
PERCENTILES = ("p50_ms", "p90_ms", "p99_ms")


def times_to_identify(passages: Sequence[Passage], report: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds from a vehicle's first true frame in a camera to its first box, and to its first box with the right id: of
    each camera and of "all". Never: found by no box of the right id. `decision`: what finding the id of a sighting that has
    ended took, None where the report does not have it.

    A box has the id that its track got once it had ended, so these say how much of a passage goes without its id; the id
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
    networks = sum(seconds.get(name, 0.0) for name in _NETWORKS)
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
    """What the stage took in all; where the report has no total, count times the mean of the straight lines through its
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
