"""Identity metrics over several cameras: how often the right vehicle id stands on a box.

IDF1: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, ECCVW 2016.
Ids are global: the (camera, frame) pairs are the frames of one long sequence, and one one-to-one assignment of true ids
to found ids, the one with the most boxes in common, serves them all. Differs from py-motmetrics in two rare cases: a
found id on two boxes of one frame counts once, and a negative found id (no id given) is never assigned to anyone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import Refused
from vreid.runtime.boxes import overlaps
from vreid.runtime.evaluate.mot import MotTable, corners


@dataclass(frozen=True)
class IdentityScore:
    """IDF1, precision and recall (0-1), and the counts of boxes behind them."""

    idf1: float
    idp: float
    idr: float
    idtp: int
    idfp: int
    idfn: int


@dataclass(frozen=True)
class IdentityAccuracy:
    """`accuracy`: share of the `boxes` found boxes on a true vehicle that carry the id assigned to it.
    `kept_over_cameras`: share of the `vehicles_over_cameras` vehicles found in two cameras or more that carry their
    assigned id on most of their boxes in each of them. Both are 0 where there is nothing to share."""

    accuracy: float
    boxes: int
    kept_over_cameras: float
    vehicles_over_cameras: int


@dataclass(frozen=True)
class Moment:
    """One frame (from 1) of one camera: true ids (N,), found ids (M,), overlap (N, M)."""

    camera: str
    frame: int
    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    overlap: NDArray[np.float64]


def moments(truth: Mapping[str, MotTable], found: Mapping[str, MotTable]) -> Iterator[Moment]:
    """Every (camera, frame) of `found`'s cameras with a box, true or found; Refused when a found camera has no truth."""
    if strangers := sorted(set(found) - set(truth)):
        raise Refused(f"there is no truth for camera {', '.join(strangers)}; the truth has {', '.join(sorted(truth))}")
    for camera in sorted(found):
        true, seen = truth[camera], found[camera]
        by_frame = [np.argsort(table.frames, kind="stable") for table in (true, seen)]
        frames = [table.frames[order] for table, order in zip((true, seen), by_frame, strict=True)]
        for frame in np.union1d(frames[0], frames[1]).tolist():
            a, b = (
                order[slice(*np.searchsorted(sorted_, [frame, frame + 1]))]
                for sorted_, order in zip(frames, by_frame, strict=True)
            )
            shared = overlaps(corners(true.boxes[a]), corners(seen.boxes[b]))
            yield Moment(camera, frame, true.ids[a], seen.ids[b], shared)


def assignment(moments: Iterable[Moment], iou: float) -> tuple[dict[int, int], int]:
    """The assignment of true to found ids with the most common boxes, and how many those are."""
    common: dict[tuple[int, int], int] = {}
    for moment in moments:
        t, f = np.nonzero(moment.overlap >= iou)
        for pair in {(int(a), int(b)) for a, b in zip(moment.truth[t], moment.found[f], strict=True) if b >= 0}:
            common[pair] = common.get(pair, 0) + 1
    true_ids, found_ids = (sorted({pair[side] for pair in common}) for side in (0, 1))
    row, column = ({identity: n for n, identity in enumerate(ids)} for ids in (true_ids, found_ids))
    counts = np.zeros((len(row), len(column)))
    for (t_id, f_id), boxes in common.items():
        counts[row[t_id], column[f_id]] = boxes
    rows, columns = linear_sum_assignment(counts, maximize=True)
    chosen = {true_ids[r]: found_ids[c] for r, c in zip(rows, columns, strict=True) if counts[r, c] > 0}
    return chosen, int(counts[rows, columns].sum())


def paired(moment: Moment, iou: float) -> list[tuple[int, int]]:
    """(true id, found id) of the boxes that are paired one to one, the sum of overlaps from `iou` on being the largest."""
    gated = np.where(moment.overlap >= iou, moment.overlap, 0.0)
    t, f = linear_sum_assignment(gated, maximize=True)
    lying = gated[t, f] > 0
    return list(zip(moment.truth[t[lying]].tolist(), moment.found[f[lying]].tolist(), strict=True))


def idf1(truth: Mapping[str, MotTable], found: Mapping[str, MotTable], iou: float = 0.5) -> IdentityScore:
    """Camera -> table, twice -> the scores, 0 where there is nothing. Refused: a found camera without truth."""
    _, idtp = assignment(moments(truth, found), iou)
    true_boxes, found_boxes = (sum(len(table) for table in tables.values()) for tables in (truth, found))
    return IdentityScore(
        idf1=2 * idtp / max(1, true_boxes + found_boxes),
        idp=idtp / max(1, found_boxes),
        idr=idtp / max(1, true_boxes),
        idtp=idtp,
        idfp=found_boxes - idtp,
        idfn=true_boxes - idtp,
    )


def identity_accuracy(
    truth: Mapping[str, MotTable], found: Mapping[str, MotTable], iou: float = 0.5
) -> IdentityAccuracy:
    """Camera -> table, twice -> accuracy of the ids on boxes that lie on a vehicle, missed and false boxes aside.

    In each frame true and found boxes are paired one to one, see `paired`.
    """
    seen = list(moments(truth, found))
    chosen, _ = assignment(seen, iou)
    tallies: dict[int, dict[str, list[bool]]] = {}  # true id -> camera -> was the id right
    for moment in seen:
        for vehicle, number in paired(moment, iou):
            tallies.setdefault(vehicle, {}).setdefault(moment.camera, []).append(chosen.get(vehicle) == number)
    right = [answer for cameras in tallies.values() for answers in cameras.values() for answer in answers]
    crossed = [cameras for cameras in tallies.values() if len(cameras) > 1]
    kept = [all(2 * sum(answers) > len(answers) for answers in cameras.values()) for cameras in crossed]
    return IdentityAccuracy(
        accuracy=sum(right) / max(1, len(right)),
        boxes=len(right),
        kept_over_cameras=sum(kept) / max(1, len(kept)),
        vehicles_over_cameras=len(kept),
    )
