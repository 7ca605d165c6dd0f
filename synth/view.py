"""How a camera of the synthetic scene sees: its pose, its lens, and the light it works in."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vreid.synth.mesh import Array
from vreid.synth.vehicle import Colour

NEAR = 0.8  # metres; what is closer to the camera is cut away
SIZE = (960, 540)  # of a frame


@dataclass(frozen=True)
class Light:
    """The hour, the weather and the electronics of one camera."""

    azimuth: float = 0.8  # of the sun, radians from the road's axis
    elevation: float = 1.0
    direct: float = 0.42  # the sun's share
    ambient: float = 0.74
    gain: Colour = (1.0, 1.0, 1.0)  # exposure and colour cast
    haze: float = 0.002  # per metre
    haze_colour: Colour = (214.0, 206.0, 198.0)
    sky: Colour = (226.0, 180.0, 128.0)  # at the zenith
    shadow: float = 0.45  # how much of the light a shadow takes
    vignette: float = 0.15  # how much the corners lose
    noise: float = 2.0  # standard deviation, grey levels
    blur: float = 0.0  # standard deviation, pixels
    lamps: bool = False


@dataclass(frozen=True)
class View:
    """One camera at `place` (metres: x along the road, y to the left of it, z up), turned by yaw, pitch (down), roll."""

    place: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    focal: float  # pixels
    size: tuple[int, int]  # width, height
    light: Light


def looking(
    place: tuple[float, float, float],
    target: tuple[float, float, float],
    field: float,
    light: Light,
    roll: float = 0.0,
) -> View:
    """The view from `place` to `target`, `field` degrees wide."""
    ahead = np.subtract(target, place)
    yaw, pitch = float(np.arctan2(ahead[1], ahead[0])), float(np.arctan2(-ahead[2], np.hypot(ahead[0], ahead[1])))
    place = float(place[0]), float(place[1]), float(place[2])
    return View(place, yaw, pitch, roll, SIZE[0] / 2 / float(np.tan(np.radians(field) / 2)), SIZE, light)


def axes_of(view: View) -> Array:
    """(3, 3): the camera's right, down and forward in the world, as rows."""
    cy, sy, cp, sp = np.cos(view.yaw), np.sin(view.yaw), np.cos(view.pitch), np.sin(view.pitch)
    forward, right = np.array([cp * cy, cp * sy, -sp]), np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    cr, sr = np.cos(view.roll), np.sin(view.roll)
    return np.stack([cr * right + sr * down, cr * down - sr * right, forward])


def seen_by(view: View, points: Array) -> Array:
    """(..., 3) in the world -> (..., 3) in the camera: right, down, depth."""
    return np.asarray((points - np.array(view.place)) @ axes_of(view).T)


def pixels_of(view: View, seen: Array) -> Array:
    """(..., 3) in the camera, depths over zero -> (..., 2) pixels."""
    return np.asarray(seen[..., :2] / seen[..., 2:] * view.focal + np.array(view.size) / 2 - 0.5)


def clipped(seen: Array) -> Array:
    """(n, 3) a polygon in the camera -> (m, 3) the part of it beyond NEAR (Sutherland and Hodgman 1974)."""
    kept: list[Array] = []
    for first, second in zip(seen, np.roll(seen, -1, axis=0), strict=True):
        if first[2] >= NEAR:
            kept.append(first)
        if (first[2] >= NEAR) != (second[2] >= NEAR):
            kept.append(first + (second - first) * (NEAR - first[2]) / (second[2] - first[2]))
    return np.array(kept).reshape(-1, 3)


def vignette_at(view: View, pixels: Array) -> Array:
    """(..., 2) pixels -> (...,) how much light the lens leaves there."""
    half = np.array(view.size) / 2
    radius = (((pixels - half) / np.linalg.norm(half)) ** 2).sum(axis=-1)
    return np.asarray(1 - view.light.vignette * np.minimum(radius, 1.0))


def lit(light: Light, colours: Array, normals: Array, glow: NDArray[np.bool_]) -> Array:
    """(F, 3) colours and normals -> (F, 3) the colours under this light, before haze."""
    sun = np.array(
        [
            np.cos(light.elevation) * np.cos(light.azimuth),
            np.cos(light.elevation) * np.sin(light.azimuth),
            np.sin(light.elevation),
        ]
    )
    shade = light.ambient * (0.85 + 0.15 * normals[:, 2]) + light.direct * np.maximum(normals @ sun, 0)
    shade = np.where(glow, 1.25 if light.lamps else np.maximum(shade, 0.9), shade)
    gain = np.array(light.gain)
    if light.lamps:
        return np.where(glow[:, None], colours * 1.1, colours * shade[:, None] * gain)
    return np.asarray(colours * shade[:, None] * gain)


def hazed(light: Light, colours: Array, distance: Array) -> Array:
    """(F, 3) lit colours and (F,) metres -> (F, 3) as they arrive."""
    share = 1 - np.exp(-light.haze * distance)[:, None]
    return np.asarray(colours * (1 - share) + np.array(light.haze_colour) * np.array(light.gain) * share)


def random_light(rng: np.random.Generator) -> Light:
    """Noon to dusk, clear to hazy, and the electronics of any cheap camera."""
    dusk, overcast = float(rng.random() ** 2), float(rng.random())
    exposure = float(rng.uniform(0.8, 1.22)) * (1 - 0.45 * dusk)
    warm = float(rng.normal(0, 0.06)) - 0.1 * dusk * float(rng.choice([-1, 1]))
    return Light(
        azimuth=float(rng.uniform(-np.pi, np.pi)),
        elevation=float(rng.uniform(0.75, 1.3)),
        direct=0.5 * (1 - overcast) * (1 - 0.6 * dusk),
        ambient=0.7 + 0.22 * overcast,
        gain=(exposure * (1 - warm), exposure, exposure * (1 + warm)),
        haze=float(rng.uniform(0, 0.009)) * overcast + 0.001,
        haze_colour=(214 - 30 * dusk, 206 - 30 * dusk, 200 - 20 * dusk),
        sky=(228 - 60 * overcast * dusk, 186 + 14 * overcast, 140 + 50 * overcast),
        shadow=0.5 * (1 - overcast) + 0.08,
        vignette=float(rng.uniform(0, 0.4)),
        noise=float(rng.uniform(0.5, 3.5)) * (1 + dusk),
        blur=float(rng.choice([0.0, 0.6, 0.9])),
        lamps=dusk > 0.6,
    )


def random_view(rng: np.random.Generator) -> View:
    """A camera as towns put them up: on a pole at either side, or over the road; looking along it or across it."""
    side, ahead = float(rng.choice([-1, 1])), float(rng.choice([-1, 1]))
    if rng.random() < 0.35:  # over the road
        height = float(rng.uniform(6, 9.5))
        place = (0.0, float(rng.uniform(-5, 5)), height)
        target = (ahead * height * float(rng.uniform(1.5, 2.3)), float(rng.uniform(-2.5, 2.5)), 0.5)
    else:
        place = (0.0, side * float(rng.uniform(8.5, 13.5)), float(rng.uniform(3.4, 8.5)))
        target = (ahead * float(rng.uniform(2, 17)), float(rng.uniform(-2, 2)), 0.5)
    return looking(place, target, float(rng.uniform(40, 62)), random_light(rng), roll=float(rng.normal(0, 0.015)))


def moved(view: View, along: float) -> View:
    """The same camera, `along` metres further down the road."""
    return replace(view, place=(view.place[0] + along, view.place[1], view.place[2]))
