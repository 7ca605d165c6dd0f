"""The threshold of equal error, by hand and against a slow version."""

import numpy as np
import pytest

from vreid.train.evaluate import Embedded
from vreid.train.threshold import equal_error, tracks_of


def at(degrees: list[float], vehicles: list[int], cameras: list[int]) -> Embedded:
    """Features on the unit circle."""
    angles = np.radians(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Embedded(features, np.array(vehicles), np.array(cameras))


def test_what_can_be_told_apart_has_no_error() -> None:
    threshold, error = equal_error(at([0, 5, 60, 66, 120], [0, 0, 1, 1, 2], [0, 1, 0, 1, 0]))
    assert error == 0
    assert np.cos(np.radians(54)) < threshold <= np.cos(np.radians(6)) + 1e-6


def test_it_equals_a_slow_search() -> None:
    random = np.random.default_rng(0)
    vehicles, cameras = random.integers(0, 12, 40), random.integers(0, 3, 40)
    features = random.normal(size=(12, 6))[vehicles] + random.normal(size=(40, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    tracks = Embedded(features.astype(np.float32), vehicles, cameras)
    stranger, known = [], []
    for i in range(40):
        scores = tracks.features @ tracks.features[i]
        stranger.append(max(scores[j] for j in range(40) if vehicles[j] != vehicles[i]))
        own = [scores[j] for j in range(40) if vehicles[j] == vehicles[i] and cameras[j] != cameras[i]]
        if own:
            known.append(max(own))
    worst = [(max(np.mean([s >= t for s in stranger]), np.mean([k < t for k in known])), t) for t in stranger + known]
    threshold, error = equal_error(tracks)
    assert error == pytest.approx(min(worst)[0])
    assert max(np.mean(np.array(stranger) >= threshold), np.mean(np.array(known) < threshold)) == pytest.approx(error)


def test_a_track_is_the_mean_of_a_vehicle_in_a_camera() -> None:
    tracks = tracks_of(at([0, 20, 90, 40], [3, 3, 3, 1], [0, 0, 1, 0]))
    assert tracks.vehicles.tolist() == [1, 3, 3] and tracks.cameras.tolist() == [0, 0, 1]
    np.testing.assert_allclose(np.degrees(np.arctan2(*tracks.features.T[::-1])), [40, 10, 90], atol=1e-4)


def test_nothing_to_compare_is_no_threshold() -> None:
    assert equal_error(at([0, 50], [0, 1], [0, 0])) == (0.0, 1.0)
