"""Draws meshes into pictures: perspective, back faces left out, far before near, flat shading, anti-aliased edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.synth.mesh import Array, Mask, Mesh
from vreid.synth.view import NEAR, Light, View, clipped, hazed, lit, pixels_of, seen_by, vignette_at

SHIFT = 4  # binary places of a coordinate for cv2
FAR_OUT = 6000.0  # pixels; keeps coordinates within what cv2 takes


@dataclass(frozen=True)
class Solid:
    """A mesh put into the world at (x, y), turned by `heading` radians."""

    mesh: Mesh
    x: float
    y: float
    heading: float = 0.0


def _turn(heading: float) -> Array:
    cos, sin = np.cos(heading), np.sin(heading)
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])  # for rows: points @ turn


def _world(solid: Solid) -> Array:
    return np.asarray(solid.mesh.points @ _turn(solid.heading) + np.array([solid.x, solid.y, 0.0]))


def silhouette(view: View, solid: Solid) -> Array:
    """(n, 2) the convex hull of its picture in pixels, not cut to the frame; (0, 2) where it is behind the camera."""
    seen = seen_by(view, _world(solid))
    if seen[:, 2].min() < NEAR:
        starts = solid.mesh.starts
        faces = [clipped(seen[a:b]) for a, b in pairwise(starts)]
        seen = np.concatenate(faces)
    if not len(seen):
        return np.zeros((0, 2))
    pixels = np.clip(pixels_of(view, seen), -FAR_OUT, FAR_OUT).astype(np.float32)
    return cv2.convexHull(pixels)[:, 0].astype(np.float64)


def draw(image: Image, view: View, solid: Solid, origin: tuple[int, int] = (0, 0)) -> None:
    """Draw into `image`, whose first pixel is the frame's pixel `origin` (x, y)."""
    mesh, turn = solid.mesh, _turn(solid.heading)
    seen = seen_by(view, _world(solid))
    near = seen[:, 2] < NEAR
    if near.all():
        return
    eye = (np.array(view.place) - np.array([solid.x, solid.y, 0.0])) @ turn.T  # in the mesh's own frame
    facing = ((eye - mesh.anchors) * mesh.normals).sum(axis=1) > 0
    hulls = np.abs(mesh.normals).sum(axis=1) == 0
    seen_far = seen.copy()
    seen_far[:, 2] = np.maximum(seen[:, 2], NEAR)
    pixels = pixels_of(view, seen_far) - np.array(origin)
    low = np.minimum.reduceat(pixels, mesh.starts[:-1])
    high = np.maximum.reduceat(pixels, mesh.starts[:-1])
    large = (high - low).max(axis=1) > 0.8
    inside = ((high > 0) & (low < np.array(image.shape[1::-1]))).all(axis=1)
    cut = np.logical_or.reduceat(near, mesh.starts[:-1])
    shown = (facing | hulls) & ((large & inside) | cut)
    distance = np.full(1, np.linalg.norm(eye - mesh.points.mean(axis=0)))
    colours = lit(view.light, mesh.colours, mesh.normals @ turn, mesh.glow)
    colours = hazed(view.light, colours, np.broadcast_to(distance, len(colours)))
    colours *= vignette_at(view, np.clip(pixels.mean(axis=0) + np.array(origin), 0, view.size))
    fixed = np.round(np.clip(pixels, -FAR_OUT, FAR_OUT) * (1 << SHIFT)).astype(np.int32)
    paints = np.clip(colours, 0, 255).tolist()
    starts = mesh.starts.tolist()
    order = sorted(mesh.parts, key=lambda part: (part.level, -float(np.linalg.norm(eye - np.array(part.centre)))))
    for part in order:
        for i in (np.flatnonzero(shown[part.first : part.last]) + part.first).tolist():
            polygon = fixed[starts[i] : starts[i + 1]]
            if cut[i]:
                rest = clipped(seen[starts[i] : starts[i + 1]])
                if len(rest) < 3:
                    continue
                exact = np.clip(pixels_of(view, rest) - np.array(origin), -FAR_OUT, FAR_OUT)
                polygon = np.round(exact * (1 << SHIFT)).astype(np.int32)
            if i in mesh.masks:
                if not cut[i]:
                    _draw_mask(image, mesh.masks[i], pixels[starts[i] : starts[i + 1]], paints[i])
                continue
            if hulls[i]:
                polygon = cv2.convexHull(polygon)
            cv2.fillConvexPoly(image, polygon, paints[i], cv2.LINE_AA, SHIFT)


def _draw_mask(image: Image, mask: Mask, corners: Array, colour: Sequence[float]) -> None:
    """Blend `colour` into the quadrilateral by the mask's alpha; left out where it would be too small to be seen."""
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, image.shape[1::-1])
    if x1 - x0 < 5 or y1 - y0 < 3 or np.abs(corners).max() > 4 * max(image.shape):
        return
    wide = max(float(np.linalg.norm(corners[1] - corners[0])), 4.0)
    if wide < mask.shape[1] / 2:
        share = wide / mask.shape[1]
        tall = max(4, round(mask.shape[0] * share))
        mask = np.asarray(cv2.resize(mask, (round(wide), tall), interpolation=cv2.INTER_AREA), np.uint8)
    height, width = mask.shape
    flat = np.array([[0, height], [width, height], [width, 0], [0, 0]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, (corners - (x0, y0)).astype(np.float32))
    alpha = cv2.warpPerspective(mask, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    under = image[y0:y1, x0:x1]
    weight = (alpha.astype(np.float32) / 255)[:, :, None]
    under[...] = (under + (np.array(colour, np.float32) - under) * weight).astype(np.uint8)


def draw_shadow(image: Image, view: View, solid: Solid, origin: tuple[int, int] = (0, 0)) -> None:
    """Darken the ground that the solid keeps the sun and the sky from."""
    light, world = view.light, _world(solid)
    if light.shadow <= 0:
        return
    reach = -np.array([np.cos(light.azimuth), np.sin(light.azimuth)]) / np.tan(light.elevation)
    cast = world.copy()
    cast[:, :2] += cast[:, 2:] * reach
    under = world[world[:, 2] < 0.5]
    for points, strength in ((cast, light.shadow), (under, 0.3)):
        seen = seen_by(view, points * (1.0, 1.0, 0.0))
        seen = seen[seen[:, 2] > NEAR]
        if len(seen) < 3:
            continue
        pixels = np.clip(pixels_of(view, seen) - np.array(origin), -FAR_OUT, FAR_OUT).astype(np.float32)
        hull = cv2.convexHull(pixels)[:, 0]
        x0, y0 = np.maximum(np.floor(hull.min(axis=0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(np.ceil(hull.max(axis=0)).astype(int) + 2, image.shape[1::-1])
        if x1 <= x0 or y1 <= y0:
            continue
        kept = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
        fixed = np.round((hull - (x0, y0)) * (1 << SHIFT)).astype(np.int32)
        level = 255 * (1 - strength)
        cv2.fillConvexPoly(kept, fixed, (level, level, level), cv2.LINE_AA, SHIFT)
        ground = image[y0:y1, x0:x1]
        cv2.multiply(ground, kept, dst=ground, scale=1 / 255)


def nearest_last(view: View, solids: Sequence[Solid]) -> list[int]:
    """The order in which to draw vehicles that keep to their lanes: far lanes first, then the far ones of a lane.

    Exact while lanes do not overlap, for the plane between two lanes then parts their vehicles.
    """
    x, y, _ = view.place
    return sorted(range(len(solids)), key=lambda i: (-round(abs(solids[i].y - y)), -abs(solids[i].x - x)))


def grain_of(light: Light, width: int, height: int, rng: np.random.Generator) -> Image:
    """(2, height, width, 3) sensor noise: what to add, and what to take away."""
    noise = np.round(rng.standard_normal((height, width, 3), dtype=np.float32) * light.noise)
    return np.stack([np.maximum(noise, 0), np.maximum(-noise, 0)]).astype(np.uint8)


def developed(light: Light, image: Image, grain: Image) -> Image:
    """The picture as the camera's electronics give it: softened, and with noise."""
    if light.blur > 0:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), light.blur), np.uint8)
    return np.asarray(cv2.subtract(cv2.add(image, grain[0]), grain[1]), np.uint8)
