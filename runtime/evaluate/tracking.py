"""Tracking metrics over several cameras: which boxes and ids of a run are those of the truth.

IDF1: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, ECCVW 2016. CLEAR MOT:
Bernardin and Stiefelhagen, EURASIP JIVP 2008. HOTA: Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object
Tracking, IJCV 2021. The last two are motrics' (MIT, needs NumPy only; extra `eval`), whose numbers are TrackEval's.

Ids are global: the (camera, frame) pairs are the frames of one long sequence, and one one-to-one assignment of true ids
to found ids, the one with the most boxes in common, serves them all. IDF1 is made of that assignment, which motrics does
not give, and equals motrics' but in two rare cases: a found id on two boxes of one frame counts once, and a negative
found id (none was given) is never assigned.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import MissingExtra, Refused
from vreid.runtime.mot import MotTable, corners
from vreid.runtime.records import Ints, overlaps

IOU = 0.5  # from which a found box lies on a true one
SHARES = {  # of 1, by their names in the document -> as people write them
    "idf1": "IDF1",
    "idp": "IDP",
    "idr": "IDR",
    "hota": "HOTA",
    "deta": "DetA",
    "assa": "AssA",
    "loca": "LocA",
    "mota": "MOTA",
}
COUNTS = {"switches": "switches", "fragments": "fragments", "false_positives": "FP", "misses": "FN"}
TrackingScores = dict[str, float | int]


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
class FrameOverlap:
    """One frame (from 1) of one camera: true ids (N,), found ids (M,), overlap (N, M)."""

    camera: str
    frame: int
    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    overlap: NDArray[np.float64]


def frame_overlaps(truth: Mapping[str, MotTable], found: Mapping[str, MotTable]) -> Iterator[FrameOverlap]:
    """Every (camera, frame) of `found`'s cameras with a box, true or found; Refused when a found camera has no truth."""
    if strangers := sorted(set(found) - set(truth)):
        raise Refused(f"there is no truth for camera {', '.join(strangers)}; the truth has {', '.join(sorted(truth))}")
    for camera in sorted(found):
        true, seen = truth[camera], found[camera]
        true_at, seen_at, nothing = by_frame(true.frames), by_frame(seen.frames), np.zeros(0, np.int64)
        for frame in sorted({*true_at, *seen_at}):
            a, b = true_at.get(frame, nothing), seen_at.get(frame, nothing)
            shared = overlaps(corners(true.boxes[a]), corners(seen.boxes[b]))
            yield FrameOverlap(camera, frame, true.ids[a], seen.ids[b], shared)


def by_frame(frames: Ints) -> dict[int, Ints]:
    """(N,) -> frame -> its rows, rising."""
    order = np.argsort(frames, kind="stable")
    values, starts = np.unique(frames[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts)[1:], strict=True))


def assignment(frames: Iterable[FrameOverlap], iou: float = IOU) -> tuple[dict[int, int], int]:
    """The assignment of true to found ids with the most common boxes, and how many those are."""
    common: dict[tuple[int, int], int] = {}
    for at in frames:
        t, f = np.nonzero(at.overlap >= iou)
        for pair in {(int(a), int(b)) for a, b in zip(at.truth[t], at.found[f], strict=True) if b >= 0}:
            common[pair] = common.get(pair, 0) + 1
    true_ids, found_ids = (sorted({pair[side] for pair in common}) for side in (0, 1))
    row, column = ({identity: n for n, identity in enumerate(ids)} for ids in (true_ids, found_ids))
    counts = np.zeros((len(row), len(column)))
    for (t_id, f_id), boxes in common.items():
        counts[row[t_id], column[f_id]] = boxes
    rows, columns = linear_sum_assignment(counts, maximize=True)
    chosen = {true_ids[r]: found_ids[c] for r, c in zip(rows, columns, strict=True) if counts[r, c] > 0}
    return chosen, int(counts[rows, columns].sum())


def paired(at: FrameOverlap, iou: float = IOU) -> list[tuple[int, int]]:
    """(true id, found id) of the boxes that are paired one to one, the sum of overlaps from `iou` on being the largest."""
    gated = np.where(at.overlap >= iou, at.overlap, 0.0)
    t, f = linear_sum_assignment(gated, maximize=True)
    lying = gated[t, f] > 0
    return list(zip(at.truth[t[lying]].tolist(), at.found[f[lying]].tolist(), strict=True))


def identity_score(frames: Iterable[FrameOverlap], iou: float = IOU) -> IdentityScore:
    """IDF1 and what it is made of, 0 where there is nothing."""
    frames = list(frames)
    _, idtp = assignment(frames, iou)
    true_boxes, found_boxes = sum(len(at.truth) for at in frames), sum(len(at.found) for at in frames)
    return IdentityScore(
        idf1=2 * idtp / max(1, true_boxes + found_boxes),
        idp=idtp / max(1, found_boxes),
        idr=idtp / max(1, true_boxes),
        idtp=idtp,
        idfp=found_boxes - idtp,
        idfn=true_boxes - idtp,
    )


def identity_accuracy(frames: Iterable[FrameOverlap]) -> IdentityAccuracy:
    """Accuracy of the ids on boxes that lie on a vehicle, missed and false boxes aside.

    In each frame true and found boxes are paired one to one, see `paired`.
    """
    frames = list(frames)
    chosen, _ = assignment(frames)
    tallies: dict[int, dict[str, list[bool]]] = {}  # true id -> camera -> was the id right
    for at in frames:
        for vehicle, number in paired(at):
            tallies.setdefault(vehicle, {}).setdefault(at.camera, []).append(chosen.get(vehicle) == number)
    right = [hit for cameras in tallies.values() for hits in cameras.values() for hit in hits]
    crossed = [cameras for cameras in tallies.values() if len(cameras) > 1]
    kept = [all(2 * sum(hits) > len(hits) for hits in cameras.values()) for cameras in crossed]
    return IdentityAccuracy(
        accuracy=sum(right) / max(1, len(right)),
        boxes=len(right),
        kept_over_cameras=sum(kept) / max(1, len(kept)),
        vehicles_over_cameras=len(kept),
    )


def box_scores(
    cameras: Mapping[str, Sequence[FrameOverlap]], iou: float = IOU, progress: Callable[[], None] = lambda: None
) -> dict[str, TrackingScores]:
    """Camera -> its SHARES and COUNTS, and under "all" those of all cameras as one long sequence, one camera after the other.

    Ids are the same in all cameras: in "all" a vehicle that has another id in its next camera is a switch, and one true id
    has one found id. `progress` is called after each. Raises MissingExtra without motrics.
    """
    scores: dict[str, TrackingScores] = {}
    for name, frames in {**cameras, "all": list(chain.from_iterable(cameras.values()))}.items():
        identity = identity_score(frames, iou)
        scores[name] = {
            **{key: round(getattr(identity, key), 4) for key in ("idf1", "idp", "idr")},
            **clear_and_hota(frames, iou),
        }
        progress()
    return scores


def clear_and_hota(frames: Sequence[FrameOverlap], iou: float = IOU) -> TrackingScores:
    """Frames of one sequence, in order -> HOTA and its parts (means over the overlaps 0.05 to 0.95, so that `iou` plays no
    part), MOTA and its counts; 0 where there is no true box.

    A fragment is a vehicle that was tracked, is missed while it is there, and is tracked again.
    """
    motrics = _motrics()
    truth, found = [at.truth.tolist() for at in frames], [at.found.tolist() for at in frames]
    overlap = [at.overlap.tolist() for at in frames]
    hota = motrics.compute_hota_from_similarity(truth, found, overlap)
    clear = motrics.compute_clear_from_similarity(truth, found, overlap, iou)
    return {
        **{name: round(float(getattr(hota, name)), 4) for name in ("hota", "deta", "assa", "loca")},
        "mota": round(float(clear.mota), 4) if clear.num_gt else 0.0,
        "switches": clear.num_switches,
        "fragments": clear.frag_present_only,
        "false_positives": clear.num_false_positives,
        "misses": clear.num_misses,
    }


def _motrics() -> Any:
    try:
        import motrics
    except ModuleNotFoundError as error:
        raise MissingExtra("an evaluation needs the package 'motrics': pip install 'vreid[eval]'") from error
    return motrics
