"""Truth: found where it lies, and a run that equals it scores 1."""

from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.evaluate.truth import identity_of, table_of, truth_of_run
from vreid.runtime.mot import MotTable, write_mot
from vreid.runtime.records import FinishedTrack, Match, Trace
from vreid.runtime.sources.synth import synth_truth

SCENE = "synth://city?camera={}&seconds=8&vehicles=4&cameras=2"


def decided_as(truth: dict[str, MotTable]) -> list[tuple[FinishedTrack, Match, Trace]]:
    """What a perfect run would decide."""
    decided = []
    for camera, table in truth.items():
        for vehicle in np.unique(table.ids):
            rows = table.rows(np.flatnonzero(table.ids == vehicle))
            boxes = np.concatenate([rows.boxes[:, :2], rows.boxes[:, :2] + rows.boxes[:, 2:]], axis=1)
            trace = Trace(rows.frames - 1, boxes, rows.scores)
            sighting = FinishedTrack(
                camera, int(vehicle), int(trace.frames[0]), int(trace.frames[-1]), 0.0, 1.0, 2,
                np.ones(3, np.float32), 1, 1.0, np.zeros((8, 8, 3), np.uint8),
            )  # fmt: skip
            decided.append((sighting, Match(100 + int(vehicle), "x", 1.0, True), trace))
    return decided


def test_the_scene_knows_its_own_truth() -> None:
    found = truth_of_run([SCENE.format(1), "gate=" + SCENE.format(2)], None)
    assert found is not None and list(found) == ["cam1", "gate"]
    for camera, number in (("cam1", 1), ("gate", 2)):
        slow = [
            (index + 1, box.vehicle, box.x, box.y, box.w, box.h)
            for index, boxes in synth_truth(SCENE.format(number)).items()
            for box in boxes
        ]
        table = found[camera]
        rows = np.column_stack([table.frames, table.ids, table.boxes])
        np.testing.assert_allclose(rows, np.array(slow), rtol=1e-6)


def test_a_run_that_equals_the_truth_scores_one_and_a_worse_one_less() -> None:
    truth = truth_of_run([SCENE.format(1), SCENE.format(2)], None)
    assert truth is not None
    decided = decided_as(truth)
    perfect = identity_of(decided, truth)
    assert [perfect[key] for key in ("idf1", "idp", "idr", "accuracy", "kept_over_cameras")] == [1.0] * 5
    assert perfect["vehicles"] > 0
    apart = [
        (s, Match((m.vehicle or 0) + 1000 * (s.camera == "cam2"), "x", 1.0, True), t) for s, m, t in decided
    ]  # every camera its own ids
    assert identity_of(apart, truth)["kept_over_cameras"] == 0
    assert identity_of(apart, truth)["idf1"] < 1
    unknown = [(s, Match(None, None, -1.0, False), t) for s, _, t in decided]
    assert identity_of(unknown, truth)["idf1"] == 0
    assert identity_of([], truth)["idf1"] == 0


def test_the_table_holds_every_box_in_order() -> None:
    truth = truth_of_run([SCENE.format(1)], None)
    assert truth is not None
    decided = decided_as(truth)
    table = table_of(decided, "cam1")
    slow = sorted(
        (int(frame) + 1, m.vehicle, *(float(e) for e in (x1, y1, x2 - x1, y2 - y1)))
        for _, m, t in decided
        for frame, (x1, y1, x2, y2) in zip(t.frames, t.boxes, strict=True)
    )
    np.testing.assert_allclose(np.column_stack([table.frames, table.ids, table.boxes]), np.array(slow), rtol=1e-6)
    assert len(table_of(decided, "another")) == 0


def test_truth_from_a_folder(tmp_path: Path) -> None:
    one = MotTable(
        np.array([1]), np.array([5]), np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32),
        np.array([2]), np.ones(1, np.float32),
    )  # fmt: skip
    write_mot(tmp_path / "gt_a.txt", one)
    write_mot(tmp_path / "b.txt", one)
    found = truth_of_run(["a.mp4", "x/b.mp4"], tmp_path)
    assert found is not None and [table.ids.tolist() for table in found.values()] == [[5], [5]]
    with pytest.raises(Refused, match=r"neither gt_c\.txt nor c\.txt"):
        truth_of_run(["a.mp4", "c.mp4"], tmp_path)
    assert truth_of_run(["a.mp4"], None) is None
    assert truth_of_run([SCENE.format(1), "a.mp4"], None) is None
