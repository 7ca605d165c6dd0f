"""A test part without the cameras' bias, by the runtime's rule."""

import numpy as np
import pytest

from vreid.deploy.camera_bias import without_camera_bias
from vreid.train.evaluate import Embedded, retrieval

DIM, VEHICLES = 24, 40


def part(seed: int, offset: float, cameras: int = 4) -> Embedded:
    """One picture of each vehicle in each camera; what the pictures of a camera share has the length `offset`."""
    rng = np.random.default_rng(0)
    looks, shared = rng.normal(size=(VEHICLES, DIM)), rng.normal(size=(cameras, DIM))
    shared *= offset * np.sqrt(DIM) / np.linalg.norm(shared, axis=1, keepdims=True)
    noise = np.random.default_rng(seed).normal(size=(VEHICLES, cameras, DIM))
    rows = (looks[:, None] + 0.8 * noise + shared).reshape(-1, DIM)
    vehicles, seen_by = np.divmod(np.arange(VEHICLES * cameras), cameras)
    return Embedded(np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32), vehicles, seen_by)


def test_what_the_cameras_share_is_taken_off() -> None:
    query, gallery = part(1, 2.0), part(2, 2.0)
    before, after = retrieval(query, gallery), retrieval(*without_camera_bias(query, gallery))
    best = retrieval(part(1, 0.0), part(2, 0.0))
    assert before.map < best.map - 20
    assert after.map > (before.map + best.map) / 2


def test_with_one_camera_and_with_labels_in_another_order_nothing_changes() -> None:
    query, gallery = part(1, 2.0), part(2, 2.0)
    single = [Embedded(one.features, one.vehicles, np.zeros_like(one.cameras)) for one in (query, gallery)]
    for plain, again in zip(single, without_camera_bias(*single), strict=True):
        np.testing.assert_array_equal(plain.features, again.features)
    renamed = [Embedded(one.features, 100 - one.vehicles, one.cameras) for one in (query, gallery)]
    for first, again in zip(without_camera_bias(query, gallery), without_camera_bias(*renamed), strict=True):
        np.testing.assert_allclose(first.features, again.features, atol=1e-5)


def test_a_vehicle_that_stood_there_for_hours_counts_once() -> None:
    query, gallery = part(1, 2.0), part(2, 2.0)
    many = np.concatenate([np.arange(len(gallery.vehicles)), np.zeros(500, np.int64)])
    parked = Embedded(gallery.features[many], gallery.vehicles[many], gallery.cameras[many])
    score = retrieval(without_camera_bias(query, parked)[0], without_camera_bias(query, gallery)[1]).map
    assert score == pytest.approx(retrieval(*without_camera_bias(query, gallery)).map, abs=1.5)
