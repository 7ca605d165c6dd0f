"""Whether uploaded pictures are fit to enrol a vehicle by, as `vreid gallery enrol` has it, and whom the new vehicle is like."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.models.preprocess import Image
from vreid.runtime.enrolment_check import PictureCheck
from vreid.runtime.records import Floats
from vreid.serve import documents as doc
from vreid.serve.service import Service


@dataclass(frozen=True)
class Picture:
    """A picture's feature (D,), what is wrong with it ("": nothing), and the detector that looked, if one did."""

    feature: Floats
    fault: str
    counted_by: str | None


def checked(service: Service, number: int, image: Image) -> Picture:
    """The picture (H, W, 3) of that number, from 1. To be called inside `uploaded`."""
    with service.searcher.detecting:
        name, detector = service.detector() or (None, None)
        check = PictureCheck(detector, name)
        check.look(Path(f"picture {number}"), image)
    return Picture(service.searcher.feature_of(image), "; ".join(check.faults), name)


def look_alikes_of(service: Service, features: Floats, done: Mapping[str, Any]) -> list[doc.LookAlike]:
    """Another vehicle that features (N, D) of the one just enrolled are nearly the same as; they may be one."""
    match = service.searcher.embedder.manifest.match
    if match is None:
        return []
    hits = [hit for found in service.access.searching.search(features, 2) for hit in found if hit.vehicle != done["id"]]
    best = max(hits, key=lambda hit: hit.score, default=None)
    if best is None or best.score < match.threshold:
        return []
    return [doc.LookAlike(vehicle=best.vehicle, name=best.name, score=best.score)]
