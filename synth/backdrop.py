"""What a camera of the synthetic scene sees when no vehicle is there: sky, road, grass, houses, trees, posts."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from vreid.models.preprocess import Image
from vreid.synth.mesh import MeshBuilder, add_box, add_prism, disc, scaled
from vreid.synth.render import Solid, draw, draw_shadow
from vreid.synth.vehicle import Colour
from vreid.synth.view import View, axes_of

Texture = NDArray[np.float32]
REACH, FINE = 60.0, 0.02  # metres: how far the ground is drawn across the road, and how finely
WALLS: tuple[Colour, ...] = (
    (196, 208, 216),
    (150, 176, 200),
    (110, 130, 178),
    (204, 200, 190),
    (128, 140, 150),
    (170, 196, 214),
)
ROOFS: tuple[Colour, ...] = ((62, 70, 128), (70, 66, 66), (52, 58, 92), (90, 84, 80))


@dataclass(frozen=True)
class Road:
    """A straight road along x: (centre y, direction +1 or -1) of each lane, and half its width, in metres."""

    lanes: tuple[tuple[float, int], ...]
    half: float


def _texture(rng: np.random.Generator, smooth: float) -> Texture:
    """(256, 256) noise that repeats, mean 0 and deviation 1."""
    noise = rng.standard_normal((256, 256)).astype(np.float32)
    noise = np.asarray(cv2.GaussianBlur(np.tile(noise, (2, 2)), (0, 0), smooth)[128:384, 128:384], np.float32)
    return np.asarray(noise / noise.std(), np.float32)


def _sampled(texture: Texture, x: Texture, y: Texture) -> Texture:
    """The texture at (H, W) places, in texels, repeated for ever."""
    x, y = np.clip(x, -32000, 32000), np.clip(y, -32000, 32000)  # cv2.remap counts in 16 bits
    return np.asarray(cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def _stripes(road: Road) -> tuple[Texture, Texture]:
    """(2 REACH / FINE, 3) the ground's colour across the road from y = -REACH on, (..., 2) its slow and quick grain."""
    y = np.arange(-REACH, REACH, FINE)
    across = np.abs(y)
    colour, grain = np.empty((len(y), 3)), np.full((len(y), 2), (3.5, 5.0))
    colour[:], grain[across >= road.half + 2.4] = (62, 112, 92), (7.0, 9.0)  # grass
    colour[across < road.half + 2.4] = (146, 149, 150)  # pavement
    colour[(across % 1.2 < 0.05) & (across < road.half + 2.4)] -= 14
    colour[across < road.half + 0.28] = (178, 178, 178)  # kerb
    asphalt = np.full(len(y), 114.0)
    for centre, _ in road.lanes:
        for track in (-0.8, 0.8):
            asphalt -= 7 * np.exp(-(((y - centre - track) / 0.3) ** 2))
    asphalt[np.abs(across - road.half + 0.35) < 0.08] = 205
    for (low, way), (high, other) in pairwise(road.lanes):
        if way != other:
            asphalt[np.abs(np.abs(y - (low + high) / 2) - 0.14) < 0.06] = 205
    colour = np.where((across < road.half)[:, None], asphalt[:, None] * (1.0, 0.99, 0.98), colour)
    return colour.astype(np.float32), grain.astype(np.float32)


def _ground(view: View, road: Road, x: Texture, y: Texture, far: Texture, rng: np.random.Generator) -> Texture:
    """(H, W) places and distances -> (H, W, 3) the colour of the ground, unlit."""
    slow, quick = _texture(rng, 4.0), _texture(rng, 0.8)
    colours, grains = _stripes(road)
    place = np.clip((y + REACH) / FINE, 0, len(colours) - 1).astype(np.int32)
    colour, grain = colours[place], grains[place]
    spots = _sampled(slow, x * 10, y * 10) * grain[..., 0]
    spots += _sampled(quick, x * 55, y * 55) * np.exp(far * np.float32(-1 / 40)) * grain[..., 1]
    for _ in range(4):  # mended places
        along, across, long = (
            rng.uniform(-30, 30) + view.place[0],
            rng.uniform(-road.half, road.half - 1),
            rng.uniform(2, 9),
        )
        spots[(x > along) & (x < along + long) & (y > across) & (y < across + 1)] -= 12
    for (low, way), (high, other) in pairwise(road.lanes):
        if way == other:
            spots[(np.abs(y - np.float32((low + high) / 2)) < 0.07) & (x % 6 < 3)] += 90
    return np.asarray(colour + spots[..., None], np.float32)


def _surfaces(view: View, road: Road, rng: np.random.Generator) -> Image:
    """Sky and ground, without what stands on it; twice as fine as the frame."""
    width, height = view.size
    columns, rows = np.meshgrid(np.arange(2 * width, dtype=np.float32), np.arange(2 * height, dtype=np.float32))
    offset = np.array([0.25 - width / 2, 0.25 - height / 2, view.focal], np.float32)
    ray = np.stack([columns / 2, rows / 2, np.zeros_like(rows)], axis=-1) + offset
    ray = ray @ axes_of(view).astype(np.float32)  # in the world
    ray /= np.sqrt(np.einsum("ijk,ijk->ij", ray, ray))[..., None]
    light, (x, y, z) = view.light, np.array(view.place, np.float32)
    far = z / np.maximum(-ray[..., 2], np.float32(1e-3))
    colour = _ground(view, road, x + ray[..., 0] * far, y + ray[..., 1] * far, far, rng)
    share = np.exp(far * np.float32(-light.haze - 0.001))[..., None]
    haze = np.array(light.haze_colour, np.float32)
    colour *= share * np.float32(light.ambient + light.direct * np.sin(light.elevation))
    colour += haze * (1 - share)
    above = int((ray[..., 2] > 0).any(axis=1).sum())  # the sky is in the upper rows only
    if above:
        up = ray[:above]
        climb = np.clip(up[..., 2:] * np.float32(3.2), 0, 1)
        flat = np.maximum(up[..., 2], 0) + np.float32(0.12)
        clouds = np.maximum(_sampled(_texture(rng, 6.0), up[..., 0] / flat * 25, up[..., 1] / flat * 25), 0)[..., None]
        sky = haze * np.float32(1.05) * (1 - climb) + np.array(light.sky, np.float32) * climb
        sky += clouds * 10 * np.minimum(climb * 4, 1)
        colour[:above] = np.where(up[..., 2:] > 0, sky, colour[:above])
    radius = ((columns / width - 1) ** 2 * width**2 + (rows / height - 1) ** 2 * height**2) / (width**2 + height**2)
    colour *= (1 - np.float32(light.vignette) * radius)[..., None] * np.array(light.gain, np.float32)
    return np.clip(colour, 0, 255).astype(np.uint8)


def _house(rng: np.random.Generator) -> Solid:
    builder = MeshBuilder()
    wide, deep, tall = float(rng.uniform(7, 14)), float(rng.uniform(6, 9)), float(rng.choice([3.2, 5.8, 5.8, 8.4]))
    wall, roof = (
        scaled(WALLS[int(rng.integers(len(WALLS)))], float(rng.uniform(0.85, 1.1))),
        ROOFS[int(rng.integers(len(ROOFS)))],
    )
    _, sides = add_box(builder, 0, (-wide / 2, -deep / 2, 0), (wide / 2, deep / 2, tall), wall)
    across = int(wide // 2.4)
    door = int(rng.integers(across))
    for panel in sides:
        for storey in range(max(1, round(tall / 2.8))):
            for column in range(across):
                u0, z0 = (column + 0.28) / across, storey * 2.7 + 0.9
                low, high = (0.0, 2.1) if storey == 0 and column == door else (z0, z0 + 1.3)
                u1 = (column + 0.72) / across
                frame = panel.patch(u0 - 0.01, u1 + 0.01, max(low - 0.1, 0) / tall, (high + 0.1) / tall)
                builder.face(frame.corners, frame.normal, (226, 230, 232))
                pane = panel.patch(u0, u1, low / tall, high / tall)
                builder.face(pane.corners, pane.normal, (92, 78, 66) if low else (54, 60, 84))
    eaves, top = wide / 2 + 0.4, tall + float(rng.uniform(1.2, 2.6))
    profile = [
        (-eaves, tall, deep / 2 + 0.4),
        (-eaves + 0.6, top, 0.05),
        (eaves - 0.6, top, 0.05),
        (eaves, tall, deep / 2 + 0.4),
    ]
    add_prism(builder, 1, profile, roof, [scaled(wall, 0.9), None, scaled(wall, 0.9), None])
    return Solid(builder.mesh(), 0, 0)


@cache
def _post() -> Solid:
    builder = MeshBuilder()
    add_box(builder, 0, (-0.07, -0.07, 0), (0.07, 0.07, 6.5), (120, 118, 112))
    add_box(builder, 1, (-0.5, -0.12, 6.5), (0.5, 0.12, 6.65), (150, 148, 140))
    return Solid(builder.mesh(), 0, 0)


def _hedge(rng: np.random.Generator) -> Solid:
    builder = MeshBuilder()
    green = scaled((48, 92, 66), float(rng.uniform(0.8, 1.15)))
    add_box(builder, 0, (-3.4, -0.4, 0), (3.4, 0.4, float(rng.uniform(0.7, 1.3))), green)
    return Solid(builder.mesh(), 0, 0)


def _tree(rng: np.random.Generator) -> Solid:
    builder = MeshBuilder()
    add_box(builder, 0, (-0.16, -0.16, 0), (0.16, 0.16, 2.6), (58, 78, 96))
    green, tall = scaled((52, 104, 74), float(rng.uniform(0.75, 1.2))), float(rng.uniform(3.4, 5))
    for i in range(16):
        builder.part(1, (0, 0, 0))
        x, y, z = rng.normal(0, 0.75), rng.normal(0, 0.75), tall + rng.normal(0, 0.7)
        radius = float(rng.uniform(0.6, 1.25))
        ball = np.concatenate([disc(x, y, z, radius, 10), disc(y, x, z, radius, 10)[:, [1, 0, 2]]])
        builder.hull(ball, scaled(green, 0.72 + 0.035 * i))
    return Solid(builder.mesh(), 0, 0)


def _standing(view: View, road: Road, rng: np.random.Generator) -> list[Solid]:
    """What stands along the road; nothing between the camera and the traffic."""
    solids: list[Solid] = []
    for side in (-1, 1):
        for what, across, step in (
            ("house", 17.0, 15.0),
            ("hedge", 10.5, 7.6),
            ("tree", 11.8, 9.0),
            ("post", 1.6, 24.0),
        ):
            for x in np.arange(-90, 90, step):
                skip, shift = rng.random(), float(rng.uniform(-0.2, 0.2)) * step
                solid = {"house": _house, "hedge": _hedge, "tree": _tree}[what](rng) if what != "post" else _post()
                y = side * (road.half + across + float(rng.uniform(0, 2.5)) * (what != "post") * (what != "hedge"))
                hidden = side * view.place[1] > 2 and abs(y) < abs(view.place[1]) + 4
                if not hidden and skip > (0.1 if what in ("post", "hedge") else 0.25):
                    placed = view.place[0] + float(x) + (shift if what != "hedge" else 0)
                    solids.append(Solid(solid.mesh, placed, y))
    place = np.array(view.place[:2])
    return sorted(solids, key=lambda solid: -float(np.linalg.norm(place - (solid.x, solid.y))))


def backdrop(view: View, road: Road, seed: int) -> Image:
    """(height, width, 3) the empty place; the same for the same view, road and seed."""
    rng = np.random.default_rng((seed, 77))
    width, height = view.size
    fine = _surfaces(view, road, rng)
    image: Image = np.ascontiguousarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    for solid in _standing(view, road, rng):
        draw_shadow(image, view, solid)
        draw(image, view, solid)
    return image
