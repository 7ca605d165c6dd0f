"""The whole judgement of a run as one document: what `eval.json` holds and `eval.html` shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vreid.models.files import write_atomic
from vreid.report.formats import percent
from vreid.report.page import pieces, write_page
from vreid.report.timeline import Bar, timeline
from vreid.runtime.evaluate.budget import latency_budget, times_to_identify
from vreid.runtime.evaluate.finished_run import FinishedRun, Watched, finished_run
from vreid.runtime.evaluate.identities import identity_scores, owned
from vreid.runtime.evaluate.passages import Pair, Passage, pairs_of, passages_of
from vreid.runtime.evaluate.table import COUNTS, SHARES, box_scores
from vreid.runtime.evaluate.tracking import assignment, identity_accuracy, moments
from vreid.runtime.evaluate.truth import Judged, judged
from vreid.runtime.sinks.jsonl import json_text

IOU = 0.5
DRAWN = 60  # vehicles on the page


def verdict(
    folder: Path, truth: Path, min_visibility: float = 0.0, watch: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Judge the run in `folder` against the truth in the folder `truth`; `watch` gets parts done and parts in all.

    Raises Refused for a folder that is no run, a run without an id, truth that is missing or of another video, and a
    library that is not installed.
    """
    run = finished_run(folder)
    both = judged(run, truth, min_visibility, IOU)
    cameras = {
        camera: list(moments({camera: both.truth[camera]}, {camera: both.found[camera]})) for camera in run.cameras
    }
    done = [0]

    def one_done() -> None:
        done[0] += 1
        watch(done[0], len(cameras) + 1)

    boxes = box_scores(cameras, IOU, one_done)
    every = [moment for camera in cameras.values() for moment in camera]
    chosen, _ = assignment(every, IOU)
    pairs = pairs_of(every, IOU)
    passages = passages_of(run, both.truth, pairs, chosen)
    return {
        "run": str(folder),
        "truth": str(truth),
        "detector": run.report.get("detector"),
        "iou": IOU,
        "min_visibility": min_visibility,
        "ignored": {"true_boxes": both.ignored_true, "found_boxes": both.ignored_found},
        "cameras": {camera: asdict(watched) for camera, watched in run.cameras.items()},
        "notes": _notes(both, pairs),
        "boxes": boxes,
        "identity": _identity(run, both, pairs, passages, chosen),
        "time_to_identify": times_to_identify(passages, run.report),
        "latency": latency_budget(run.report),
        "vehicles": _vehicles(passages, chosen),
    }


def write_verdict(folder: Path, document: Mapping[str, Any], html: bool = False) -> list[Path]:
    """Write `document` as eval.json, and as the page eval.html if asked, each complete or not at all; returns where."""
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
    cameras = {camera: Watched(**watched) for camera, watched in document["cameras"].items()}
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


def _bars(vehicle: Mapping[str, Any], cameras: Mapping[str, Watched]) -> Iterator[Bar]:
    for passage in vehicle["passages"]:
        watched = cameras[passage["camera"]]
        watched = watched if watched.timed else replace(watched, frame_rate=1.0)
        stretches = passage["stretches"] or [(None, passage["first_frame"], passage["last_frame"])]
        for number, first, last in stretches:
            begin, end = watched.seconds([first, last + 1]).tolist()
            yield Bar(_lane(vehicle), begin, end, number)


def _identity(
    run: FinishedRun, both: Judged, pairs: Sequence[Pair], passages: Sequence[Passage], chosen: dict[int, int]
) -> dict[str, Any]:
    """The sightings' scores beside those of the boxes, which `vreid run --truth` prints too."""
    accuracy = identity_accuracy(both.truth, both.found, IOU)
    driven: dict[int, set[str]] = {}
    for passage in passages:
        driven.setdefault(passage.vehicle, set()).add(passage.camera)
    return {
        **identity_scores(owned(run, both.truth, both.found, pairs, IOU), passages, chosen),
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


def _notes(both: Judged, pairs: Sequence[Pair]) -> list[str]:
    """What the figures alone do not say."""
    met = {pair.camera for pair in pairs}
    return [
        f"no box of {camera} lies on a true one: see that the truth is of this video, frame by frame from 1"
        for camera in both.found
        if len(both.found[camera]) and len(both.truth[camera]) and camera not in met
    ]
