"""The seam of the measures that libraries make of boxes with ids, and all of them together."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import cast

from vreid.models.seam import open_seam
from vreid.runtime.evaluate.tracking import Moment

MEASURES = {
    "IDF1 and MOTA": "vreid.runtime.evaluate.clear:clear_scores",
    "HOTA": "vreid.runtime.evaluate.hota:hota_scores",
}
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
Measure = Callable[[Sequence[Moment], float], dict[str, float | int]]


def box_scores(
    cameras: Mapping[str, Sequence[Moment]], iou: float = 0.5, watch: Callable[[], None] = lambda: None
) -> dict[str, dict[str, float | int]]:
    """Camera -> its scores by name, and under "all" those of all cameras as one long sequence, one camera after the other.

    Ids are the same in all cameras: in "all" a vehicle that has another id in its next camera is a switch, and one true id
    has one found id. `watch` is called after each. Refused: a library is not installed.
    """
    measures = [cast(Measure, open_seam("measure", MEASURES, name, extra="eval")) for name in MEASURES]
    parts = {**cameras, "all": list(chain.from_iterable(cameras.values()))}
    scores: dict[str, dict[str, float | int]] = {}
    for name, moments in parts.items():
        scores[name] = {key: value for measure in measures for key, value in measure(moments, iou).items()}
        watch()
    return scores
