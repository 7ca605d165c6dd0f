"""The seam of detectors: frames of any cameras in, vehicles out."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from vreid.models.errors import Refused, refuse_threads, shown
from vreid.models.seam import open_seam
from vreid.runtime.records import Detections, Frame

EVERY = {"every": (1.0, 1.0, 100.0)}


def numbers_of(
    detector: str,
    options: Mapping[str, str],
    known: Mapping[str, tuple[float, float, float]],
    others: Sequence[str] = (),
) -> dict[str, float]:
    """`known`: name -> (default, least, most); returns a value for every name. `others` are options that are not numbers.

    Raises Refused for an unknown name, a value that is not a number or out of range.
    """
    if strangers := sorted(set(options) - set(known)):
        offer = ", ".join(sorted({*known, *others, *EVERY}))
        raise Refused(f"the detector '{detector}' has no option '{shown(strangers[0])}'; it has: {offer}")
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


_NETWORKS = ("yolox", "yolov5", "yolov8", "yolov10", "detr", "rfdetr", "detr-post", "ssd", "atss")
FORMS = {
    "model": "model:FILE",
    **{name: f"{name}:FILE" for name in _NETWORKS},
    "motion": "motion",
    "replay": "replay:PATH",
}
DETECTORS = {
    "model": "vreid.runtime.detectors.network:open_network",
    "yolox": "vreid.runtime.detectors.network:open_yolox",
    "yolov5": "vreid.runtime.detectors.network:open_yolov5",
    "yolov8": "vreid.runtime.detectors.network:open_yolov8",
    "yolov10": "vreid.runtime.detectors.network:open_yolov10",
    "detr": "vreid.runtime.detectors.network:open_detr",
    "rfdetr": "vreid.runtime.detectors.network:open_rfdetr",
    "detr-post": "vreid.runtime.detectors.network:open_detr_post",
    "ssd": "vreid.runtime.detectors.network:open_ssd",
    "atss": "vreid.runtime.detectors.network:open_atss",
    "motion": "vreid.runtime.detectors.motion:open_motion",
    "replay": "vreid.runtime.detectors.replay:open_replay",
}


class Detector(Protocol):
    """Finds vehicles. What it must remember of a camera it keeps by `frame.camera`."""

    first_score: float  # from which a detection may begin a track; weaker ones only go on with one
    least_travel: (
        float  # in sides of its own box, for a track of these detections to be reported; 0 where standing will do
    )

    @property
    def kinds(self) -> frozenset[int] | None:
        """The kinds (COCO class or -1) that its detections can have; None: any."""
        ...

    def detect(self, frames: Sequence[Frame]) -> Sequence[Detections | None]:
        """Frames, of several cameras if need be -> the vehicles of each, in the same order; None: it was not looked at."""
        ...

    def forget(self, camera: str) -> None:
        """Begin anew with a camera: it has gone, or has another view."""
        ...


class EveryNth:
    """A detector that looks at every `step`-th frame of a camera; the cameras take turns, so that the load is even."""

    def __init__(self, detector: Detector, step: int) -> None:
        self.first_score, self.least_travel = detector.first_score, detector.least_travel
        self.kinds = detector.kinds
        self._detector, self._step = detector, step
        self._seen: dict[str, int] = {}  # frames of each camera, begun at its turn

    def detect(self, frames: Sequence[Frame]) -> list[Detections | None]:
        """The detector's, and None for the frames between. The first frame of a camera is looked at."""
        due = []
        for place, frame in enumerate(frames):
            count = self._seen.get(frame.camera)
            if count is None or count % self._step == 0:
                due.append(place)
            self._seen[frame.camera] = (len(self._seen) if count is None else count) + 1
        found: list[Detections | None] = [None] * len(frames)
        for place, detections in zip(due, self._detector.detect([frames[place] for place in due]), strict=True):
            found[place] = detections
        return found

    def forget(self, camera: str) -> None:
        """Its turn stays, so that the load stays even."""
        self._detector.forget(camera)


def open_detector(text: str, *, threads: int = 1, min_score: float | None = None) -> Detector:
    """The detector that `text` names, with options behind a `?`: `model:FILE[?tiles=2]`, `motion[:?warm_up=5]`,
    `replay:PATH` and others (docs/detectors.md); `min_score` of None is the detector's own.

    Raises Refused for an unknown name, option or file.
    """
    name, _, rest = text.partition(":")
    target, _, query = rest.partition("?")
    if name not in DETECTORS:
        raise Refused(f"there is no detector '{shown(name)}'; write {', '.join(FORMS.values())} (docs/detectors.md)")
    options = dict(parse_qsl(query, keep_blank_values=True))
    step = int(numbers_of(name, {"every": options.pop("every")}, EVERY)["every"]) if "every" in options else 1
    refuse_threads(threads)
    if min_score is not None and not 0 <= min_score <= 1:
        raise Refused(f"a detector's least score lies between 0 and 1, not at {min_score}")
    opened: Detector = open_seam("detector", DETECTORS, name)(target, options, threads=threads, min_score=min_score)
    return EveryNth(opened, step) if step > 1 else opened
