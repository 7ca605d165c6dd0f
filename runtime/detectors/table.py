"""The seam of detectors: frames of any cameras in, vehicles out."""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Detections, Frame

DETECTORS = {
    "yolox": "vreid.runtime.detectors.yolox:open_yolox",
    "motion": "vreid.runtime.detectors.motion:open_motion",
    "replay": "vreid.runtime.detectors.replay:open_replay",
}


class Detector(Protocol):
    """Finds vehicles. What it must remember of a camera it keeps by `frame.camera`."""

    first_score: float  # from which a detection may begin a track; weaker ones only go on with one
    least_travel: float  # in sides of its own box, for a track of these detections to be told; 0 where standing will do

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Frames, of several cameras if need be -> the vehicles of each, in the same order."""
        ...


def open_detector(text: str, *, threads: int = 1, min_score: float | None = None) -> Detector:
    """The detector that `text` names: `yolox:FILE[?tiles=2]`, `motion[:?warm_up=5&min_area=0.0005]` or
    `replay:PATH[?min_visibility=0.1]`; `min_score` of None is the detector's own.

    Raises Refused for an unknown name, option or file.
    """
    name, _, rest = text.partition(":")
    target, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if threads < 1:
        raise Refused(f"a detector needs at least 1 thread, not {threads}")
    if min_score is not None and not 0 <= min_score <= 1:
        raise Refused(f"a detector's least score lies between 0 and 1, not at {min_score}")
    opened: Detector = open_seam("detector", DETECTORS, name)(target, options, threads=threads, min_score=min_score)
    return opened
