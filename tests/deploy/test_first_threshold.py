"""The threshold of equal error, by hand and against slow versions."""

import numpy as np
import pytest

from vreid.deploy.first_threshold import equal_error, one_of_each_group_first, track_scores
from vreid.deploy.threshold import tracks_of
from vreid.train.evaluate import Embedded


def at(degrees: list[float], vehicles: list[int], cameras: list[int]) -> Embedded:
    """Features on the unit circle."""
    angles = np.radians(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Embedded(features, np.array(vehicles), np.array(cameras))


def test_what_can_be_separated_has_no_error() -> None:
    threshold, error = equal_error(*track_scores(at([0, 5, 60, 66, 120], [0, 0, 1, 1, 2], [0, 1, 0, 1, 0])))
    assert error == 0
    assert np.cos(np.radians(54)) < threshold <= np.cos(np.radians(5)) + 1e-6


def test_a_vehicles_score_is_the_mean_over_its_other_tracks() -> None:
    random = np.random.default_rng(0)
    vehicles = np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4])
    features = random.normal(size=(8, 6))[vehicles] + random.normal(size=(20, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    tracks = Embedded(features.astype(np.float32), vehicles, np.arange(20))
    strangers, known = [], []
    for i in range(20):
        means = {}
        for vehicle in range(8):
            others = [float(features[i] @ features[j]) for j in range(20) if vehicles[j] == vehicle and j != i]
            if others:
                means[vehicle] = sum(others) / len(others)
        if vehicles[i] in means:
            known.append(means.pop(vehicles[i]))
        strangers.append(max(means.values()))
    found = track_scores(tracks)
    np.testing.assert_allclose(found[0], strangers, atol=1e-5)
    np.testing.assert_allclose(np.sort(found[1]), np.sort(known), atol=1e-5)


def test_the_error_equals_a_slow_search() -> None:
    random = np.random.default_rng(1)
    stranger, known = random.normal(0, 1, 60).astype(np.float32), random.normal(1.5, 1, 40).astype(np.float32)
    worst = [max(np.mean(stranger >= t), np.mean(known < t)) for t in np.concatenate([stranger, known])]
    threshold, error = equal_error(stranger, known)
    assert error == pytest.approx(min(worst))
    assert max(np.mean(stranger >= threshold), np.mean(known < threshold)) == pytest.approx(error)


def test_a_track_is_the_mean_of_a_vehicle_in_a_camera() -> None:
    tracks = tracks_of(at([0, 20, 90, 40], [3, 3, 3, 1], [0, 0, 1, 0]))
    assert tracks.vehicles.tolist() == [1, 3, 3] and tracks.cameras.tolist() == [0, 0, 1]
    np.testing.assert_allclose(np.degrees(np.arctan2(*tracks.features.T[::-1])), [40, 10, 90], atol=1e-4)


def test_nothing_to_compare_is_no_threshold() -> None:
    assert equal_error(*track_scores(at([0, 50], [0, 1], [0, 0]))) == (0.0, 1.0)


def test_a_gallery_has_one_vehicle_of_a_group_before_others_of_it() -> None:
    groups, random = ["van", "van", "bus", "van", "taxi"], np.random.default_rng(2)
    drawn = [one_of_each_group_first(groups, random) for _ in range(40)]
    assert all(sorted(places) == [0, 1, 2, 3, 4] for places in drawn)
    assert all({groups[place] for place in places[:3]} == {"bus", "taxi", "van"} for places in drawn)
    assert {place for places in drawn for place in places[:1]} == {0, 1, 2, 3, 4}
