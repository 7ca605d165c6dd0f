"""Tracking metrics: cases worked by hand, slow versions from the papers, and motrics' IDF1 on random data."""

from itertools import combinations, permutations

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.evaluate.tracking import (
    IOU,
    FrameOverlap,
    IdentityAccuracy,
    IdentityScore,
    clear_and_hota,
    frame_overlaps,
    identity_accuracy,
    identity_score,
)
from vreid.runtime.mot import MotTable

Rows = list[tuple[int, int, float]]  # frame, id, x: every box is 10 x 10, so 3 apart is IoU 0.54 and 4 apart 0.43


def table(rows: Rows) -> MotTable:
    n = len(rows)
    boxes = np.asarray([[x, 0, 10, 10] for _, _, x in rows], np.float32).reshape(-1, 4)
    frames, ids = (np.asarray([row[side] for row in rows], np.int64) for side in (0, 1))
    return MotTable(frames, ids, boxes, np.ones(n, np.float32), np.full(n, -1, np.int64), np.ones(n, np.float32))


def scored(truth: dict[str, MotTable], found: dict[str, MotTable]) -> IdentityScore:
    return identity_score(frame_overlaps(truth, found))


def accuracy(truth: dict[str, MotTable], found: dict[str, MotTable]) -> IdentityAccuracy:
    return identity_accuracy(frame_overlaps(truth, found))


def test_the_truth_itself_scores_one() -> None:
    truth = {"a": table([(1, 1, 0), (1, 2, 50), (2, 1, 5)]), "b": table([(1, 2, 0)])}
    score = scored(truth, truth)
    assert (score.idf1, score.idp, score.idr, score.idtp, score.idfp, score.idfn) == (1, 1, 1, 4, 0, 0)
    ids = accuracy(truth, truth)
    assert (ids.accuracy, ids.boxes, ids.kept_over_cameras, ids.vehicles_over_cameras) == (1, 4, 1, 1)


def test_a_track_cut_in_two_keeps_its_longer_part() -> None:
    truth = {"a": table([(f, 1, 0) for f in range(1, 11)])}
    found = {"a": table([(f, 5 if f <= 7 else 6, 0) for f in range(1, 11)])}
    score = scored(truth, found)
    assert (score.idtp, score.idfp, score.idfn) == (7, 3, 3)
    assert score.idf1 == pytest.approx(0.7)
    assert accuracy(truth, found).accuracy == pytest.approx(0.7)


def test_ids_are_global_over_cameras() -> None:
    truth = {"a": table([(1, 1, 0), (2, 1, 0)]), "b": table([(1, 1, 0), (2, 1, 0), (3, 1, 0)])}
    own_ids = {"a": table([(1, 7, 0), (2, 7, 0)]), "b": table([(1, 8, 0), (2, 8, 0), (3, 8, 0)])}
    one_id = {camera: table([(int(f), 7, 0) for f in t.frames]) for camera, t in truth.items()}
    assert scored(truth, own_ids).idtp == 3
    assert scored(truth, one_id).idtp == 5
    assert accuracy(truth, own_ids).kept_over_cameras == 0
    assert accuracy(truth, one_id).kept_over_cameras == 1


def test_one_id_for_all_is_not_kept_for_all() -> None:
    truth = {"a": table([(1, 1, 0), (1, 2, 50)]), "b": table([(1, 1, 0), (1, 2, 50), (2, 2, 50)])}
    found = {camera: table([(f, 9, x) for f, _, x in [(1, 0, 0.0), (1, 0, 50.0)]]) for camera in truth}
    ids = accuracy(truth, found)
    assert (ids.boxes, ids.accuracy) == (4, 0.5)
    assert (ids.kept_over_cameras, ids.vehicles_over_cameras) == (0.5, 2)
    assert scored(truth, found).idtp == 2


def test_misses_false_boxes_and_boxes_without_an_id() -> None:
    truth = {"a": table([(1, 1, 0), (2, 1, 0), (3, 1, 0)])}
    found = {"a": table([(1, 4, 3), (2, 4, 4), (3, -1, 0), (9, 4, 0)])}  # good, too far, no id, no truth
    score = scored(truth, found)
    assert (score.idtp, score.idfp, score.idfn) == (1, 3, 2)
    ids = accuracy(truth, found)
    assert (ids.boxes, ids.accuracy) == (2, 0.5)


def test_nothing_found_scores_zero_and_a_strange_camera_is_refused() -> None:
    truth = {"a": table([(1, 1, 0)])}
    assert scored(truth, {"a": table([])}).idf1 == 0
    assert scored(truth, {"a": table([])}).idfn == 1
    assert accuracy(truth, {}).boxes == 0
    with pytest.raises(Refused, match="gt_a"):
        scored(truth, {"gt_a": table([])})


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
    assert scored(truth, found).idtp == slow_idtp(truth, found)


@pytest.mark.parametrize("seed", range(5))
def test_idf1_is_that_of_motrics(seed: int) -> None:
    motrics = pytest.importorskip("motrics", reason="the extra eval is not installed")
    frames = list(frame_overlaps(*random_run(seed, vehicles=6)))
    truth, found = [at.truth.tolist() for at in frames], [at.found.tolist() for at in frames]
    other = motrics.compute_identity_from_similarity(truth, found, [at.overlap.tolist() for at in frames], IOU)
    score = identity_score(frames)
    for name in ("idf1", "idp", "idr", "idtp", "idfp", "idfn"):
        assert getattr(score, name) == pytest.approx(getattr(other, name)), name


def scene(seed: int) -> tuple[dict[str, MotTable], dict[str, MotTable]]:
    """Three vehicles over two cameras, found with jitter, misses, swapped ids and false boxes."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Rows] = {"a": [], "b": []}
    found: dict[str, Rows] = {"a": [], "b": []}
    for camera in truth:
        for frame in range(1, 7):
            names = rng.permutation(3) if rng.random() < 0.4 else np.arange(3)
            for v in range(3):
                if rng.random() < 0.85:
                    truth[camera].append((frame, v + 1, 9.0 * v))
                if rng.random() < 0.85:
                    found[camera].append((frame, int(names[v]) + 10, 9.0 * v + float(rng.normal(0, 2.5))))
    return {c: table(rows) for c, rows in truth.items()}, {c: table(rows) for c, rows in found.items()}


def matchings(n: int, m: int) -> list[list[tuple[int, int]]]:
    """Every one-to-one matching of all of the smaller of n and m."""
    few = min(n, m)
    return [list(zip(a, b, strict=True)) for a in combinations(range(n), few) for b in permutations(range(m), few)]


def slow_hota(frames: list[FrameOverlap]) -> dict[str, float]:
    """HOTA from its paper, sections 5 and 7.2, every matching tried: per frame the one with the most overlap times global
    alignment of its ids is taken; each true positive is worth its association; mean over 19 overlaps."""
    true_ids = sorted({int(i) for m in frames for i in m.truth})
    found_ids = sorted({int(i) for m in frames for i in m.found})
    n_true = {t: sum(t in m.truth for m in frames) for t in true_ids}
    n_found = {f: sum(f in m.found for m in frames) for f in found_ids}
    soft = {(t, f): 0.0 for t in true_ids for f in found_ids}
    for m in frames:
        for i, t in enumerate(m.truth.tolist()):
            for j, f in enumerate(m.found.tolist()):
                rest = m.overlap[i].sum() + m.overlap[:, j].sum() - m.overlap[i, j]
                soft[t, f] += m.overlap[i, j] / rest if rest > 0 else 0.0
    alike = {(t, f): s / (n_true[t] + n_found[f] - s) for (t, f), s in soft.items()}
    taken: list[tuple[int, int, float]] = []
    for m in frames:
        best = max(
            matchings(len(m.truth), len(m.found)),
            key=lambda pairs, m=m: sum(alike[int(m.truth[i]), int(m.found[j])] * m.overlap[i, j] for i, j in pairs),
        )
        taken += [(int(m.truth[i]), int(m.found[j]), float(m.overlap[i, j])) for i, j in best]
    sums = dict.fromkeys(("hota", "deta", "assa", "loca"), 0.0)
    for step in range(1, 20):
        hits = [(t, f, s) for t, f, s in taken if s >= 0.05 * step - 1e-9]
        common = {(t, f): sum((t, f) == hit[:2] for hit in hits) for t, f, _ in hits}
        worth = [common[t, f] / (n_true[t] + n_found[f] - common[t, f]) for t, f, _ in hits]
        deta = len(hits) / (sum(n_true.values()) + sum(n_found.values()) - len(hits))
        assa = sum(worth) / max(1, len(hits))
        sums["deta"] += deta / 19
        sums["assa"] += assa / 19
        sums["hota"] += (deta * assa) ** 0.5 / 19
        sums["loca"] += (sum(s for _, _, s in hits) / len(hits) if hits else 1.0) / 19
    return sums


def slow_idf1(frames: list[FrameOverlap], iou: float) -> float:
    """2 IDTP / (true boxes + found boxes), every assignment of ids tried (Ristani et al., section 4.2)."""
    true_ids = sorted({int(i) for m in frames for i in m.truth})
    found_ids = sorted({int(i) for m in frames for i in m.found})

    def common(t: int, f: int) -> int:
        return sum(bool((m.overlap[m.truth == t][:, m.found == f] >= iou).any()) for m in frames)

    counts = [[common(t, f) for f in found_ids] for t in true_ids]
    best = max(sum(counts[i][j] for i, j in pairs) for pairs in matchings(len(true_ids), len(found_ids)))
    return 2 * best / (sum(len(m.truth) for m in frames) + sum(len(m.found) for m in frames))


@pytest.mark.parametrize("seed", range(6))
def test_hota_and_idf1_equal_slow_versions(seed: int) -> None:
    pytest.importorskip("motrics", reason="the extra eval is not installed")
    frames = list(frame_overlaps(*scene(seed)))
    for name, score in slow_hota(frames).items():
        assert clear_and_hota(frames)[name] == pytest.approx(score, abs=6e-5), name
    assert identity_score(frames).idf1 == pytest.approx(slow_idf1(frames, 0.5), abs=6e-5)


@pytest.mark.parametrize("seed", range(6))
def test_mota_counts_what_is_counted_by_hand(seed: int) -> None:
    pytest.importorskip("motrics", reason="the extra eval is not installed")
    frames = list(frame_overlaps(*scene(seed)))
    scores = clear_and_hota(frames)
    true, found = (sum(len(getattr(m, side)) for m in frames) for side in ("truth", "found"))
    assert true - scores["misses"] == found - scores["false_positives"]  # both are the matches
    wrong = scores["misses"] + scores["false_positives"] + scores["switches"]
    assert scores["mota"] == pytest.approx(1 - wrong / true, abs=6e-5)
