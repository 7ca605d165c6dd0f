"""Identities of a run: passages of true vehicles through the cameras' views, and the sightings that lie on them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from vreid.runtime.evaluate.finished_run import CameraLog, FinishedRun, LoggedSighting
from vreid.runtime.evaluate.tracking import FrameOverlap, paired
from vreid.runtime.mot import MotTable, corners
from vreid.runtime.records import overlaps

AWAY = 5.0  # seconds out of a camera's sight after which a vehicle's return is a new passage


@dataclass(frozen=True)
class PairedBox:
    """A found box on a true vehicle."""

    camera: str
    frame: int
    vehicle: int
    id: int


@dataclass(frozen=True)
class Passage:
    """Frames count from 1. `id` is the one on most of its found boxes, None if it has none; `right`: it is the vehicle's.

    `found_after` and `right_after`: seconds from its first frame to the first found box and to the first with the right
    id; None: never, or the times of the camera's frames are unknown. `stretches`: (id, first frame, last frame) of found boxes in a
    row with one id, misses between them passed over; each but the first begins with a switch.
    """

    camera: str
    vehicle: int
    first_frame: int
    last_frame: int
    boxes: int
    found: int
    id: int | None
    right: bool
    found_after: float | None
    right_after: float | None
    stretches: tuple[tuple[int, int, int], ...]


def pairs_of(frames: Sequence[FrameOverlap], iou: float) -> list[PairedBox]:
    """Every found box that lies on a true one, one to one in each frame."""
    return [PairedBox(m.camera, m.frame, vehicle, number) for m in frames for vehicle, number in paired(m, iou)]


def passages_of(
    run: FinishedRun, truth: Mapping[str, MotTable], pairs: Sequence[PairedBox], chosen: Mapping[int, int]
) -> list[Passage]:
    """By camera, vehicle and time; `chosen`: true id -> the found id that counts as its own."""
    at: dict[tuple[str, int], list[PairedBox]] = {}
    for pair in pairs:
        at.setdefault((pair.camera, pair.vehicle), []).append(pair)
    passages = []
    for camera, table in truth.items():
        log = run.cameras[camera]
        for vehicle in np.unique(table.ids).tolist():
            frames = np.sort(table.frames[table.ids == vehicle])
            away = np.diff(log.seconds(frames)) > AWAY if log.timed else np.zeros(len(frames) - 1, np.bool_)
            for part in np.split(frames, np.flatnonzero(away) + 1):
                on = [p for p in at.get((camera, vehicle), []) if part[0] <= p.frame <= part[-1]]
                passages.append(_passage(camera, vehicle, part.tolist(), on, chosen.get(vehicle), log))
    return passages


def _passage(
    camera: str, vehicle: int, frames: Sequence[int], on: Sequence[PairedBox], own: int | None, log: CameraLog
) -> Passage:
    """`on`: the pairs within `frames`, frames rising."""
    most = Counter(pair.id for pair in on).most_common(1)
    number = most[0][0] if most else None

    def after(first: PairedBox | None) -> float | None:
        if first is None or not log.timed:
            return None
        began, found = log.seconds([frames[0], first.frame])
        return round(float(found - began), 3)

    return Passage(
        camera=camera,
        vehicle=vehicle,
        first_frame=frames[0],
        last_frame=frames[-1],
        boxes=len(frames),
        found=len(on),
        id=number,
        right=number is not None and number == own,
        found_after=after(next(iter(on), None)),
        right_after=after(next((pair for pair in on if pair.id == own), None)),
        stretches=tuple(_stretches(on)),
    )


def _stretches(on: Sequence[PairedBox]) -> Iterator[tuple[int, int, int]]:
    for number, group in groupby(on, key=lambda pair: pair.id):
        frames = [pair.frame for pair in group]
        yield number, frames[0], frames[-1]


@dataclass(frozen=True)
class PlacedSighting:
    """A sighting, and the true vehicle that it lies on with at least half of its boxes, None for nobody.

    `counts` is false where all its boxes are on what does not count.
    """

    sighting: LoggedSighting
    vehicle: int | None
    counts: bool


def placed_sightings(
    run: FinishedRun,
    truth: Mapping[str, MotTable],
    found: Mapping[str, MotTable],
    pairs: Sequence[PairedBox],
    iou: float,
) -> list[PlacedSighting]:
    """Every sighting with its vehicle; of one without an id only the last box is known, and decides."""
    at: dict[tuple[str, int], list[PairedBox]] = {}
    for pair in pairs:
        at.setdefault((pair.camera, pair.id), []).append(pair)
    placed = []
    for logged in run.sightings:
        if logged.vehicle is None:
            placed.append(PlacedSighting(logged, _under_last_box(logged, truth[logged.camera], iou), True))
            continue
        first, last = logged.first_frame + 1, logged.last_frame + 1
        table = found[logged.camera]
        boxes = int(((table.ids == logged.vehicle) & (table.frames >= first) & (table.frames <= last)).sum())
        on = Counter(p.vehicle for p in at.get((logged.camera, logged.vehicle), []) if first <= p.frame <= last)
        vehicle, count = on.most_common(1)[0] if on else (None, 0)
        placed.append(PlacedSighting(logged, vehicle if 2 * count >= boxes else None, boxes > 0))
    return placed


def _under_last_box(logged: LoggedSighting, truth: MotTable, iou: float) -> int | None:
    rows = np.flatnonzero(truth.frames == logged.last_frame + 1)
    if logged.box is None or not len(rows):
        return None
    shared = overlaps(corners(truth.boxes[rows]), np.asarray([logged.box]))[:, 0]
    best = int(shared.argmax())
    return int(truth.ids[rows[best]]) if shared[best] >= iou else None


def identity_scores(
    sightings: Sequence[PlacedSighting], passages: Sequence[Passage], chosen: Mapping[int, int]
) -> dict[str, Any]:
    """precision: of the sightings with an id, those on the vehicle that the id belongs to; recall: of all true passages,
    those whose id is the vehicle's. A merge is an id on sightings of several vehicles, a split a vehicle under several ids.
    """
    named = [one for one in sightings if one.counts and one.sighting.vehicle is not None]
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
