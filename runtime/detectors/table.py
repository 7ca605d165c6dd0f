"""The seam of detectors: frames of any cameras in, vehicles out."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from vreid.models.errors import Refused, refuse_threads, shown
from vreid.models.seam import open_seam
from vreid.runtime.records import Detections, Frame


def numbers_of(
    detector: str, options: Mapping[str, str], known: Mapping[str, tuple[float, float, float]]
) -> dict[str, float]:
    """`known`: name -> (default, least, most); returns a value for every name.

    Raises Refused for an unknown name, a value that is not a number or out of range.
    """
    if strangers := sorted(set(options) - set(known)):
        offer = f"it has: {', '.join(sorted(known))}" if known else "it has none"
        raise Refused(f"the detector '{detector}' has no option '{strangers[0]}'; {offer}")
    values = {}
    for name, (default, least, most) in known.items():
        text = options.get(name, str(default))
        try:
            value = float(text)
        except ValueError as error:
            raise Refused(f"the option {name}={text} of the detector '{detector}' is not a number") from error
        if not least <= value <= most:
            raise Refused(
                f"the option {name} of the detector '{detector}' lies between {least:g} and {most:g}, not at {text}"
            )
        values[name] = value
    return values


FORMS = {"yolox": "yolox:FILE", "motion": "motion", "replay": "replay:PATH"}
DETECTORS = {
    "yolox": "vreid.runtime.detectors.yolox:open_yolox",
    "motion": "vreid.runtime.detectors.motion:open_motion",
    "replay": "vreid.runtime.detectors.replay:open_replay",
}


class Detector(Protocol):
    """Finds vehicles. What it must remember of a camera it keeps by `frame.camera`."""

    first_score: float  # from which a detection may begin a track; weaker ones only go on with one
    least_travel: (
        float  # in sides of its own box, for a track of these detections to be reported; 0 where standing will do
    )

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
    if name not in DETECTORS:
        raise Refused(f"there is no detector '{shown(name)}'; write {', '.join(FORMS.values())} (docs/detectors.md)")
    options = dict(parse_qsl(query, keep_blank_values=True))
    refuse_threads(threads)
    if min_score is not None and not 0 <= min_score <= 1:
        raise Refused(f"a detector's least score lies between 0 and 1, not at {min_score}")
    opened: Detector = open_seam("detector", DETECTORS, name)(target, options, threads=threads, min_score=min_score)
    return opened
