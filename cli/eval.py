"""`vreid eval retrieval|run`: retrieval accuracy of a model, or a finished run against its ground truth."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vreid.cli import output
from vreid.cli.measuring import test_part, warn_if_learnt
from vreid.models.errors import refuse_batch_size, refuse_threads


@dataclass(frozen=True)
class Retrieval:
    """mAP, Rank-1/5/10 and mINP: image to image, same vehicle in the same camera left out, no re-ranking."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json, the name of a bundled model, or the baseline hsv."""
    data: Path
    """A folder in a layout of docs/data.md, or a CSV file; a test part is enough. Of train.csv and test.csv, test.csv."""
    threads: int = 1
    """CPU threads."""
    device: str = "auto"
    """Where a checkpoint runs: auto, cpu or cuda."""
    batch: int = 32
    """Pictures at once."""
    camera_bias: bool = False
    """Measure it a second time without what the pictures of each camera have in common, as a run does."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Run:
    """IDF1, HOTA, MOTA, identities of the sightings, time to identify and the latency budget of a run's folder."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder that `vreid run --out` wrote; eval.json is written into it."""
    gt: Path
    """Folder of ground truth, MOT text: gt_<camera>.txt, or <camera>/gt/gt.txt; ids shared by all cameras, frames from 1."""
    min_visibility: float = 0.0
    """Truth that is less visible than this does not count, nor do the boxes on it."""
    html: bool = False
    """Also write eval.html: the tables, and each true vehicle's ids over time."""
    json: bool = False
    """Print eval.json's content on stdout."""


ABOUT = "vreid eval MODEL --data FOLDER is vreid eval retrieval MODEL --data FOLDER: vreid eval retrieval --help has the flags."
Args = Annotated[Retrieval, tyro.conf.subcommand("retrieval")] | Annotated[Run, tyro.conf.subcommand("run")]


def main(args: Retrieval | Run) -> int:
    """Evaluate and print the figures; without a sub-verb it is retrieval."""
    return _run(args) if isinstance(args, Run) else _retrieval(args)


def _retrieval(args: Retrieval) -> int:
    from vreid.deploy.model import open_model
    from vreid.train.evaluate import embedded, measured, pictures_of

    refuse_batch_size(args.batch)
    refuse_threads(args.threads)
    model = open_model(args.model, args.threads, args.device)
    dataset = test_part(args.data)
    pictures_of(dataset)  # refused before anything is embedded
    began = time.monotonic()
    with output.counting("embedding") as count:
        parts = embedded(dataset, model.embed, batch=args.batch, progress=count)
    found = {"": measured(dataset, *parts)}
    if args.camera_bias:
        from vreid.deploy.camera_bias import without_camera_bias

        found["without the cameras' bias"] = measured(dataset, *without_camera_bias(*parts))
    figures = asdict(found[""])
    trained = warn_if_learnt(args.model, model.trained, dataset)
    if args.json:
        output.document(
            {
                **figures,
                **({"without_camera_bias": asdict(found["without the cameras' bias"])} if args.camera_bias else {}),
                "trained_on": trained,
                "model": args.model,
                "backend": model.backend,
                "seconds": round(time.monotonic() - began, 2),
            }
        )
        return 0
    columns = ("data", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "queries", "gallery", "skipped")
    rows = [(f"{dataset.name} {how}".rstrip(), *asdict(one).values()) for how, one in found.items()]
    output.table(f"{args.model} ({model.backend})", columns, rows)
    return 0


def _run(args: Run) -> int:
    from vreid.runtime.evaluate.evaluation import evaluate_run, write_evaluation

    with output.counting("evaluating") as count:
        found = evaluate_run(args.run, args.gt, args.min_visibility, count)
    written = write_evaluation(args.run, found, args.html)
    if args.json:
        output.document(found)
        return 0
    _print_boxes(found["boxes"])
    _print_times(found["time_to_identify"])
    _print_budget(found["latency"])
    _print_identity(found["identity"])
    for note in found["notes"]:
        output.note(note)
    output.result(f"all figures: {', '.join(map(str, written))}")
    return 0


def _print_boxes(scores: Mapping[str, Mapping[str, Any]]) -> None:
    from vreid.runtime.evaluate.tracking import COUNTS, SHARES

    rows = [
        (camera, *(_percent(one[name]) for name in SHARES), *(one[name] for name in COUNTS))
        for camera, one in scores.items()
    ]
    output.table("boxes with ids, %", ("camera", *SHARES.values(), *COUNTS.values()), rows)


def _print_times(times: Mapping[str, Any]) -> None:
    keys = ("passages", "identified", "never", "first_box_p50_s", "p50_s", "p90_s", "longest_s")
    rows = [
        (camera, *("-" if one[key] is None else one[key] for key in keys))
        for camera, one in times.items()
        if camera != "decision"
    ]
    heads = ("camera", "passages", "identified", "never", "first box p50 s", "right id p50 s", "p90 s", "longest s")
    output.table("time to identify", heads, rows)


def _print_budget(latency: Mapping[str, Any]) -> None:
    about = ", seconds estimated from the percentiles" if latency["estimated"] else ""
    rows = [
        (name, *("-" if value is None else value for value in list(one.values())[:-1]), _percent(one["share"]))
        for name, one in latency["stages"].items()
    ]
    heads = ("stage", "count", "p50 ms", "p90 ms", "p99 ms", "seconds", "% of the wall time")
    output.table(f"latency{about}", heads, rows)
    if latency["outside_detector_and_embedder"] is not None:
        crops = "" if latency["embedded"] is None else f"; {latency['embedded']} crops embedded"
        over = "" if latency["passed_over"] is None else f", {latency['passed_over']} passed over"
        output.result(
            f"{_percent(latency['outside_detector_and_embedder'])} % of {latency['seconds']:.1f} seconds went outside "
            f"detector and embedder{crops}{over}"
        )


def _print_identity(identity: Mapping[str, Any]) -> None:
    output.result(
        f"sightings: {identity['sightings_right']} of {identity['sightings']} have the right id "
        f"(precision {_percent(identity['precision'])} %); without an id: {identity['sightings_without_an_id']}, "
        f"on no vehicle with half of their boxes: {identity['sightings_on_nobody']}"
    )
    output.result(
        f"passages: {identity['passages_right']} of {identity['passages']} have the right id "
        f"(recall {_percent(identity['recall'])} %), {identity['passages_found']} were found at all"
    )
    output.result(
        f"vehicles: {identity['vehicles_found']} of {identity['vehicles']} found under {identity['ids']} ids; "
        f"{identity['kept_over_cameras']} of {identity['found_in_several_cameras']} found in several cameras keep one id; "
        f"ids on sightings of several vehicles: {len(identity['merged'])}, vehicles under several ids: {len(identity['split'])}"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
