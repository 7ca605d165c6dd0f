"""IDF1 of a finished run over the three cameras of roadside-video, by py-motmetrics and by vreid.runtime.score.

    python bench/roadside_video_idf1.py runs/live ../shared/data/roadside-video [--min-visibility 0.3]

RUN/mot/<camera>.txt holds what was found, TRUTH/gt_<camera>.txt what was there; ids are global over cameras. All rows of the
truth count. With --min-visibility V, truth rows less visible than V are "do not care": they leave the truth, and so does every
found box of the same frame that lies on one of them (IoU 0.5) and on no remaining true box; simpler than MOTChallenge's
matching per frame, and kinder by no more than the found boxes dropped, which are printed. Found ids below 0 (no id) count as
boxes without an owner. Prints one JSON document.
"""

import argparse
import json
import sys
from pathlib import Path

import motmetrics
import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.boxes import overlaps
from vreid.runtime.mot import MotTable, corners, read_mot
from vreid.runtime.score import idf1

IOU = 0.5


def without_ignored(truth: MotTable, found: MotTable, visibility: float) -> tuple[MotTable, MotTable]:
    """Truth at least so visible, and the found boxes that lie on no truth row left out alone."""
    seen = truth.visibility >= visibility
    kept = np.ones(len(found), np.bool_)
    for frame in np.unique(truth.frames[~seen]):
        rows = np.flatnonzero(found.frames == frame)
        boxes = corners(found.boxes[rows])
        of_frame = truth.frames == frame
        on_ignored, on_kept = (
            (overlaps(boxes, corners(truth.boxes[of_frame & which])) >= IOU).any(axis=1) for which in (~seen, seen)
        )
        kept[rows] = ~on_ignored | on_kept
    return truth.rows(seen), found.rows(kept)


def by_motmetrics(truth: dict[str, MotTable], found: dict[str, MotTable]) -> dict[str, float]:
    """IDF1, IDP and IDR of one long sequence, camera after camera."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    nobody = -1
    for camera, true in truth.items():
        seen = found[camera]
        for frame in np.union1d(true.frames, seen.frames):
            a, b = np.flatnonzero(true.frames == frame), np.flatnonzero(seen.frames == frame)
            ids = seen.ids[b].tolist()
            for row in range(len(ids)):
                # An id that is missing, or stands twice in a frame, gets a number of its own that nobody else has.
                if ids[row] < 0 or ids[row] in ids[:row]:
                    ids[row] = nobody
                    nobody -= 1
            # motmetrics 1.4 builds this matrix with np.asfarray, which NumPy 2 has no more; NaN: no match.
            iou = overlaps(corners(true.boxes[a]), corners(seen.boxes[b]))
            accumulator.update(true.ids[a].tolist(), ids, np.where(iou >= IOU, 1 - iou, np.nan))
    summary = motmetrics.metrics.create().compute(accumulator, metrics=["idf1", "idp", "idr"], name="all")
    return {name: round(float(summary[name].iloc[0]), 4) for name in ("idf1", "idp", "idr")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run; its mot/<camera>.txt is read")
    parser.add_argument("truth", type=Path, help="folder with gt_<camera>.txt")
    parser.add_argument("--min-visibility", type=float, default=0.0, help="truth less visible than this is ignored")
    args = parser.parse_args()
    try:
        truth = {path.stem.removeprefix("gt_"): read_mot(path) for path in sorted(args.truth.glob("gt_*.txt"))}
        if not truth:
            raise Refused(f"{args.truth} has no gt_<camera>.txt; name the folder of the truth")
        found = {camera: read_mot(args.run / "mot" / f"{camera}.txt") for camera in truth}
        boxes = sum(map(len, found.values()))
        pairs = {camera: without_ignored(truth[camera], found[camera], args.min_visibility) for camera in truth}
        truth = {camera: pair[0] for camera, pair in pairs.items()}
        found = {camera: pair[1] for camera, pair in pairs.items()}
        ours = round(idf1(truth, found, IOU).idf1, 4)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    scores: dict[str, float] = by_motmetrics(truth, found)
    print(json.dumps({**scores, "our_idf1": ours, "ignored_boxes": boxes - sum(map(len, found.values()))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
