"""Polygon meshes of the synthetic scene: convex parts, their faces, and decals drawn right after their face."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vreid.synth.vehicle import Colour

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """A convex solid: faces `first` to `last`; parts are drawn by rising level, then far before near."""

    level: int
    centre: tuple[float, float, float]
    first: int
    last: int


@dataclass(frozen=True)
class Mesh:
    """P points and F faces; face i is points[starts[i] : starts[i + 1]], seen from the side its normal points to."""

    points: Array  # (P, 3) metres, x forward, y left, z up
    starts: NDArray[np.int64]  # (F + 1,)
    normals: Array  # (F, 3) unit, zero for a hull
    anchors: Array  # (F, 3) a point of each face
    colours: Array  # (F, 3) BGR
    glow: NDArray[np.bool_]  # (F,) unshaded where the lamps are on
    masks: dict[int, Mask]  # faces that are a picture's alpha instead of a polygon
    parts: tuple[Part, ...]


@dataclass
class MeshBuilder:
    """Collects faces part by part; `mesh()` closes it."""

    points: list[Array] = field(default_factory=list)
    normals: list[Array] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    glow: list[bool] = field(default_factory=list)
    masks: dict[int, Mask] = field(default_factory=dict)
    parts: list[tuple[int, Array, int]] = field(default_factory=list)

    def part(self, level: int, centre: ArrayLike) -> None:
        """The faces that follow belong to a new part."""
        self.parts.append((level, np.asarray(centre, float), len(self.points)))

    def face(self, points: Array, normal: Array, colour: Colour, glow: bool = False, mask: Mask | None = None) -> None:
        """(n, 3) a convex polygon; a mask needs the four corners bottom left, bottom right, top right, top left."""
        if mask is not None:
            self.masks[len(self.points)] = mask
        self.points.append(points)
        self.normals.append(normal)
        self.colours.append(colour)
        self.glow.append(glow)

    def hull(self, points: Array, colour: Colour) -> None:
        """(n, 3) a solid drawn as the hull of its picture, from any side."""
        self.face(points, np.zeros(3), colour)

    def mesh(self) -> Mesh:
        """What was collected, as columns."""
        ends = [*(first for _, _, first in self.parts[1:]), len(self.points)]
        parts = [
            Part(level, (float(centre[0]), float(centre[1]), float(centre[2])), first, last)
            for (level, centre, first), last in zip(self.parts, ends, strict=True)
        ]
        return Mesh(
            points=np.concatenate(self.points),
            starts=np.cumsum([0, *(len(points) for points in self.points)]),
            normals=np.array(self.normals),
            anchors=np.array([points[0] for points in self.points]),
            colours=np.array(self.colours),
            glow=np.array(self.glow),
            masks=self.masks,
            parts=tuple(parts),
        )


@dataclass(frozen=True)
class Panel:
    """A quadrilateral seen from outside, (4, 3) bottom left, bottom right, top right, top left; its normal (3,)."""

    corners: Array
    normal: Array

    def patch(self, u0: float, u1: float, v0: float, v1: float) -> "Panel":
        """The part of it from u0 to u1 (left to right) and v0 to v1 (bottom to top), bilinear."""
        u, v = np.array([u0, u1, u1, u0])[:, None], np.array([v0, v0, v1, v1])[:, None]
        bl, br, tr, tl = self.corners
        return Panel((1 - u) * (1 - v) * bl + u * (1 - v) * br + u * v * tr + (1 - u) * v * tl, self.normal)


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour, lighter or darker, never past white."""
    return min(255.0, colour[0] * factor), min(255.0, colour[1] * factor), min(255.0, colour[2] * factor)


def _outward(points: Array, centre: Array) -> Array:
    shifted = np.concatenate([points[1:], points[:1]])
    yzx, zxy = points.take((1, 2, 0), axis=1), points.take((2, 0, 1), axis=1)
    # np.cross takes five times as long
    cross = yzx * shifted.take((2, 0, 1), axis=1) - zxy * shifted.take((1, 2, 0), axis=1)
    normal = cross.sum(axis=0)  # Newell's method: fits polygons that are not quite flat
    normal /= max(math.sqrt(normal @ normal), 1e-9)
    return np.asarray(normal if normal @ (points.mean(axis=0) - centre) > 0 else -normal)


def add_prism(
    builder: MeshBuilder,
    level: int,
    profile: Sequence[tuple[float, float, float]],
    sides: Colour,
    edges: Sequence[Colour | None],
) -> tuple[list[Panel], tuple[Panel, Panel]]:
    """A side profile [(x, z, half width)] extruded both ways: the panel of each edge, and the left and right sides.

    The profile runs up the rear, forward along the top and down the front; edge i goes from point i to the next one,
    the last one is the underside. An edge coloured None is left out. The panel of a side is the side itself if the
    profile has four points.
    """
    x, z, half = np.array(profile, float).T
    left, right = np.stack([x, half, z], axis=1), np.stack([x, -half, z], axis=1)
    centre = np.concatenate([left, right]).mean(axis=0)
    builder.part(level, centre)
    panels = []
    for i, colour in enumerate(edges):
        j = (i + 1) % len(profile)
        corners = np.array([left[i], right[i], right[j], left[j]])
        if z[j] < z[i]:
            corners = corners[[2, 3, 0, 1]]
        panel = Panel(corners, _outward(corners, centre))
        panels.append(panel)
        if colour is not None:
            builder.face(corners, panel.normal, colour)
    normals = _outward(left, centre), _outward(right, centre)
    builder.face(left, normals[0], sides)
    builder.face(right, normals[1], sides)
    return panels, (Panel(left[[-1, 0, 1, -2]], normals[0]), Panel(right[[0, -1, -2, 1]], normals[1]))


def add_box(
    builder: MeshBuilder, level: int, low: tuple[float, float, float], high: tuple[float, float, float], colour: Colour
) -> tuple[list[Panel], tuple[Panel, Panel]]:
    """An upright box centred on y = (low + high) / 2 = 0: panels rear, top, front, underside, and both sides."""
    half = high[1]
    profile = [(low[0], low[2], half), (low[0], high[2], half), (high[0], high[2], half), (high[0], low[2], half)]
    return add_prism(builder, level, profile, colour, [colour, colour, colour, None])


def disc(x: float, y: float, z: float, radius: float, corners: int = 14, turn: float = 0.0) -> Array:
    """(corners, 3) an upright polygon across y."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return np.stack([x + radius * np.cos(angle), np.full(corners, y), z + radius * np.sin(angle)], axis=1)


def text_mask(text: str, width: int, height: int) -> Mask:
    """(height, width) the text, as large as fits."""
    (wide, tall), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    mask = np.zeros((tall + base + 4, wide + 4), np.uint8)
    cv2.putText(mask, text, (2, tall + 2), cv2.FONT_HERSHEY_DUPLEX, 1.0, 255.0, 3, cv2.LINE_AA)
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
