"""Identity metrics: hand-worked cases, an exhaustive slow version, and py-motmetrics on random data."""

from itertools import permutations

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.evaluate.mot import MotTable
from vreid.runtime.evaluate.tracking import identity_accuracy, idf1

Rows = list[tuple[int, int, float]]  # frame, id, x: every box is 10 x 10, so 3 apart is IoU 0.54 and 4 apart 0.43


def table(rows: Rows) -> MotTable:
    n = len(rows)
    boxes = np.asarray([[x, 0, 10, 10] for _, _, x in rows], np.float32).reshape(-1, 4)
    frames, ids = (np.asarray([row[side] for row in rows], np.int64) for side in (0, 1))
    return MotTable(frames, ids, boxes, np.ones(n, np.float32), np.full(n, -1, np.int64), np.ones(n, np.float32))


def test_the_truth_itself_scores_one() -> None:
    truth = {"a": table([(1, 1, 0), (1, 2, 50), (2, 1, 5)]), "b": table([(1, 2, 0)])}
    score = idf1(truth, truth)
    assert (score.idf1, score.idp, score.idr, score.idtp, score.idfp, score.idfn) == (1, 1, 1, 4, 0, 0)
    ids = identity_accuracy(truth, truth)
    assert (ids.accuracy, ids.boxes, ids.kept_over_cameras, ids.vehicles_over_cameras) == (1, 4, 1, 1)


def test_a_track_cut_in_two_keeps_its_longer_part() -> None:
    truth = {"a": table([(f, 1, 0) for f in range(1, 11)])}
    found = {"a": table([(f, 5 if f <= 7 else 6, 0) for f in range(1, 11)])}
    score = idf1(truth, found)
    assert (score.idtp, score.idfp, score.idfn) == (7, 3, 3)
    assert score.idf1 == pytest.approx(0.7)
    assert identity_accuracy(truth, found).accuracy == pytest.approx(0.7)


def test_ids_are_global_over_cameras() -> None:
    truth = {"a": table([(1, 1, 0), (2, 1, 0)]), "b": table([(1, 1, 0), (2, 1, 0), (3, 1, 0)])}
    own_ids = {"a": table([(1, 7, 0), (2, 7, 0)]), "b": table([(1, 8, 0), (2, 8, 0), (3, 8, 0)])}
    one_id = {camera: table([(int(f), 7, 0) for f in t.frames]) for camera, t in truth.items()}
    assert idf1(truth, own_ids).idtp == 3
    assert idf1(truth, one_id).idtp == 5
    assert identity_accuracy(truth, own_ids).kept_over_cameras == 0
    assert identity_accuracy(truth, one_id).kept_over_cameras == 1


def test_one_id_for_all_is_not_kept_for_all() -> None:
    truth = {"a": table([(1, 1, 0), (1, 2, 50)]), "b": table([(1, 1, 0), (1, 2, 50), (2, 2, 50)])}
    found = {camera: table([(f, 9, x) for f, _, x in [(1, 0, 0.0), (1, 0, 50.0)]]) for camera in truth}
    ids = identity_accuracy(truth, found)
    assert (ids.boxes, ids.accuracy) == (4, 0.5)
    assert (ids.kept_over_cameras, ids.vehicles_over_cameras) == (0.5, 2)
    assert idf1(truth, found).idtp == 2


def test_misses_false_boxes_and_boxes_without_an_id() -> None:
    truth = {"a": table([(1, 1, 0), (2, 1, 0), (3, 1, 0)])}
    found = {"a": table([(1, 4, 3), (2, 4, 4), (3, -1, 0), (9, 4, 0)])}  # good, too far, no id, no truth
    score = idf1(truth, found)
    assert (score.idtp, score.idfp, score.idfn) == (1, 3, 2)
    ids = identity_accuracy(truth, found)
    assert (ids.boxes, ids.accuracy) == (2, 0.5)


def test_nothing_found_scores_zero_and_a_strange_camera_is_refused() -> None:
    truth = {"a": table([(1, 1, 0)])}
    assert idf1(truth, {"a": table([])}).idf1 == 0
    assert idf1(truth, {}).idfn == 1
    assert identity_accuracy(truth, {}).boxes == 0
    with pytest.raises(Refused, match="gt_a"):
        idf1(truth, {"gt_a": table([])})


def random_run(seed: int, vehicles: int = 4) -> tuple[dict[str, MotTable], dict[str, MotTable]]:
    """Vehicles over two cameras, found with jitter, misses, swapped ids and false boxes; no id twice in a frame."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Rows] = {"a": [], "b": []}
    found: dict[str, Rows] = {"a": [], "b": []}
    for camera in truth:
        for frame in range(1, 16):
            names = rng.permutation(vehicles) if rng.random() < 0.4 else np.arange(vehicles)
            for v in range(vehicles):
                x = 12.0 * v + frame
                if rng.random() < 0.8:
                    truth[camera].append((frame, v + 1, x))
                if rng.random() < 0.8:
                    found[camera].append((frame, int(names[v]) + 10, x + float(rng.normal(0, 2))))
    return {c: table(rows) for c, rows in truth.items()}, {c: table(rows) for c, rows in found.items()}


def slow_idtp(truth: dict[str, MotTable], found: dict[str, MotTable]) -> int:
    """The best of all one-to-one assignments, tried one by one, boxes compared one by one."""
    true_ids = sorted({int(i) for t in truth.values() for i in t.ids})
    found_ids = sorted({int(i) for t in found.values() for i in t.ids})
    common = dict.fromkeys([(a, b) for a in true_ids for b in found_ids], 0)
    for camera in truth:
        t, f = truth[camera], found[camera]
        for i in range(len(t)):
            for j in range(len(f)):
                shared = max(0.0, 10 - abs(float(t.boxes[i, 0]) - float(f.boxes[j, 0]))) * 10
                if t.frames[i] == f.frames[j] and shared / (200 - shared) >= 0.5:
                    common[int(t.ids[i]), int(f.ids[j])] += 1
    return max(sum(common[a, b] for a, b in zip(true_ids, p, strict=True)) for p in permutations(found_ids))


@pytest.mark.parametrize("seed", range(8))
def test_idtp_equals_trying_all_assignments(seed: int) -> None:
    truth, found = random_run(seed)
    assert idf1(truth, found).idtp == slow_idtp(truth, found)


@pytest.mark.parametrize("seed", range(5))
def test_equals_motmetrics(seed: int) -> None:
    motmetrics = pytest.importorskip("motmetrics")
    truth, found = random_run(seed, vehicles=6)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for camera in truth:
        t, f = truth[camera], found[camera]
        for frame in np.union1d(t.frames, f.frames):
            a, b = t.rows(t.frames == frame), f.rows(f.frames == frame)
            shared = 10 * (10 - np.abs(a.boxes[:, None, 0] - b.boxes[None, :, 0])).clip(0)
            iou = shared / (200 - shared)  # its own iou_matrix (1.4) needs NumPy 1
            accumulator.update(a.ids.tolist(), b.ids.tolist(), np.where(iou >= 0.5, 1 - iou, np.nan))
    summary = motmetrics.metrics.create().compute(accumulator, metrics=["idf1", "idp", "idr", "idtp", "idfp", "idfn"])
    ours = idf1(truth, found)
    for name in ("idf1", "idp", "idr", "idtp", "idfp", "idfn"):
        assert getattr(ours, name) == pytest.approx(float(summary[name].iloc[0])), name
