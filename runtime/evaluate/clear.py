"""IDF1 (Ristani et al., ECCVW 2016) and CLEAR MOT (Bernardin and Stiefelhagen, 2008), by py-motmetrics.

A fragment is a vehicle that was followed, is missed while it is there, and is followed again.
"""

from collections.abc import Sequence

import motmetrics
import numpy as np

from vreid.runtime.evaluate.tracking import Moment

SHARES = ("idf1", "idp", "idr", "mota")
COUNTS = {
    "switches": "num_switches",
    "fragments": "num_fragmentations",
    "false_positives": "num_false_positives",
    "misses": "num_misses",
}


def clear_scores(moments: Sequence[Moment], iou: float) -> dict[str, float | int]:
    """Frames of one sequence, in order -> shares (of 1) and counts; 0 where there is nothing to share."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for moment in moments:
        # motmetrics 1.4 builds this matrix with np.asfarray, which NumPy 2 has no more; NaN: no match.
        distance = np.where(moment.overlap >= iou, 1 - moment.overlap, np.nan)
        accumulator.update(moment.truth.tolist(), moment.found.tolist(), distance)
    summary = motmetrics.metrics.create().compute(accumulator, metrics=[*SHARES, *COUNTS.values()], name="all")
    shares = {name: float(summary[name].iloc[0]) for name in SHARES}
    return {
        **{name: round(share, 4) if np.isfinite(share) else 0.0 for name, share in shares.items()},
        **{name: int(summary[column].iloc[0]) for name, column in COUNTS.items()},
    }
