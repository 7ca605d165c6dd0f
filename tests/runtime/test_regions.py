"""Polygons in shares of the picture: who stands in them, who passes through, and which are none."""

import numpy as np
import pytest

from vreid.runtime.camera_pipeline import CameraPipeline, CropRules
from vreid.runtime.records import Detections, Frame
from vreid.runtime.regions import admitted, fault_of, standing, within, zones_crossed
from vreid.runtime.session import Regions

SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
ARROW = ((0.0, 0.0), (1.0, 0.5), (0.0, 1.0), (0.4, 0.5))  # not convex
SIZE = (200, 100)


def boxes(*places: tuple[float, float], side: float = 20.0) -> np.ndarray:
    """Boxes of `side` pixels that stand at these shares of a picture of SIZE."""
    x, y = (np.asarray(places, np.float64).reshape(-1, 2) * SIZE).T
    return np.stack([x - side / 2, y - side, x + side / 2, y], axis=1).astype(np.float32)


def found(*places: tuple[float, float], side: float = 20.0) -> Detections:
    rows = boxes(*places, side=side)
    return Detections(rows, np.ones(len(rows), np.float32), np.full(len(rows), 2, np.int64))


@pytest.mark.parametrize("polygon", [SQUARE, ARROW, SQUARE[::-1], ((0.1, 0.9), (0.5, 0.1), (0.9, 0.9))])
def test_a_place_is_within_as_a_count_of_crossings_says(polygon: tuple[tuple[float, float], ...]) -> None:
    """The definition, one place and one edge at a time: a ray to the right meets the outline an odd number of times."""
    places = np.random.default_rng(3).uniform(0, 1, (500, 2))
    expected = []
    for x, y in places:
        hits = 0
        for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
            if (y1 > y) != (y2 > y) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) > x:
                hits += 1
        expected.append(hits % 2 == 1)
    assert within(places, polygon).tolist() == expected and 50 < sum(expected) < 450


def test_the_outline_belongs_to_a_polygon() -> None:
    edge = np.array([(0.2, 0.5), (0.8, 0.8), (0.5, 0.2), (0.2, 0.2), (0.2, 0.9), (0.1, 0.2)])
    assert within(edge, SQUARE).tolist() == [True] * 4 + [False] * 2
    whole = ((0, 0), (1, 0), (1, 1), (0, 1))
    assert within(standing(boxes((0, 0), (1, 1), (0.5, 1)), SIZE), whole).all()


def test_a_vehicle_stands_at_the_middle_of_its_lower_edge() -> None:
    assert standing(np.array([[10, 20, 30, 60], [-40, 0, 20, 500]], np.float32), SIZE).tolist() == [[0.1, 0.6], [0, 1]]


def test_what_stands_in_a_mask_or_is_small_is_not_detected() -> None:
    seen = found((0.5, 0.5), (0.1, 0.5), (0.9, 0.9), (0.5, 0.85))
    kept = admitted(Regions(masks={"middle": SQUARE, "corner": ((0.85, 0.85), (1, 0.85), (1, 1))}), seen, SIZE)
    assert np.array_equal(kept.boxes, seen.boxes[[1, 3]])  # the last one's head is in the mask, and its wheels are not
    assert (
        len(admitted(Regions(least_box=20), seen, SIZE)) == 4
        and len(admitted(Regions(least_box=20.5), seen, SIZE)) == 0
    )
    assert admitted(Regions(zones={"a": SQUARE}), seen, SIZE) is seen


def test_zones_are_those_that_a_track_stood_in_or_passed_between_frames() -> None:
    line = ((0.5, 0.0), (0.51, 0.0), (0.51, 1.0), (0.5, 1.0))  # narrower than a step
    regions = Regions(zones={"far": ((0.9, 0.0), (1.0, 0.0), (1.0, 0.3)), "line": line, "square": SQUARE})
    assert zones_crossed(regions, boxes((0.1, 0.5), (0.45, 0.5), (0.7, 0.5)), SIZE) == ("line", "square")
    assert zones_crossed(regions, boxes((0.1, 0.9), (0.4, 0.9)), SIZE) == ()
    assert zones_crossed(regions, boxes((0.1, 0.9), (0.6, 0.9)), SIZE) == ("line",)
    assert zones_crossed(regions, boxes((0.505, 0.9)), SIZE) == ("line",)
    assert zones_crossed(regions, boxes(), SIZE) == ()


FAULTS = {
    "two corners": (SQUARE[:2], "has 2 corners"),
    "a bow tie": (
        (SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]),
        "the edge from corner 1 and the one from corner 3 meet",
    ),
    "a corner twice": ((SQUARE[0], *SQUARE), "has corner 1 twice in a row"),
    "back over itself": (((0, 0), (0.8, 0), (0.4, 0), (0.4, 0.5)), "crosses itself"),
    "touching": (((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)), "crosses itself"),
    "a line": (((0, 0), (0.5, 0.5), (1, 1)), "crosses itself"),
    "nearly a line": (((0, 0), (0.5, 0.5 + 1e-7), (1, 1)), "has no area"),
}


@pytest.mark.parametrize(("corners", "words"), FAULTS.values(), ids=FAULTS)
def test_a_polygon_that_is_not_simple_is_found(corners: tuple[tuple[float, float], ...], words: str) -> None:
    fault = fault_of(corners)
    assert fault is not None and words in fault


@pytest.mark.parametrize("corners", [SQUARE, SQUARE[::-1], ARROW, SQUARE[:3]])
def test_a_simple_polygon_is_let_through(corners: tuple[tuple[float, float], ...]) -> None:
    assert fault_of(corners) is None


def test_a_camera_passes_over_what_is_masked_and_names_the_zones() -> None:
    """A vehicle drives to the right along y = 0.5, another one along y = 0.95, which is masked."""
    mask, left = ((0, 0.9), (1, 0.9), (1, 1), (0, 1)), ((0.0, 0.0), (0.35, 0.0), (0.35, 1.0), (0.0, 1.0))
    right = tuple((1 - x, y) for x, y in left)
    regions = Regions({"left": left, "right": right, "top": ((0, 0), (1, 0), (1, 0.2))}, {"path": mask})
    camera = CameraPipeline("gate", CropRules(), regions=regions)
    image = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3)).astype(np.uint8)
    for index in range(20):
        seen = found((0.1 + 0.04 * index, 0.5), (0.1 + 0.04 * index, 0.95))
        for request in camera.see(Frame("gate", index, 0.1 * index, image), seen):
            camera.learn(request, np.ones(4, np.float32))
        if index == 5:
            camera.regions = Regions({**regions.zones, "late": SQUARE}, regions.masks)  # exchanged under way
    ((sighting, _),) = camera.close()
    assert sighting.zones == ("left", "right", "late") and sighting.track == 1
