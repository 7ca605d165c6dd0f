"""A vehicle's passages through the cameras' views, by the truth, and what the run made of each."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vreid.runtime.evaluate.finished_run import FinishedRun, Watched
from vreid.runtime.evaluate.mot import MotTable
from vreid.runtime.evaluate.tracking import Moment, paired

AWAY = 5.0  # seconds out of a camera's sight after which a vehicle's return is a new passage


@dataclass(frozen=True)
class Pair:
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


def pairs_of(moments: Sequence[Moment], iou: float) -> list[Pair]:
    """Every found box that lies on a true one, one to one in each frame."""
    return [Pair(m.camera, m.frame, vehicle, number) for m in moments for vehicle, number in paired(m, iou)]


def passages_of(
    run: FinishedRun, truth: Mapping[str, MotTable], pairs: Sequence[Pair], chosen: Mapping[int, int]
) -> list[Passage]:
    """By camera, vehicle and time; `chosen`: true id -> the found id that counts as its own."""
    at: dict[tuple[str, int], list[Pair]] = {}
    for pair in pairs:
        at.setdefault((pair.camera, pair.vehicle), []).append(pair)
    passages = []
    for camera, table in truth.items():
        watched = run.cameras[camera]
        for vehicle in np.unique(table.ids).tolist():
            frames = np.sort(table.frames[table.ids == vehicle])
            away = np.diff(watched.seconds(frames)) > AWAY if watched.timed else np.zeros(len(frames) - 1, np.bool_)
            for part in np.split(frames, np.flatnonzero(away) + 1):
                on = [p for p in at.get((camera, vehicle), []) if part[0] <= p.frame <= part[-1]]
                passages.append(_passage(camera, vehicle, part.tolist(), on, chosen.get(vehicle), watched))
    return passages


def _passage(
    camera: str, vehicle: int, frames: Sequence[int], on: Sequence[Pair], own: int | None, watched: Watched
) -> Passage:
    """`on`: the pairs within `frames`, frames rising."""
    most = Counter(pair.id for pair in on).most_common(1)
    told = most[0][0] if most else None

    def after(first: Pair | None) -> float | None:
        if first is None or not watched.timed:
            return None
        began, found = watched.seconds([frames[0], first.frame])
        return round(float(found - began), 3)

    return Passage(
        camera=camera,
        vehicle=vehicle,
        first_frame=frames[0],
        last_frame=frames[-1],
        boxes=len(frames),
        found=len(on),
        id=told,
        right=told is not None and told == own,
        found_after=after(next(iter(on), None)),
        right_after=after(next((pair for pair in on if pair.id == own), None)),
        stretches=tuple(_stretches(on)),
    )


def _stretches(on: Sequence[Pair]) -> Iterator[tuple[int, int, int]]:
    for number, group in groupby(on, key=lambda pair: pair.id):
        frames = [pair.frame for pair in group]
        yield number, frames[0], frames[-1]
