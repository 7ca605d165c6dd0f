"""The ground truth of a finished run, checked against what the run saw, and what of it is not to be judged.

Rows of the truth whose seventh column is 0 (MOTChallenge: "not considered"), or that are less visible than asked, are
"do not care". A found box that is paired with such a row is neither right nor wrong and leaves, as MOTChallenge's own
evaluation has it (Milan et al., MOT16: A Benchmark for Multi-Object Tracking, section 4). Such a row without an id (-1)
is a region: a box with half of itself in it leaves too, unless it is paired with a vehicle.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import Refused
from vreid.runtime.boxes import overlaps
from vreid.runtime.evaluate.finished_run import FinishedRun, Watched, refuse_doubles
from vreid.runtime.evaluate.mot import MotTable, corners, read_mot
from vreid.runtime.evaluate.run_truth import truth_file
from vreid.runtime.records import Floats, Ints

OUTSIDE = 0.2  # share of boxes with their middle outside the picture from which on the truth is of another picture


@dataclass(frozen=True)
class Judged:
    """Camera -> the true boxes that count and the found ones that are judged; how many of each do not."""

    truth: dict[str, MotTable]
    found: dict[str, MotTable]
    ignored_true: int
    ignored_found: int


def judged(run: FinishedRun, folder: Path, min_visibility: float = 0.0, iou: float = 0.5) -> Judged:
    """The run's boxes and their truth from `folder`. Refused: a camera without truth, or truth of something else."""
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}; give the folder of the ground truth")
    if not 0 <= min_visibility <= 1:
        raise Refused(f"a visibility is a share from 0 to 1, not {min_visibility}")
    truth: dict[str, MotTable] = {}
    found: dict[str, MotTable] = {}
    ignored_true = ignored_found = 0
    for camera, watched in run.cameras.items():
        path = truth_file(folder, camera)
        table = read_mot(path)
        counts = (table.scores != 0) & (table.visibility >= min_visibility)
        truth[camera] = table.rows(counts)
        refuse_doubles(truth[camera], path)
        _refuse_other(truth[camera], watched, camera, path)
        kept = without_ignored(table, counts, run.boxes[camera], iou)
        found[camera] = run.boxes[camera].rows(kept)
        ignored_true += int((~counts).sum())
        ignored_found += int((~kept).sum())
    if not any(map(len, truth.values())):
        raise Refused(f"the truth in {folder} has no box that counts; give the truth of {', '.join(run.cameras)}")
    return Judged(truth, found, ignored_true, ignored_found)


def _refuse_other(truth: MotTable, watched: Watched, camera: str, path: Path) -> None:
    """Refused: truth that goes on after the run's last frame, or that lies outside its picture."""
    if len(truth) and (last := int(truth.frames.max())) > watched.frames:
        raise Refused(
            f"{path} goes on to frame {last}, and the run saw {watched.frames} frames of {camera}; "
            f"give the truth of that video, with frames from 1, or run over all of it"
        )
    if len(truth) and watched.width and watched.height:
        middles = truth.boxes[:, :2] + truth.boxes[:, 2:] / 2
        outside = ((middles < 0) | (middles > (watched.width, watched.height))).any(axis=1)
        if outside.mean() > OUTSIDE:
            raise Refused(
                f"{path} is of another picture size: {outside.sum()} of its {len(truth)} boxes lie outside the "
                f"{watched.width} x {watched.height} pixels of {camera}; scale its boxes, or run over that video"
            )


def without_ignored(
    truth: MotTable, counts: np.ndarray[tuple[int], np.dtype[np.bool_]], found: MotTable, iou: float = 0.5
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) which true rows count -> (M,) which found boxes are judged."""
    kept = np.ones(len(found), np.bool_)
    true_at, found_at = _by_frame(truth.frames), _by_frame(found.frames)
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


def _by_frame(frames: Ints) -> dict[int, Ints]:
    """(N,) -> frame -> its rows."""
    if not len(frames):
        return {}
    order = np.argsort(frames, kind="stable")
    values, starts = np.unique(frames[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True))


def _half_inside(boxes: Floats, regions: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(M, 4), (R, 4) corners -> (M,) whether at least half of the box lies in one of the regions."""
    sides = np.minimum(boxes[:, None, 2:], regions[None, :, 2:]) - np.maximum(boxes[:, None, :2], regions[None, :, :2])
    inside = np.prod(np.clip(sides, 0, None), axis=-1)  # (M, R)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)  # (M,)
    return np.asarray((2 * inside >= area[:, None]).any(axis=1))
