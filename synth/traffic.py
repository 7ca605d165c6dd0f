"""The traffic of the synthetic scene: who drives in which lane, from when, how fast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vreid.synth.backdrop import Road
from vreid.synth.body import mesh_of
from vreid.synth.mesh import Array, Mesh
from vreid.synth.render import Solid
from vreid.synth.shape import size_of
from vreid.synth.vehicle import Vehicle
from vreid.synth.view import NEAR, View, pixels_of, seen_by

GAP = 1.5  # seconds between two vehicles of a lane, at least
TRIALS = 40
NARROW = Road(((-2.4, 1), (2.4, -1)), 5.2)
WIDE = Road(((-5.6, 1), (-2.1, 1), (2.1, -1), (5.6, -1)), 7.6)

Zone = tuple[float, float]  # a stretch of the road, x from and to
Plan = list[tuple[float, float, float]]  # lane, x at time 0 and speed of each vehicle


@dataclass(frozen=True)
class Passage:
    """One vehicle's drive: at x metres along the road at time 0, at a constant speed (negative: towards -x)."""

    vehicle: Vehicle
    mesh: Mesh
    lane: float
    start: float
    speed: float

    def at(self, time: float) -> Solid:
        """Where it is."""
        return Solid(self.mesh, self.start + self.speed * time, self.lane, 0.0 if self.speed > 0 else np.pi)


def zone_of(view: View, road: Road) -> Zone:
    """The stretch of the road, as x from and to, whose middle the camera sees large enough."""
    x = view.place[0] + np.arange(-60, 60.5, 0.5)
    shown = np.zeros(len(x), bool)
    for lane, _ in road.lanes:
        seen: Array = seen_by(view, np.stack([x, np.full_like(x, lane), np.full_like(x, 0.7)], axis=1))
        pixels = pixels_of(view, np.maximum(seen, (-1e9, -1e9, NEAR)))
        shown |= ((pixels >= 0) & (pixels < view.size)).all(axis=1) & (seen[:, 2] > NEAR)
    return float(x[shown].min()), float(x[shown].max())


def traffic(
    seed: int, drivers: Sequence[Vehicle], road: Road, views: Sequence[View], seconds: float
) -> tuple[Passage, ...]:
    """The best of TRIALS random timetables: few meetings before a camera, most vehicles past two cameras in time."""
    zones = [zone_of(view, road) for view in views]
    plans = [
        _timetable(np.random.default_rng((seed, 17, trial)), drivers, road, zones, seconds) for trial in range(TRIALS)
    ]
    plan = min(plans, key=lambda rows: _meetings(rows, zones, seconds))
    return tuple(Passage(driver, mesh_of(driver), *row) for driver, row in zip(drivers, plan, strict=True))


def _timetable(
    rng: np.random.Generator, drivers: Sequence[Vehicle], road: Road, zones: Sequence[Zone], seconds: float
) -> Plan:
    """Lanes by turns, times spread over the scene, nobody caught up with before the last camera."""
    plan: Plan = []
    last: dict[int, tuple[float, float]] = {}  # of each lane: when its last vehicle entered and left
    lanes, turn = ((0, 1) if len(road.lanes) == 2 else (0, 2, 1, 3)), int(rng.integers(len(road.lanes)))
    for number, driver in enumerate(drivers):
        lane = lanes[(number + turn) % len(lanes)]
        centre, way = road.lanes[lane]
        speed = float(rng.uniform(10, 12.5) if driver.kind in ("bus", "lorry") else rng.uniform(11, 15.5))
        stops = zones if way > 0 else [(-high, -low) for low, high in reversed(zones)]
        begin, end = stops[0][0] - 6.0, stops[-1][1] + 6.0
        early = -(stops[max(0, len(stops) - 2)][0] - begin - 4) / speed  # in time for the last camera but one
        late = max(seconds - (stops[min(1, len(stops) - 1)][1] - begin) / speed, early + 0.3 * seconds)
        enter = early + (number + float(rng.uniform(0.1, 0.9))) / len(drivers) * (late - early)
        if lane in last:
            space = GAP + size_of(driver)[0] / speed
            enter = max(enter, last[lane][0] + space)
            speed = (end - begin) / (max(enter + (end - begin) / speed, last[lane][1] + space) - enter)
        last[lane] = enter, enter + (end - begin) / speed
        plan.append((centre + float(rng.uniform(-0.25, 0.25)), way * (begin - enter * speed), way * speed))
    return plan


def _meetings(plan: Plan, zones: Sequence[Zone], seconds: float) -> float:
    """How many vehicles meet before a camera, and how many miss their second one: what a good plan has few of."""
    cost = 0.0
    for i, (lane, start, speed) in enumerate(plan):
        for other, begin, pace in plan[:i]:
            if abs(other - lane) > 1 and pace != speed:
                time = (begin - start) / (speed - pace)
                cost += 0 <= time <= seconds and any(low - 3 < start + speed * time < high + 3 for low, high in zones)
        first, final = sorted((start, start + speed * seconds))
        cost += 2 * (sum(first < low + 5 and final > high - 5 for low, high in zones) < min(2, len(zones)))
    return cost
