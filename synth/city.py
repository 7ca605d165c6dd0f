"""A procedural town road under several cameras, with ground truth: who drives when, and what each camera sees of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.synth.backdrop import Road
from vreid.synth.backdrop import backdrop as drawn_backdrop
from vreid.synth.body import mesh_of, size_of
from vreid.synth.mesh import Array, Mesh
from vreid.synth.render import Solid, developed, draw, draw_shadow, grain_of, nearest_last, silhouette
from vreid.synth.vehicle import Vehicle, random_vehicle
from vreid.synth.view import NEAR, Light, View, looking, moved, pixels_of, seen_by

GAP = 1.5  # seconds between two vehicles of a lane, at least
TRIALS = 40
NARROW = Road(((-2.4, 1), (2.4, -1)), 5.2)
WIDE = Road(((-5.6, 1), (-2.1, 1), (2.1, -1), (5.6, -1)), 7.6)

Zone = tuple[float, float]  # a stretch of the road, x from and to
Plan = list[tuple[float, float, float]]  # lane, x at time 0 and speed of each vehicle


@dataclass(frozen=True)
class Drive:
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
) -> tuple[Drive, ...]:
    """The best of TRIALS random timetables: few meetings before a camera, most vehicles past two cameras in time."""
    zones = [zone_of(view, road) for view in views]
    plans = [
        _timetable(np.random.default_rng((seed, 17, trial)), drivers, road, zones, seconds) for trial in range(TRIALS)
    ]
    plan = min(plans, key=lambda rows: _meetings(rows, zones, seconds))
    return tuple(Drive(driver, mesh_of(driver), *row) for driver, row in zip(drivers, plan, strict=True))


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


APART = 75.0  # metres from one camera to the next
LEAST_WIDTH, LEAST_SHARE = 12, 0.1  # what truth leaves out
COARSE = 4  # pixels of a cell in which occlusion is counted


@dataclass(frozen=True)
class Truth:
    """One vehicle in one frame: its id over all cameras, from 1, its box in pixels, and the share that can be seen."""

    vehicle: int
    x: float
    y: float
    w: float
    h: float
    visibility: float


@dataclass(frozen=True)
class Scene:
    """A world and its cameras; cameras count from 1, frames from 0, vehicle ids from 1."""

    seed: int
    fps: float
    frames: int
    road: Road
    views: tuple[View, ...]
    passages: tuple[Drive, ...]
    backdrops: dict[int, tuple[Image, Image]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def backdrop(self, camera: int) -> tuple[Image, Image]:
        """(H, W, 3) without vehicles, and the noise (H + 64, W + 64, 3) that frames take a part of; drawn once."""
        if camera not in self.backdrops:
            view = self.views[camera - 1]
            rng = np.random.default_rng((self.seed, camera, 5))
            grain = grain_of(view.light, view.size[0] + 64, view.size[1] + 64, rng)
            self.backdrops[camera] = drawn_backdrop(view, self.road, self.seed * 97 + camera), grain
        return self.backdrops[camera]

    def frame(self, camera: int, index: int) -> Image:
        """(H, W, 3) uint8 BGR, the same every time."""
        view, (still, grain) = self.views[camera - 1], self.backdrop(camera)
        image = still.copy()
        solids = [solid for solid in self._solids(index) if _may_be_seen(view, solid)]
        for solid in solids:
            draw_shadow(image, view, solid)
        for place in nearest_last(view, solids):
            draw(image, view, solids[place])
        right, down = np.random.default_rng((self.seed, camera, index)).integers(0, 64, 2)
        return developed(view.light, image, grain[:, down : down + view.size[1], right : right + view.size[0]])

    def _solids(self, index: int) -> list[Solid]:
        return [passage.at(index / self.fps) for passage in self.passages]

    def truth(self, camera: int, index: int) -> list[Truth]:
        """What is to be found in the frame; left out: narrower than 12 pixels, or a tenth or less in the frame."""
        return truth_of(self.views[camera - 1], self._solids(index))


def _may_be_seen(view: View, solid: Solid) -> bool:
    """A quick no for what is far outside the frame."""
    middle = seen_by(view, np.array([solid.x, solid.y, 1.0]))
    reach = float(np.abs(solid.mesh.points[:, 0]).max()) + 2.5  # also of the shadow
    if middle[2] < -reach:
        return False
    half = np.array(view.size) / 2 / view.focal
    return bool((np.abs(middle[:2]) < half * max(middle[2], 0.0) + reach * (1 + half)).all())


def truth_of(view: View, solids: Sequence[Solid]) -> list[Truth]:
    """The truth of one picture; ids count the solids from 1. Shares are of hulls, occlusion of cells of 4 pixels."""
    width, height = view.size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    taken = np.zeros((height // COARSE, width // COARSE), np.uint8)
    rows: list[Truth] = []
    for place in reversed(nearest_last(view, solids)):
        if not _may_be_seen(view, solids[place]):
            continue
        hull = silhouette(view, solids[place]).astype(np.float32)
        whole = float(cv2.contourArea(hull)) if len(hull) > 2 else 0.0
        if whole <= 0:
            continue
        inside, part = cv2.intersectConvexConvex(hull + np.float32(0.5), frame)
        if inside <= 0:
            continue
        mask = np.zeros_like(taken)
        cv2.fillConvexPoly(mask, np.round(part[:, 0] / COARSE - 0.5).astype(np.int32), 1.0)
        cells = max(1, int(np.count_nonzero(mask)))
        free = int(np.count_nonzero(mask & ~taken)) / cells
        taken |= mask
        low, high = part[:, 0].min(axis=0), part[:, 0].max(axis=0)
        if high[0] - low[0] >= LEAST_WIDTH and inside / whole > LEAST_SHARE:
            x, y, w, h = (round(float(value), 2) for value in (*low, *(high - low)))
            rows.append(Truth(place + 1, x, y, w, h, round(inside / whole * free, 3)))
    return sorted(rows, key=lambda row: row.vehicle)


def city(seed: int, vehicles: int = 12, seconds: float = 20, cameras: int = 3, fps: float = 10) -> Scene:
    """The town road of `synth://city`: deterministic in its parameters. Refused for numbers that make no scene."""
    if not (0 <= seed < 2**64 and 1 <= cameras <= 16 and 0.1 <= seconds <= 3600 and 1 <= fps <= 60):
        raise Refused(
            "a synthetic city takes a seed from 0 to 2**64 - 1, 1-16 cameras, 0.1-3600 seconds and 1-60 fps; change those"
        )
    if not 1 <= vehicles <= 8 + 1.5 * seconds:
        raise Refused(
            f"{vehicles} vehicles do not fit on the road in {seconds:g} seconds; take 1 to {int(8 + 1.5 * seconds)}"
        )
    rng = np.random.default_rng((seed, 11))
    road = NARROW if vehicles <= 0.9 * seconds + 4 else WIDE
    views = tuple(_city_view(number, rng) for number in range(cameras))
    drivers = [random_vehicle(np.random.default_rng((seed, 13, number))) for number in range(vehicles)]
    passages = traffic(seed, drivers, road, views, seconds)
    return Scene(seed, fps, max(1, round(seconds * fps)), road, views, passages)


def _city_view(number: int, rng: np.random.Generator) -> View:
    """Camera by camera another pole, side, height and light: noon, overcast, dusk; then these again, shifted."""
    shift = rng.uniform(-0.5, 0.5, 4)
    noon = Light(azimuth=-1.9, elevation=1.05, gain=(0.98, 1.03, 1.08), noise=1.5, vignette=0.12)
    grey = Light(
        elevation=1.2,
        direct=0.08,
        ambient=0.86,
        gain=(1.02, 0.92, 0.84),
        haze=0.006,
        shadow=0.16,
        noise=2.0,
        blur=0.7,
        sky=(206, 200, 192),
    )
    dusk = Light(
        azimuth=2.4,
        elevation=0.8,
        direct=0.22,
        ambient=0.72,
        gain=(0.84, 0.64, 0.62),
        noise=3.0,
        vignette=0.38,
        shadow=0.25,
        haze_colour=(176, 184, 214),
        sky=(200, 150, 128),
        lamps=True,
    )
    kind = number % 3
    if kind == 0:
        view = looking((0, -10.5 + shift[0], 5.4 + shift[1]), (11.5 + shift[2], 0.6, 0.9), 52, noon)
    elif kind == 1:
        view = looking((13, 1.0 + shift[0] * 3, 7.6 + shift[1]), (-0.5 + shift[2], 0.0, 0.0), 50, grey)
    else:
        view = looking(
            (6, 11 + shift[0], 4.2 + shift[1]), (-2.5 + shift[2], 0.0, 1.7), 56, dusk, roll=0.02 * float(shift[3])
        )
    return moved(view, APART * number)
