"""Crops: never empty, better when larger, sharper and whole; the cheap ceiling never hides a crop that is deserved."""

import cv2
import numpy as np
import pytest

from vreid.runtime.camera_pipeline import CropRules, ceiling_of, cut_out, deserves, quality_of

FRAME = (200, 120)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (120, 200, 3)).astype(np.uint8)


def box(*edges: float) -> np.ndarray:
    return np.array(edges, np.float32)


def test_the_crop_is_what_the_box_holds() -> None:
    np.testing.assert_array_equal(cut_out(IMAGE, box(10, 20, 50, 60), 0.0), IMAGE[20:60, 10:50])
    np.testing.assert_array_equal(cut_out(IMAGE, box(10.4, 20.6, 49.5, 59.1), 0.0), IMAGE[20:60, 10:50])
    np.testing.assert_array_equal(cut_out(IMAGE, box(10, 20, 50, 60), 0.25), IMAGE[10:70, 0:60])


@pytest.mark.parametrize(
    "edges",
    [(-50, -50, 30, 30), (190, 110, 400, 300), (-90, -90, -10, -10), (500, 500, 600, 600), (7.2, 7.2, 7.3, 7.3)],
)
def test_a_crop_is_never_empty_nor_beyond_the_picture(edges: tuple[float, ...]) -> None:
    crop = cut_out(IMAGE, box(*edges), 0.1)
    assert crop.size > 0 and crop.shape[0] <= 120 and crop.shape[1] <= 200


def test_quality_rises_with_size_and_sharpness_and_falls_at_the_border() -> None:
    def of(image: np.ndarray, edges: np.ndarray) -> float:
        return quality_of(cut_out(image, edges, 0.0), edges, FRAME)

    blurred = np.asarray(cv2.GaussianBlur(IMAGE, (0, 0), 4), np.uint8)
    near, far = box(20, 10, 116, 106), box(20, 10, 44, 34)
    assert 0 < of(IMAGE, far) < of(IMAGE, near) <= 1
    assert of(blurred, near) < of(IMAGE, near)
    whole, cut = box(10, 10, 60, 60), box(0, 10, 50, 60)
    assert of(IMAGE, cut) < 0.5 * of(IMAGE, whole)
    flat = np.full_like(IMAGE, 90)
    assert of(flat, near) == pytest.approx(0.5)  # no detail at all, everything else the best


def test_a_new_a_due_and_a_better_crop_are_deserved() -> None:
    rules = CropRules(period=0.3, better=1.25, least=16, most=3)
    large, small = box(0, 0, 40, 40), box(0, 0, 40, 15)
    assert deserves(rules, large, 0, np.inf, 0.1, 0.0)
    assert deserves(rules, large, 2, 0.3, 0.1, 0.5)
    assert not deserves(rules, large, 2, 0.2, 0.6, 0.5)
    assert deserves(rules, large, 2, 0.2, 0.63, 0.5)
    assert not deserves(rules, small, 0, np.inf, 1.0, 0.0)
    assert not deserves(rules, large, 3, 99.0, 0.6, 0.5)  # enough of them
    assert deserves(rules, large, 3, 99.0, 0.63, 0.5)


def test_what_the_ceiling_refuses_the_quality_would_refuse() -> None:
    rules, refused = CropRules(), 0
    for _ in range(300):
        corner, side = RNG.uniform(0, 100, 2), RNG.uniform(4, 120, 2)
        edges = np.concatenate([corner, corner + side]).astype(np.float32)
        crop = cut_out(IMAGE, edges, 0.0)
        embedded, since, best = int(RNG.integers(0, 4)), float(RNG.uniform(0, 0.6)), float(RNG.uniform(0, 1))
        quality, ceiling = quality_of(crop, edges, FRAME), ceiling_of(crop, edges, FRAME)
        assert quality <= ceiling
        if not deserves(rules, edges, embedded, since, ceiling, best):
            refused += 1
            assert not deserves(rules, edges, embedded, since, quality, best)
    assert 30 < refused < 270
