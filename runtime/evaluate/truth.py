"""Ground truth of a run: where it lies, the score of a run against it, and which of it and of the run's boxes count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import Refused
from vreid.runtime.camera_names import file_of
from vreid.runtime.evaluate.finished_run import CameraLog, FinishedRun, refuse_doubles
from vreid.runtime.evaluate.tracking import IOU, by_frame, frame_overlaps, identity_accuracy, identity_score
from vreid.runtime.mot import MotTable, corners, read_mot
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace, areas_of, overlaps, shared_areas
from vreid.runtime.sources.table import addresses_of


def truth_of_run(sources: Sequence[str], folder: Path | None) -> dict[str, MotTable] | None:
    """Camera -> its true boxes: from `folder` (see `truth_file`), or from the synthetic scene itself.

    None where there is neither. Raises Refused when the folder lacks a camera.
    """
    addresses = addresses_of(sources)
    if folder is not None:
        return {address.camera: read_mot(truth_file(folder, address.camera)) for address in addresses}
    if addresses and all(address.kind == "synth" for address in addresses):
        return {address.camera: _scene(address.where) for address in addresses}
    return None


def truth_file(folder: Path, camera: str) -> Path:
    """gt_<camera>.txt, <camera>.txt or, as MOTChallenge has it, <camera>/gt/gt.txt; Refused where there is none."""
    found = file_of(folder, (f"gt_{camera}.txt", f"{camera}.txt", f"{camera}/gt/gt.txt"))
    if found is not None:
        return found
    raise Refused(
        f"{folder} has no truth of camera {camera}: neither gt_{camera}.txt nor {camera}.txt nor {camera}/gt/gt.txt; "
        f"give the folder of the ground truth"
    )


def _scene(uri: str) -> MotTable:
    """The boxes of one synthetic camera."""
    from vreid.runtime.sources.synth import synth_truth

    rows = [(frame + 1, box) for frame, boxes in sorted(synth_truth(uri).items()) for box in boxes]
    return MotTable(
        np.array([frame for frame, _ in rows], np.int64),
        np.array([box.vehicle for _, box in rows], np.int64),
        np.array([(box.x, box.y, box.w, box.h) for _, box in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
        np.full(len(rows), -1, np.int64),
        np.array([box.visibility for _, box in rows], np.float32),
    )


def table_of(decided: Sequence[tuple[FinishedTrack, Match, Trace]], camera: str) -> MotTable:
    """Every box of one camera's tracks as MOT rows with global vehicle ids; a track without a vehicle has the id -1."""
    mine = [(s, m, t) for s, m, t in decided if s.camera == camera]
    frames = np.concatenate([t.frames + 1 for _, _, t in mine] or [np.zeros(0, np.int64)])
    ids = np.concatenate(
        [np.full(len(t.frames), -1 if m.vehicle is None else m.vehicle) for _, m, t in mine] or [np.zeros(0, np.int64)]
    )
    kinds = np.concatenate([np.full(len(t.frames), s.kind) for s, _, t in mine] or [np.zeros(0, np.int64)])
    boxes = np.concatenate([t.boxes for _, _, t in mine] or [np.zeros((0, 4), np.float32)])
    scores = np.concatenate([t.scores for _, _, t in mine] or [np.zeros(0, np.float32)])
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # corners -> x y w h
    order = np.lexsort((ids, frames))
    return MotTable(frames, ids, boxes, scores, kinds, np.ones(len(frames), np.float32)).rows(order)


def identity_of(decided: Sequence[tuple[FinishedTrack, Match, Trace]], truth: Mapping[str, MotTable]) -> dict[str, Any]:
    """The scores of a run, ids global over its cameras."""
    found = {camera: table_of(decided, camera) for camera in truth}
    frames = list(frame_overlaps(truth, found))
    score, accuracy = identity_score(frames), identity_accuracy(frames)
    return {
        "idf1": round(score.idf1, 4),
        "idp": round(score.idp, 4),
        "idr": round(score.idr, 4),
        "accuracy": round(accuracy.accuracy, 4),
        "kept_over_cameras": round(accuracy.kept_over_cameras, 4),
        "vehicles": accuracy.vehicles_over_cameras,
    }


OUTSIDE = 0.2  # share of boxes with their middle outside the picture from which on the truth is of another picture


@dataclass(frozen=True)
class CountedBoxes:
    """Camera -> the true boxes that count and the found ones that count; how many of each do not."""

    truth: dict[str, MotTable]
    found: dict[str, MotTable]
    ignored_true: int
    ignored_found: int


def counted_boxes(run: FinishedRun, folder: Path, min_visibility: float = 0.0, iou: float = IOU) -> CountedBoxes:
    """The run's boxes and their truth from `folder`. Refused: a camera without truth, or truth of something else.

    Rows of the truth whose seventh column is 0 (MOTChallenge: "not considered"), or that are less visible than
    `min_visibility`, are "do not care". A found box that is paired with such a row is neither right nor wrong and leaves, as
    MOTChallenge's own evaluation has it (Milan et al., MOT16: A Benchmark for Multi-Object Tracking, section 4). Such a
    row without an id (-1) is a region: a box with half of itself in it leaves too, unless it is paired with a vehicle.
    """
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}; give the folder of the ground truth")
    if not 0 <= min_visibility <= 1:
        raise Refused(f"a visibility is a share from 0 to 1, not {min_visibility}")
    truth: dict[str, MotTable] = {}
    found: dict[str, MotTable] = {}
    ignored_true = ignored_found = 0
    for camera, log in run.cameras.items():
        path = truth_file(folder, camera)
        table = read_mot(path)
        counts = (table.scores != 0) & (table.visibility >= min_visibility)
        truth[camera] = table.rows(counts)
        refuse_doubles(truth[camera], path)
        _refuse_other(truth[camera], log, camera, path)
        kept = without_ignored(table, counts, run.boxes[camera], iou)
        found[camera] = run.boxes[camera].rows(kept)
        ignored_true += int((~counts).sum())
        ignored_found += int((~kept).sum())
    if not any(map(len, truth.values())):
        raise Refused(f"the truth in {folder} has no box that counts; give the truth of {', '.join(run.cameras)}")
    return CountedBoxes(truth, found, ignored_true, ignored_found)


def _refuse_other(truth: MotTable, log: CameraLog, camera: str, path: Path) -> None:
    """Refused: truth that goes on after the run's last frame, or that lies outside its picture."""
    if len(truth) and (last := int(truth.frames.max())) > log.frames:
        raise Refused(
            f"{path} goes on to frame {last}, and the run saw {log.frames} frames of {camera}; "
            f"give the truth of that video, with frames from 1, or run over all of it"
        )
    if len(truth) and log.width and log.height:
        middles = truth.boxes[:, :2] + truth.boxes[:, 2:] / 2
        outside = ((middles < 0) | (middles > (log.width, log.height))).any(axis=1)
        if outside.mean() > OUTSIDE:
            raise Refused(
                f"{path} is of another picture size: {outside.sum()} of its {len(truth)} boxes lie outside the "
                f"{log.width} x {log.height} pixels of {camera}; scale its boxes, or run over that video"
            )


def without_ignored(
    truth: MotTable, counts: np.ndarray[tuple[int], np.dtype[np.bool_]], found: MotTable, iou: float = IOU
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) which true rows count -> (M,) which found boxes count."""
    kept = np.ones(len(found), np.bool_)
    true_at, found_at = by_frame(truth.frames), by_frame(found.frames)
    for frame in np.unique(truth.frames[~counts]).tolist():
        if frame not in found_at:
            continue
        true_rows, rows = true_at[frame], found_at[frame]
        boxes, true = corners(found.boxes[rows]), corners(truth.boxes[true_rows])
        region = ~counts[true_rows] & (truth.ids[true_rows] < 0)
        shared = np.where(region[:, None], 0.0, overlaps(true, boxes))  # (n, m)
        shared[shared < iou] = 0.0
        t, f = linear_sum_assignment(shared, maximize=True)
        lying = shared[t, f] > 0
        on_vehicle = np.zeros(len(rows), np.bool_)
        on_vehicle[f[lying]] = counts[true_rows][t[lying]]
        away = _half_inside(boxes, true[region])
        away[f[lying]] |= ~counts[true_rows][t[lying]]
        kept[rows] = on_vehicle | ~away
    return kept


def _half_inside(boxes: Floats, regions: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(M, 4), (R, 4) corners -> (M,) whether at least half of the box lies in one of the regions."""
    return np.asarray((2 * shared_areas(boxes, regions) >= areas_of(boxes)[:, None]).any(axis=1))
