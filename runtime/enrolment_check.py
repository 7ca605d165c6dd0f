"""Whether a photograph is fit to enrol a vehicle by: one vehicle, large and sharp enough, and not one that is known already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import detail_of
from vreid.runtime.detectors.table import Detector, open_detector
from vreid.runtime.gallery import Gallery
from vreid.runtime.public_models import MODELS, with_public_model
from vreid.runtime.records import Detections, Floats, Frame, areas_of

LEAST_SIDE = 24  # pixels of the shorter one
# Variance of the Laplacian at 64 x 64: of 180 crops, real and rendered, none was below 34, and of the same ones blurred by two of
# these 64 pixels 98 of 100 were.
LEAST_DETAIL = 30.0
LEAST_SHARE = 0.25  # of the picture that its vehicle fills
RIVAL = 0.5  # of the largest vehicle's area, from which a second one counts


def detector_at_hand(folder: Path, threads: int = 1) -> tuple[str, Detector] | None:
    """The first detector of the public models that lies in `folder`, the cache of models, and opens here: its name and it."""
    for name, model in MODELS.items():
        if model.job != "detector":
            continue
        try:
            return name, open_detector(with_public_model(f"model:{name}", folder), threads=threads)
        except Refused:  # not fetched, or its engine is not installed
            continue
    return None


def fault_of_picture(picture: Image, found: Detections | None) -> str | None:
    """What is wrong with a picture (H, W, 3) in which these vehicles were found; None of `found`: nobody looked.

    Where a detector finds no vehicle nothing is wrong: on crops without the road around them that happens.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    if found is not None and len(found):
        areas = areas_of(found.boxes)
        largest = int(areas.argmax())
        if (rivals := int((areas >= RIVAL * areas[largest]).sum())) > 1:
            return f"shows {rivals} vehicles; cut out the one that is meant"
        if (share := areas[largest] / (width * height)) < LEAST_SHARE:
            return f"shows its vehicle on only {100 * share:.0f} % of its area; cut the vehicle out"
    if side < LEAST_SIDE:
        return f"is too small ({width} x {height}); its shorter side needs {LEAST_SIDE} pixels"
    if detail_of(picture) < LEAST_DETAIL:
        return "is blurred, or shows next to nothing; take a sharper one"
    return None


class PictureCheck:
    """Gathers what is wrong with pictures, by path."""

    def __init__(self, detector: Detector | None, name: str | None = None) -> None:
        """`name` is that of the detector, if there is one."""
        self._detector, self.name = detector, name
        self.faults: list[str] = []
        self.empty: list[Path] = []  # in which the detector found no vehicle

    def look(self, path: Path, picture: Image) -> None:
        """One picture (H, W, 3)."""
        found = None
        if self._detector is not None:
            [found] = self._detector.detect([Frame("enrol", 0, 0.0, picture)])
            if found is not None and not len(found):
                self.empty.append(path)
        if (fault := fault_of_picture(picture, found)) is not None:
            self.faults.append(f"{path} {fault}")


@dataclass(frozen=True)
class LookAlike:
    """A new vehicle, another one, and their cosine, which is that of one vehicle."""

    name: str
    other: str
    score: float


def look_alikes(gallery: Gallery | None, new: Mapping[str, Floats], least: float) -> Sequence[LookAlike]:
    """Of each new vehicle, by name with features (N, D), the one of the gallery or of those before it in `new` that is most
    like it, where the best cosine is at least `least`."""
    found, before = [], dict[str, Floats]()
    for name, features in new.items():
        scores = {other: float((features @ rows.T).max()) for other, rows in before.items()}
        if gallery is not None:
            for hits in gallery.search(features, 1):
                scores |= {hit.name: max(hit.score, scores.get(hit.name, -1.0)) for hit in hits}
        if scores and scores[best := max(scores, key=lambda one: scores[one])] >= least:
            found.append(LookAlike(name, best, scores[best]))
        before[name] = np.asarray(features, np.float32)
    return found
