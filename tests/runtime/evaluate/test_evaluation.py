"""The evaluation of a run: scores, identities, delays, what is ignored, wrong input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.evaluate.evaluation import evaluate_run, latency_budget, write_evaluation
from vreid.runtime.mot import MotTable, write_mot

pytest.importorskip("motrics", reason="the extra eval is not installed")

Rows = list[tuple[int, int, float]]  # frame, id, x: every box is 10 x 10, so 3 apart is IoU 0.54 and 4 apart 0.43
RATE = 10.0


def table(rows: Rows, scores: list[float] | None = None) -> MotTable:
    n = len(rows)
    boxes = np.asarray([[x, 0, 10, 10] for _, _, x in rows], np.float32).reshape(-1, 4)
    frames, ids = (np.asarray([row[side] for row in rows], np.int64) for side in (0, 1))
    weights = np.ones(n, np.float32) if scores is None else np.asarray(scores, np.float32)
    return MotTable(frames, ids, boxes, weights, np.full(n, -1, np.int64), np.ones(n, np.float32))


Made = Callable[..., tuple[Path, Path]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Writes a run's folder and its truth: camera -> rows, twice; sightings are made of the found rows, one an id."""

    def make(truth: dict[str, Rows], found: dict[str, Rows], **more: Any) -> tuple[Path, Path]:
        run, gt = tmp_path / "run", tmp_path / "gt"
        for folder in (run / "mot", gt):
            folder.mkdir(parents=True, exist_ok=True)
        lines = list(more.get("unknown", []))
        for camera, rows in found.items():
            write_mot(run / "mot" / f"{camera}.txt", table(rows))
            for number in sorted({row[1] for row in rows}):
                frames = sorted(row[0] for row in rows if row[1] == number)
                last = next(x for f, i, x in rows if (f, i) == (frames[-1], number))
                lines.append(sighting(camera, number, frames[0], frames[-1], last))
        for camera, rows in truth.items():
            write_mot(gt / f"gt_{camera}.txt", table(rows, (more.get("scores") or {}).get(camera)))
        camera_fields = {"frames": 100, "dropped": 0, "width": 400, "height": 100, "frame_rate": RATE}
        report = {
            "cameras": {camera: camera_fields for camera in found},
            "seconds": 10.0,
            "stages": more.get("stages", {}),
            **more.get("report", {}),
        }
        (run / "report.json").write_text(json.dumps(report))
        (run / "sightings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run, gt

    return make


def sighting(camera: str, vehicle: int | None, first: int, last: int, x: float) -> dict[str, Any]:
    """Frames from 1 here, from 0 in the file."""
    fields = {"camera": camera, "vehicle": vehicle, "first_frame": first - 1, "last_frame": last - 1}
    return {**fields, "box": [x, 0, x + 10, 10]}


def drive(number: int, frames: range, x: float = 0.0) -> Rows:
    return [(frame, number, x) for frame in frames]


def test_the_truth_itself_is_perfect(made: Made) -> None:
    rows = {"a": drive(1, range(1, 11)) + drive(2, range(3, 9), 50), "b": drive(1, range(20, 30))}
    found = evaluate_run(*made(rows, rows))
    for camera in ("a", "b", "all"):
        scores = found["boxes"][camera]
        assert [scores[name] for name in ("idf1", "idp", "idr", "hota", "deta", "assa", "loca", "mota")] == [1] * 8
        assert [scores[name] for name in ("switches", "fragments", "false_positives", "misses")] == [0] * 4
    identity = found["identity"]
    assert (identity["precision"], identity["recall"], identity["merged"], identity["split"]) == (1, 1, [], [])
    assert (identity["kept_over_cameras"], identity["driven_through_several_cameras"]) == (1, 1)
    assert found["time_to_identify"]["all"]["longest_s"] == 0 and found["notes"] == []


def test_another_id_in_the_next_camera_is_a_switch_over_all_and_a_split(made: Made) -> None:
    truth = {"a": drive(1, range(1, 11)), "b": drive(1, range(31, 37))}
    found = evaluate_run(*made(truth, {"a": drive(7, range(1, 11)), "b": drive(8, range(31, 37))}))
    boxes, identity = found["boxes"], found["identity"]
    assert [boxes[name]["switches"] for name in ("a", "b", "all")] == [0, 0, 1]
    assert [boxes[name]["idf1"] for name in ("a", "b", "all")] == [1, 1, 10 / 16]
    assert identity["split"] == [{"vehicle": 1, "ids": [7, 8]}] and identity["merged"] == []
    assert (identity["precision"], identity["recall"], identity["kept_over_cameras"]) == (0.5, 0.5, 0)
    assert found["time_to_identify"]["b"]["never"] == 1


def test_one_id_on_two_vehicles_is_a_merge(made: Made) -> None:
    truth = {"a": drive(1, range(1, 11)), "b": drive(2, range(31, 37))}
    identity = evaluate_run(*made(truth, {"a": drive(7, range(1, 11)), "b": drive(7, range(31, 37))}))["identity"]
    assert identity["merged"] == [{"id": 7, "vehicles": [1, 2]}] and identity["split"] == []
    assert (identity["sightings_right"], identity["sightings"], identity["passages_right"]) == (1, 2, 1)


def test_sightings_on_nobody_and_without_an_id(made: Made) -> None:
    truth = {"a": drive(1, range(1, 11)) + drive(2, range(1, 11), 50)}
    found = {"a": drive(7, range(1, 11)) + drive(8, range(1, 11), 100)}
    unknown = [sighting("a", None, 1, 10, 51), sighting("a", None, 1, 10, 200)]
    identity = evaluate_run(*made(truth, found, unknown=unknown))["identity"]
    assert (identity["sightings"], identity["sightings_right"], identity["sightings_on_nobody"]) == (2, 1, 1)
    assert (identity["sightings_without_an_id"], identity["of_these_on_a_vehicle"]) == (2, 1)
    assert (identity["vehicles"], identity["vehicles_found"], identity["passages_found"]) == (2, 1, 1)


def test_time_to_identify_is_from_the_first_true_frame_of_each_passage(made: Made) -> None:
    truth = {"a": drive(1, range(1, 21)) + drive(1, range(80, 91))}  # back after 6 seconds: a second passage
    found = {"a": drive(5, range(3, 6)) + drive(7, range(6, 21)) + drive(7, range(84, 91))}
    judged = evaluate_run(*made(truth, found))
    first, second = judged["vehicles"][0]["passages"]
    assert (first["found_after"], first["right_after"], second["right_after"]) == (0.2, 0.5, 0.4)
    assert first["stretches"] == ((5, 3, 5), (7, 6, 20)) and (first["id"], first["right"]) == (7, True)
    times = judged["time_to_identify"]["all"]
    assert (times["passages"], times["identified"], times["never"], times["p50_s"]) == (2, 2, 0, 0.45)


def test_what_the_truth_leaves_out_is_not_judged(made: Made) -> None:
    truth = {"a": [*drive(1, range(1, 6)), *drive(2, range(1, 6), 50), (1, -1, 90.0)]}
    weights = [1.0] * 5 + [0.0] * 6  # vehicle 2 is not considered, and around x = 90 lies a region
    found = {"a": drive(7, range(1, 6)) + drive(8, range(1, 6), 50) + [(1, 9, 94.0), (2, 9, 94.0)]}
    judged = evaluate_run(*made(truth, found, scores={"a": weights}))
    assert judged["ignored"] == {"true_boxes": 6, "found_boxes": 6}
    assert (judged["boxes"]["all"]["misses"], judged["boxes"]["all"]["false_positives"]) == (0, 1)
    assert judged["identity"]["sightings"] == 2  # the one on vehicle 2 is not judged at all


def test_a_second_box_on_what_is_ignored_is_false(made: Made) -> None:
    truth = {"a": drive(1, range(1, 3)) + drive(2, range(1, 3), 50)}
    found = {"a": drive(7, range(1, 3)) + drive(8, range(1, 3), 50) + drive(9, range(1, 3), 52)}
    judged = evaluate_run(*made(truth, found, scores={"a": [1, 1, 0, 0]}))
    assert judged["ignored"]["found_boxes"] == 2 and judged["boxes"]["all"]["false_positives"] == 2


def test_motchallenge_layout_is_read(made: Made) -> None:
    rows = {"a": drive(1, range(1, 6))}
    run, gt = made(rows, rows)
    (gt / "a" / "gt").mkdir(parents=True)
    (gt / "gt_a.txt").rename(gt / "a" / "gt" / "gt.txt")
    assert evaluate_run(run, gt)["boxes"]["all"]["idf1"] == 1


def test_a_camera_with_nothing_in_it(made: Made) -> None:
    truth: dict[str, Rows] = {"a": drive(1, range(1, 6)), "b": [], "c": drive(1, range(1, 6))}
    found: dict[str, Rows] = {"a": drive(7, range(1, 6)), "b": [], "c": []}
    boxes = evaluate_run(*made(truth, found))["boxes"]
    assert (boxes["b"]["idf1"], boxes["b"]["misses"], boxes["c"]["misses"], boxes["c"]["hota"]) == (0, 0, 5, 0)
    assert boxes["all"]["idr"] == 0.5


def test_truth_that_meets_nothing_is_noted(made: Made) -> None:
    found = evaluate_run(*made({"a": drive(1, range(1, 6), 300)}, {"a": drive(7, range(1, 6))}))
    assert len(found["notes"]) == 1 and "no box of a lies on a true one" in found["notes"][0]


def spoiled(name: str) -> Callable[[Path, Path], None]:
    """A way to spoil a good run or truth."""

    def change(run: Path, gt: Path) -> None:
        path = {"gt": gt / "gt_a.txt", "report": run / "report.json", "timed": run / "sightings.jsonl"}
        match name:
            case "no truth":
                path["gt"].unlink()
            case "later truth":
                path["gt"].write_text("101,1,0,0,10,10,1,-1,1\n")
            case "larger truth":
                path["gt"].write_text("1,1,790,0,10,10,1,-1,1\n")
            case "no truth that counts":
                path["gt"].write_text("1,1,0,0,10,10,0,-1,1\n")
            case "truth from 0":
                path["gt"].write_text("0,1,0,0,10,10,1,-1,1\n")
            case "double truth":
                path["gt"].write_text("1,1,0,0,10,10,1,-1,1\n1,1,30,0,10,10,1,-1,1\n")
            case "no report":
                path["report"].unlink()
            case "half a report":
                path["report"].write_text('{"cameras": {"a": ')
            case "another report":
                path["report"].write_text('{"cameras": [1]}')
            case "no sightings":
                path["timed"].unlink()
            case "broken sightings":
                path["timed"].write_text('{"camera": "a"}\n')
            case "no boxes":
                (run / "mot" / "a.txt").unlink()
            case "nobody":
                (run / "mot" / "a.txt").write_text("")
                path["timed"].write_text(json.dumps(sighting("a", None, 1, 2, 0)) + "\n")

    return change


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no truth", "no truth of camera a"),
        ("later truth", "goes on to frame 101, and the run saw 100 frames of a"),
        ("larger truth", "another picture size: 1 of its 1 boxes lie outside the 400 x 100"),
        ("no truth that counts", "no box that counts"),
        ("truth from 0", "not a whole number from 1"),
        ("double truth", "id 1 twice in frame 1"),
        ("no report", "no report.json"),
        ("half a report", "is not JSON"),
        ("another report", "lacks what its cameras saw"),
        ("no sightings", "no sightings.jsonl"),
        ("broken sightings", "line 1, is not a sighting"),
        ("no boxes", "no MOT file"),
        ("nobody", "none of its 1 sightings an id"),
    ],
)
def test_wrong_input_is_a_sentence(made: Made, name: str, words: str) -> None:
    rows = {"a": drive(1, range(1, 6))}
    run, gt = made(rows, rows)
    spoiled(name)(run, gt)
    with pytest.raises(Refused, match=words):
        evaluate_run(run, gt)


def test_budget_takes_the_seconds_of_the_report_or_estimates_them() -> None:
    stage = {"count": 100, "p50_ms": 20.0, "p90_ms": 20.0, "p99_ms": 20.0}
    guessed = latency_budget({"seconds": 4.0, "stages": {"detect": stage, "track": stage}})
    assert guessed["estimated"] and guessed["stages"]["detect"]["seconds"] == pytest.approx(2.0)
    timed = latency_budget({"seconds": 4.0, "stages": {"detect": {**stage, "seconds": 1.0}}, "embedded": 3})
    assert not timed["estimated"] and timed["outside_detector_and_embedder"] == 0.75
    assert (timed["embedded"], timed["passed_over"]) == (3, None)
    assert latency_budget({})["outside_detector_and_embedder"] is None
    assert latency_budget({"cameras": {"a": {"embedded": 2}, "b": {"embedded": 3}}})["embedded"] == 5


@pytest.mark.parametrize(("slow", "share"), [(0.0, 0.05), (2.0, 0.1)])
def test_estimated_seconds_are_near_the_sum(slow: float, share: float) -> None:
    times = np.random.default_rng(0).gamma(4, 5, 2000) * np.exp(slow * np.random.default_rng(1).random(2000))
    p50, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    stage = {"count": 2000, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
    estimate = latency_budget({"seconds": 1.0, "stages": {"embed": stage}})["stages"]["embed"]["seconds"]
    assert estimate == pytest.approx(times.sum() / 1000, rel=share)


def test_the_page_escapes_and_draws_a_switch(made: Made) -> None:
    truth = {"a": drive(1, range(1, 21))}
    run, gt = made(truth, {"a": drive(5, range(1, 6)) + drive(7, range(6, 21))}, report={"detector": "<b>&"})
    written = write_evaluation(run, evaluate_run(run, gt), html=True)
    assert [path.name for path in written] == ["eval.json", "eval.html"]
    text = (run / "eval.html").read_text()
    assert "&lt;b&gt;&amp;" in text and "#5 · vehicle 1" in text and "#7 · vehicle 1" in text
    assert json.loads((run / "eval.json").read_text())["boxes"]["all"]["switches"] == 1
    assert sorted(path.name for path in run.iterdir()) == [
        "eval.html", "eval.json", "mot", "report.json", "sightings.jsonl",
    ]  # fmt: skip
