"""Identities at the level of sightings: who was really there, which ids are merged, which vehicles are split."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vreid.runtime.boxes import overlaps
from vreid.runtime.evaluate.finished_run import FinishedRun, Told
from vreid.runtime.evaluate.mot import MotTable, corners
from vreid.runtime.evaluate.passages import Pair, Passage


@dataclass(frozen=True)
class Owned:
    """A sighting, and the true vehicle that it lies on with at least half of its boxes, None for nobody.

    `judged` is false where all its boxes are on what is not to be judged.
    """

    sighting: Told
    vehicle: int | None
    judged: bool


def owned(
    run: FinishedRun,
    truth: Mapping[str, MotTable],
    found: Mapping[str, MotTable],
    pairs: Sequence[Pair],
    iou: float,
) -> list[Owned]:
    """Every sighting with its vehicle; of one without an id only the last box is known, and decides."""
    at: dict[tuple[str, int], list[Pair]] = {}
    for pair in pairs:
        at.setdefault((pair.camera, pair.id), []).append(pair)
    answers = []
    for told in run.sightings:
        if told.vehicle is None:
            answers.append(Owned(told, _under_last_box(told, truth[told.camera], iou), True))
            continue
        first, last = told.first_frame + 1, told.last_frame + 1
        table = found[told.camera]
        boxes = int(((table.ids == told.vehicle) & (table.frames >= first) & (table.frames <= last)).sum())
        on = Counter(p.vehicle for p in at.get((told.camera, told.vehicle), []) if first <= p.frame <= last)
        vehicle, count = on.most_common(1)[0] if on else (None, 0)
        answers.append(Owned(told, vehicle if 2 * count >= boxes else None, boxes > 0))
    return answers


def _under_last_box(told: Told, truth: MotTable, iou: float) -> int | None:
    rows = np.flatnonzero(truth.frames == told.last_frame + 1)
    if told.box is None or not len(rows):
        return None
    shared = overlaps(corners(truth.boxes[rows]), np.asarray([told.box]))[:, 0]
    best = int(shared.argmax())
    return int(truth.ids[rows[best]]) if shared[best] >= iou else None


def identity_scores(
    sightings: Sequence[Owned], passages: Sequence[Passage], chosen: Mapping[int, int]
) -> dict[str, Any]:
    """precision: of the sightings with an id, those on the vehicle that the id belongs to; recall: of all true passages,
    those whose id is the vehicle's. A merge is an id on sightings of several vehicles, a split a vehicle under several ids.
    """
    named = [one for one in sightings if one.judged and one.sighting.vehicle is not None]
    strangers = [one for one in sightings if one.sighting.vehicle is None]
    right = [one for one in named if one.vehicle is not None and chosen.get(one.vehicle) == one.sighting.vehicle]
    kept = sum(passage.right for passage in passages)
    on_vehicle = [(one.sighting.vehicle, one.vehicle) for one in named if one.vehicle is not None]
    merged = _several((number, vehicle) for number, vehicle in on_vehicle)
    split = _several((vehicle, number) for number, vehicle in on_vehicle)
    return {
        "precision": _share(len(right), len(named)),
        "recall": _share(kept, len(passages)),
        "sightings": len(named),
        "sightings_right": len(right),
        "sightings_on_nobody": sum(one.vehicle is None for one in named),
        "sightings_without_an_id": len(strangers),
        "of_these_on_a_vehicle": sum(one.vehicle is not None for one in strangers),
        "passages": len(passages),
        "passages_found": sum(passage.found > 0 for passage in passages),
        "passages_right": kept,
        "vehicles": len({passage.vehicle for passage in passages}),
        "vehicles_found": len({passage.vehicle for passage in passages if passage.found}),
        "ids": len({one.sighting.vehicle for one in named}),
        "merged": [{"id": number, "vehicles": sorted(vehicles)} for number, vehicles in sorted(merged.items())],
        "split": [{"vehicle": vehicle, "ids": sorted(ids)} for vehicle, ids in sorted(split.items())],
    }


def _several(links: Iterable[tuple[Any, Any]]) -> dict[Any, set[Any]]:
    """Left -> its rights, where these are two or more."""
    rights: dict[Any, set[Any]] = {}
    for left, one in links:
        rights.setdefault(left, set()).add(one)
    return {left: found for left, found in rights.items() if len(found) > 1}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
