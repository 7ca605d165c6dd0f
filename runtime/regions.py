"""Parts of a camera's picture: zones that tracks cross, masks in which nothing is detected, and the least box.

A polygon is in shares of the picture, x to the right and y down, so that it outlives another resolution. A vehicle is where it
stands: at the middle of the lower edge of its box, which is on the road even where a tall lorry hides what is behind it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Boxes, Detections
from vreid.runtime.session import Regions

_FLAT = 1e-6  # the area of a polygon without one, as a share of the picture
_EDGE = 1e-12  # twice the area between an edge and a place on it


def admitted(regions: Regions, found: Detections, size: tuple[int, int]) -> Detections:
    """The detections of a picture of `size` (width, height) that are large enough and stand in none of the masks."""
    if not len(found) or not (regions.least_box or regions.masks):
        return found
    kept = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1) >= regions.least_box
    places = standing(found.boxes, size)
    for mask in regions.masks.values():
        kept &= ~within(places, mask)
    return found.rows(kept)


def zones_crossed(regions: Regions, boxes: Boxes, size: tuple[int, int]) -> tuple[str, ...]:
    """(T, 4) boxes of a track in order, x1 y1 x2 y2 in pixels of a picture of `size` (width, height) -> the names of the zones
    in which it stood or which it passed between two frames, in the order of the file."""
    if not len(boxes):
        return ()
    way = standing(boxes, size)
    return tuple(
        name for name, zone in regions.zones.items() if within(way, zone).any() or _passes(way, np.asarray(zone))
    )


def standing(boxes: Boxes, size: tuple[int, int]) -> NDArray[np.float64]:
    """(N, 4) x1 y1 x2 y2 in pixels -> (N, 2) the middle of the lower edge, in shares of the picture, clipped to it."""
    places = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1).astype(np.float64)
    return np.asarray((places / np.asarray(size, np.float64)).clip(0, 1))


def within(places: NDArray[np.float64], polygon: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """(N, 2) -> (N,): which places lie in the polygon or on its edge, by the even-odd rule."""
    starts = np.asarray(polygon, np.float64)
    ends = np.roll(starts, -1, axis=0)
    x, y = places[:, :1], places[:, 1:]  # (N, 1) against (K,)
    side = _side(starts, ends, x, y)
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    on_edge = (np.abs(side) <= _EDGE) & (x >= low[:, 0]) & (x <= high[:, 0]) & (y >= low[:, 1]) & (y <= high[:, 1])
    over = (starts[:, 1] > y) != (ends[:, 1] > y)  # the edge crosses the height of the place
    right = (side > 0) == (ends[:, 1] > starts[:, 1])
    return np.asarray(on_edge.any(axis=1) | ((over & right).sum(axis=1) % 2 == 1))


def fault_of(polygon: Sequence[Sequence[float]]) -> str | None:
    """What keeps the corners, in shares of the picture, from being a simple polygon, in words; None: nothing does."""
    corners = np.asarray(polygon, np.float64)
    if len(corners) < 3:
        return f"has {len(corners)} corners, and a polygon has at least three"
    starts, ends = corners, np.roll(corners, -1, axis=0)
    for one in range(len(corners)):
        if (starts[one] == ends[one]).all():
            return f"has corner {one + 1} twice in a row"
        for other in range(one + 1, len(corners)):
            if _meet(corners, one, other):
                return f"crosses itself: the edge from corner {one + 1} and the one from corner {other + 1} meet"
    area = (starts[:, 0] * ends[:, 1] - ends[:, 0] * starts[:, 1]).sum() / 2
    return "has no area; its corners lie on one line" if abs(area) < _FLAT else None


def _meet(corners: NDArray[np.float64], one: int, other: int) -> bool:
    """Whether two edges of a polygon, by their first corners, have more in common than the corner of neighbours."""
    count = len(corners)
    edge, line = corners[[one, (one + 1) % count]], corners[[other, (other + 1) % count]]
    if other == one + 1 or (one == 0 and other == count - 1):
        return (
            _on(line, edge[0]) or _on(edge, line[1]) if other == one + 1 else _on(line, edge[1]) or _on(edge, line[0])
        )
    touching = any(_on(line, end) for end in edge) or any(_on(edge, end) for end in line)
    return touching or _crossing(edge, line[:1], line[1:])


def _on(line: NDArray[np.float64], place: NDArray[np.float64]) -> bool:
    """Whether a place (2,) lies on the line from one row of (2, 2) to the other."""
    (side,) = _side(line[:1], line[1:], place[None, :1], place[None, 1:])[0]
    return bool(abs(side) <= _EDGE and (place >= line.min(axis=0)).all() and (place <= line.max(axis=0)).all())


def _passes(way: NDArray[np.float64], polygon: NDArray[np.float64]) -> bool:
    """Whether a way (T, 2) crosses an edge of the polygon between two of its places, as of a fast vehicle and a narrow zone."""
    return _crossing(way, polygon, np.roll(polygon, -1, axis=0))


def _crossing(way: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> bool:
    """Whether a piece of the way (T, 2) and one of the lines from (K, 2) to (K, 2) cut each other."""
    before, after = way[:-1], way[1:]
    first = _side(starts, ends, before[:, :1], before[:, 1:])  # (T - 1, K)
    second = _side(starts, ends, after[:, :1], after[:, 1:])
    third = _side(before, after, starts[:, :1], starts[:, 1:]).T
    fourth = _side(before, after, ends[:, :1], ends[:, 1:]).T
    return bool(((first * second < 0) & (third * fourth < 0)).any())


def _side(
    starts: NDArray[np.float64], ends: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(K, 2) lines and (N, 1) places -> (N, K): on which side of each line, 0 on it."""
    along = ends - starts
    return np.asarray(along[:, 0] * (y - starts[:, 1]) - along[:, 1] * (x - starts[:, 0]))
