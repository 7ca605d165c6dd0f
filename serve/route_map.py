"""Cameras as a map: the ways of the topology between them, and how often a vehicle took each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.topology import Layout, read_layout
from vreid.serve.documents import Sighting

WIDTH, HEIGHT = 520, 340  # units of the drawing
_NODE = 13  # radius of a camera
_MARGIN_X, _MARGIN_Y = 84, 52
_STEPS = 300
_NO_WAY = 3.0  # edges that two cameras without a way lie apart, at least

Way = tuple[str, str]
Places = NDArray[np.float64]


@dataclass(frozen=True)
class Node:
    """A camera: where it is drawn, and how often the vehicle was there."""

    camera: str
    x: float
    y: float
    times: int


@dataclass(frozen=True)
class Line:
    """A line of the drawing, as the path of an SVG, and the text on it."""

    path: str
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class RouteMap:
    """A map that is ready to be drawn."""

    nodes: list[Node]
    ground: list[Line]  # ways of the topology
    taken: list[Line]  # with an arrow, each way of the vehicle
    by_topology: bool

    @property
    def box(self) -> str:
        """What of the drawing has something in it, as the viewBox of an SVG."""
        heights = [node.y for node in self.nodes] or [HEIGHT / 2]
        top = min(heights) - _MARGIN_Y
        return f"0 {top:.0f} {WIDTH} {max(heights) - top + _MARGIN_Y:.0f}"


def layout_of(topology: "Path | Layout | None") -> Layout:
    """What the site says of its cameras; nothing where its file cannot be read any more."""
    if topology is None or isinstance(topology, Layout):
        return topology or Layout()
    try:
        return read_layout(topology)
    except Refused:
        return Layout()


def ways_taken(sightings: Sequence[Sighting]) -> Counter[Way]:
    """From one camera to the next one, however long that took; sightings in any order."""
    by_time = sorted(sightings, key=lambda one: (one.at - one.seconds, one.id))
    return Counter((a.camera, b.camera) for a, b in pairwise(by_time) if a.camera != b.camera)


def route_map(cameras: Sequence[str], layout: Layout, sightings: Sequence[Sighting]) -> RouteMap:
    """The map of these cameras and of those in the layout."""
    names = sorted({*cameras, *(camera for pair in layout.pair for camera in pair.cameras)})
    taken, times = ways_taken(sightings), Counter(one.camera for one in sightings)
    ways = {tuple(sorted(pair.cameras)): _seconds(pair.least_s, pair.most_s, pair.overlap) for pair in layout.pair}
    apart = _apart(names, ways or {tuple(sorted(way)): "" for way in taken})
    places = dict(zip(names, _placed(apart), strict=True))
    nodes = [Node(name, float(places[name][0]), float(places[name][1]), times[name]) for name in names]
    ground = [_straight(places[one], places[other], text) for (one, other), text in ways.items() if one != other]
    arrows = [_bent(places[one], places[other], str(count)) for (one, other), count in sorted(taken.items())]
    return RouteMap(nodes, ground, arrows, bool(layout.pair))


def _seconds(least: float, most: float | None, overlap: bool) -> str:
    if overlap:
        return "overlap"
    return f"from {least:g} s" if most is None else f"{least:g}–{most:g} s"  # noqa: RUF001


def _apart(names: Sequence[str], ways: Mapping[tuple[str, ...], str]) -> Places:
    """(N, N) edges between cameras over the shortest way (Floyd and Warshall, 1962)."""
    count = len(names)
    place = {name: number for number, name in enumerate(names)}
    apart = np.full((count, count), np.inf)
    np.fill_diagonal(apart, 0)
    for one, other in ways:
        apart[place[one], place[other]] = apart[place[other], place[one]] = min(1.0, abs(place[one] - place[other]))
    for over in range(count):
        apart = np.minimum(apart, apart[:, over, None] + apart[None, over])
    known = apart[np.isfinite(apart)]
    return np.where(np.isfinite(apart), apart, max(_NO_WAY, float(known.max(initial=0)) + 1))


def _placed(apart: Places) -> Places:
    """(N, 2) in the drawing, so that lengths are as near to `apart` as they can be: stress majorization from a circle
    (Gansner, Koren and North, Graph Drawing 2004, section 2)."""
    count = len(apart)
    angles = -math.pi / 2 + 2 * math.pi * np.arange(count) / max(count, 1)
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * max(1.0, count / 4)  # (N, 2)
    if count > 2:
        weights = 1 / np.maximum(apart, 1e-9) ** 2
        np.fill_diagonal(weights, 0)
        for _ in range(_STEPS):
            between = places[:, None] - places[None]  # (N, N, 2)
            lengths = np.maximum(np.linalg.norm(between, axis=2), 1e-9)
            wanted = places[None] + between * (apart / lengths)[..., None]
            places = (weights[..., None] * wanted).sum(1) / weights.sum(1)[:, None]
    centre = (places.max(0) + places.min(0)) / 2 if count else np.zeros(2)
    spread = np.maximum((places.max(0) - places.min(0)) / 2, 1e-9) if count else np.ones(2)
    room = np.array([WIDTH / 2 - _MARGIN_X, HEIGHT / 2 - _MARGIN_Y])
    factor = np.minimum(room / spread, 1.6 * float((room / spread).min()))
    return np.asarray(np.array([WIDTH, HEIGHT]) / 2 + (places - centre) * np.where(spread < 1e-6, 0, factor))


def _straight(one: Places, other: Places, text: str) -> Line:
    x, y = (one + other) / 2
    return Line(
        f"M{one[0]:.1f} {one[1]:.1f}L{other[0]:.1f} {other[1]:.1f}", text, round(float(x), 1), round(float(y), 1)
    )


def _bent(one: Places, other: Places, text: str) -> Line:
    """From the edge of one camera to that of the other, to the right of the straight line, so that both ways can be seen."""
    along = other - one
    length = max(float(np.linalg.norm(along)), 1e-9)
    unit = along / length
    aside = np.array([-unit[1], unit[0]]) * min(46.0, length / 4)
    control = (one + other) / 2 + aside
    begin = one + _toward(one, control) * (_NODE + 2)
    end = other + _toward(other, control) * (_NODE + 8)
    x, y = (one + other) / 2 + aside / 2
    path = f"M{begin[0]:.1f} {begin[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return Line(path, text, round(float(x), 1), round(float(y), 1))


def _toward(one: Places, other: Places) -> Places:
    return (other - one) / max(float(np.linalg.norm(other - one)), 1e-9)
