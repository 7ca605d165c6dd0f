"""HOTA (Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021), by motrics.

motrics (MIT, needs NumPy alone) gives TrackEval's numbers. TrackEval itself, the authors' code, needs opencv-python, which
overwrites the opencv-python-headless that everything here runs on.
"""

from collections.abc import Sequence

import motrics

from vreid.runtime.evaluate.tracking import Moment


def hota_scores(moments: Sequence[Moment], iou: float) -> dict[str, float | int]:
    """Frames of one sequence, in order -> means over the overlaps 0.05 to 0.95, so that `iou` plays no part."""
    truth = [moment.truth.tolist() for moment in moments]
    found = [moment.found.tolist() for moment in moments]
    scores = motrics.compute_hota_from_similarity(truth, found, [moment.overlap.tolist() for moment in moments])
    return {name: round(float(getattr(scores, name)), 4) for name in ("hota", "deta", "assa", "loca")}
