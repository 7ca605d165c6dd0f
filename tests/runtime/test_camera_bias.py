"""What all features of a camera have in common is taken off."""

import numpy as np
import pytest

from vreid.runtime.camera_bias import FEWEST_KEPT, CameraBias
from vreid.runtime.records import Floats
from vreid.runtime.score_norm import FEWEST, Neighbourhood


def units(rng: np.random.Generator, count: int, dim: int = 16) -> Floats:
    rows = rng.normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def shifted(rows: Floats, by: Floats) -> Floats:
    moved = rows + by
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def test_the_same_vehicles_under_two_lights_are_nearer_without_the_bias() -> None:
    rng = np.random.default_rng(0)
    vehicles, light = units(rng, 200), units(rng, 2)
    seen = [shifted(vehicles, 0.8 * light[camera]) for camera in (0, 1)]
    bias = CameraBias()
    for camera, rows in zip("ab", seen, strict=True):
        for row in rows:
            bias.add(camera, row)
    plain = [bias.removed(rows, [camera] * 200) for camera, rows in zip("ab", seen, strict=True)]
    np.testing.assert_allclose(np.linalg.norm(plain[0], axis=1), 1, atol=1e-6)
    right = [(one @ other.T).argmax(axis=1) == np.arange(200) for one, other in (seen, plain)]
    assert right[1].mean() > right[0].mean()
    own = [np.sum(one * other, axis=1).mean() for one, other in (seen, plain)]
    assert own[1] > own[0]


def test_nothing_is_taken_off_one_camera_or_a_view_that_is_not_a_camera() -> None:
    rng = np.random.default_rng(1)
    rows, bias = units(rng, 5), CameraBias()
    for row in rows:
        bias.add("a", row)
    np.testing.assert_array_equal(bias.removed(rows, ["a"] * 5), rows)
    bias.add("b", rows[0])
    np.testing.assert_allclose(bias.removed(rows, ["enrolled"] * 5), rows, atol=1e-6)
    assert bias.removed(rows[:0], []).shape == (0, 16)


def test_few_tracks_move_little() -> None:
    rng = np.random.default_rng(2)
    rows = units(rng, 100)
    moved = []
    for count in (1, 10, 100):
        bias = CameraBias()
        for _ in range(count):
            bias.add("a", rows[0])
            bias.add("b", rows[1])
        moved.append(float(np.linalg.norm(bias.removed(rows[:1], ["a"]) - rows[:1])))
    assert moved[0] < moved[1] < moved[2]


def test_means_are_kept_and_read_again() -> None:
    rng = np.random.default_rng(3)
    rows, bias = units(rng, 2 * FEWEST_KEPT), CameraBias()
    cameras = ["a", "b"] * FEWEST_KEPT
    for camera, row in zip(cameras, rows, strict=True):
        bias.add(camera, row)
    again = CameraBias(bias.as_rows(), 16)
    np.testing.assert_array_equal(again.removed(rows, cameras[::-1]), bias.removed(rows, cameras[::-1]))
    with pytest.raises(ValueError, match="different lengths"):
        CameraBias([*bias.as_rows(), {"camera": "c", "tracks": 10, "mean": "AAAAAA=="}])
    with pytest.raises(ValueError, match="a mean of 16 numbers, and features have 8"):
        CameraBias(bias.as_rows(), 8)


def test_a_mean_of_few_tracks_is_not_written_down() -> None:
    """That of one track is the feature of one vehicle, which somebody may have removed."""
    rng = np.random.default_rng(5)
    bias = CameraBias()
    for number, row in enumerate(units(rng, FEWEST_KEPT), 1):
        bias.add("a", row)
        assert [one["tracks"] for one in bias.as_rows()] == ([number] if number == FEWEST_KEPT else [])
    bias.add("b", units(rng, 1)[0])
    assert [one["camera"] for one in bias.as_rows()] == ["a"]


def test_a_vehicle_among_many_of_its_kind_needs_more() -> None:
    rng = np.random.default_rng(4)
    van, rare = units(rng, 2)
    neighbours, bias = Neighbourhood(), CameraBias()
    tracks = [shifted(van[None], 0.3 * units(rng, 1)[0])[0] for _ in range(60)] + list(units(rng, 60))
    assert neighbours.excess(np.stack([van, rare]), bias).tolist() == [0, 0]  # too few tracks are known
    for number, row in enumerate(tracks):
        neighbours.add("a", row)
        if number + 1 < FEWEST:
            assert neighbours.excess(van[None], bias).tolist() == [0]
    excess = neighbours.excess(np.stack([van, rare]), bias)
    assert excess[0] > 0.5 > 0 > excess[1]
    # a track is no neighbour of itself
    assert neighbours.excess(np.stack(tracks), bias).mean() == pytest.approx(0, abs=1e-6)


def test_the_report_says_how_much_each_camera_has_in_common() -> None:
    bias = CameraBias()
    gate, yard = np.eye(2, 4, dtype=np.float32)
    for _ in range(10):
        bias.add("gate", gate)
    assert bias.summary() == []  # one camera has nothing to be compared with
    for _ in range(30):
        bias.add("yard", yard)
    # shares of 1/2 and 3/4 of what is known, so that the centre is at 0.4 and 0.6
    expected = [("gate", 10, 0.5 * 0.6 * 2**0.5), ("yard", 30, 0.75 * 0.4 * 2**0.5)]
    found = [(row["camera"], row["tracks"], row["taken_off"]) for row in bias.summary()]
    assert found == [(camera, tracks, pytest.approx(off, abs=1e-3)) for camera, tracks, off in expected]
