"""The tracker: ids hold over motion, gaps and noise; the clock may lie; memory stays bounded."""

import math
import pickle

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.records import Detections, Tracks, no_detections
from vreid.runtime.tracker import ENDED_KEPT, Tracker, corrected, predicted, started


def seen(*boxes: tuple[float, float, float, float], scores: list[float] | None = None) -> Detections:
    """Boxes given as x y w h."""
    xywh = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(xywh)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Detections(corners, np.asarray(scores or [0.9] * n, np.float32), np.arange(n, dtype=np.int64))


def ids(tracks: Tracks) -> list[int]:
    return [int(track) for track in tracks.ids]


def test_the_filter_equals_the_matrix_form() -> None:
    """Predict and correct against textbook matrices, for the x axis of one box."""
    rng = np.random.default_rng(0)
    box = np.array([[10.0, 20.0, 50.0, 60.0]])
    motion = started(box)
    for _ in range(5):
        dt = float(rng.uniform(0.05, 0.3))
        state = np.array([motion.place[0, 0], motion.speed[0, 0]])
        spread = np.array([[motion.pp[0, 0], motion.pv[0, 0]], [motion.pv[0, 0], motion.vv[0, 0]]])
        size = math.sqrt(motion.place[0, 2] * motion.place[0, 3])
        step = np.array([[1, dt], [0, 1]])
        push = (2.0 * size) ** 2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        state, spread = step @ state, step @ spread @ step.T + push
        box = box + rng.normal(0, 2, (1, 4)) + [5, 0, 5, 0]
        looked, noise = (box[0, 0] + box[0, 2]) / 2, (0.04 * math.sqrt(np.prod(box[0, 2:] - box[0, :2]))) ** 2
        gain = spread[:, 0] / (spread[0, 0] + noise)
        state = state + gain * (looked - state[0])
        spread = spread - np.outer(gain, spread[0])
        motion = corrected(predicted(motion, dt), box)
        np.testing.assert_allclose([motion.place[0, 0], motion.speed[0, 0]], state)
        np.testing.assert_allclose([motion.pp[0, 0], motion.pv[0, 0], motion.vv[0, 0]], spread[np.triu_indices(2)])


def test_a_track_is_shown_from_its_second_sighting_with_the_detections_own_columns() -> None:
    tracker = Tracker()
    assert len(tracker.update(0.0, seen((0, 0, 40, 30)))) == 0
    second = seen((300, 0, 20, 20), (2, 0, 40, 30))
    tracks = tracker.update(0.1, second)
    assert ids(tracks) == [1]
    np.testing.assert_array_equal(tracks.boxes, second.boxes[1:])
    np.testing.assert_array_equal(tracks.kinds, [1])
    assert ids(Tracker(confirm_hits=1).update(0.0, second)) == [1, 2]


def test_ids_belong_to_the_instance() -> None:
    for _ in range(2):
        tracker = Tracker(confirm_hits=1)
        assert ids(tracker.update(0.0, seen((0, 0, 40, 30)))) == [1]


def test_fast_small_vehicles_that_never_overlap_themselves_keep_their_ids() -> None:
    """Two vehicles 20 px wide, 24 px a frame, opposite lanes: no box overlaps that of the frame before."""
    tracker = Tracker()
    for n in range(30):
        tracks = tracker.update(n / 10, seen((24 * n, 100, 20, 14), (700 - 24 * n, 160, 20, 14)))
        assert n == 0 or ids(tracks) == [1, 2]


def test_crossing_vehicles_keep_their_ids_through_a_gap() -> None:
    """They meet in the middle, where one is hidden for half a second."""
    tracker = Tracker()
    last: Tracks | None = None
    for n in range(40):
        near, far = (10.0 * n, 100.0, 60.0, 40.0), (390 - 10.0 * n, 108.0, 50.0, 34.0)
        hidden = 17 <= n <= 21
        last = tracker.update(n / 10, seen(near) if hidden else seen(near, far))
    assert last is not None and ids(last) == [1, 2]
    assert tracker.finished() == []


def test_uneven_frame_times_do_not_break_a_track() -> None:
    tracker, rng, time = Tracker(), np.random.default_rng(0), 0.0
    shown = []
    for _ in range(60):
        time += float(rng.choice([0.04, 0.08, 0.4]))
        shown += ids(tracker.update(time, seen((150 * time, 50, 60, 40))))
    assert set(shown) == {1} and len(shown) == 59


def test_weak_boxes_continue_tracks_but_start_none() -> None:
    tracker = Tracker()
    for n in range(10):
        score = 0.9 if n < 3 else 0.2
        tracks = tracker.update(n / 10, seen((5 * n, 0, 40, 30), (300, 300, 40, 30), scores=[score, 0.2]))
    assert ids(tracks) == [1]
    assert len(tracker.update(1.0, seen((50, 0, 40, 30), scores=[0.05]))) == 0


def test_a_track_ends_after_max_age_and_is_reported_once() -> None:
    tracker = Tracker(max_age=0.5)
    for n in range(3):
        tracker.update(n / 10, seen((0, 0, 40, 30)))
    for n in range(3, 8):
        tracker.update(n / 10, no_detections())
        assert tracker.finished() == []
    tracker.update(0.85, no_detections())
    assert tracker.finished() == [1]
    assert tracker.finished() == []
    assert ids(tracker.update(0.9, seen((0, 0, 40, 30)))) == []
    assert ids(tracker.update(1.0, seen((0, 0, 40, 30)))) == [2]


def test_close_ends_confirmed_tracks_only_and_ids_go_on() -> None:
    tracker = Tracker()
    tracker.update(0.0, seen((0, 0, 40, 30)))
    tracker.update(0.1, seen((0, 0, 40, 30), (200, 0, 40, 30)))
    tracker.close()
    assert tracker.finished() == [1]
    tracker.update(5.0, seen((0, 0, 40, 30)))
    assert ids(tracker.update(5.1, seen((0, 0, 40, 30)))) == [2]


@pytest.mark.parametrize("jump", [-1e9, 0.0, -0.05, 1e9, math.nan, math.inf])
def test_a_clock_that_lies_neither_crashes_nor_loses_a_slow_vehicle(jump: float) -> None:
    tracker = Tracker()
    times = [n / 10 for n in range(10)] + [0.9 + jump + n / 10 for n in range(10)]
    for n, time in enumerate(times):
        tracks = tracker.update(time, seen((100 + n, 100, 60, 40)))
        assert n == 0 or ids(tracks) == [1]
    for _ in range(30):  # a clock that stands still still lets tracks end
        tracker.update(times[-1], no_detections())
    assert tracker.finished() == [1]


def test_what_drives_out_is_not_what_drives_in_at_the_same_place() -> None:
    def shown(picture: tuple[int, int] | None) -> set[int]:
        tracker = Tracker()
        out = [seen((x, 50, min(60, 400 - x), 40)) for x in range(200, 400, 10)]  # to the right, cut by the rim at 400
        back = [seen((x, 50, min(60, 400 - x), 40)) for x in range(390, 200, -10)]
        frames = [*out, no_detections(), *back]
        return {track for n, found in enumerate(frames) for track in ids(tracker.update(n / 10, found, picture))}

    assert shown((400, 300)) == {1, 2}
    assert shown(None) == {1}  # without the picture's size it cannot know


def test_boxes_that_are_empty_or_not_numbers_are_ignored() -> None:
    tracker = Tracker(confirm_hits=1)
    bad = Detections(
        np.asarray([[0, 0, 0, 10], [5, 5, 1, 9], [np.nan, 0, 5, 5], [0, 0, np.inf, 5], [0, 0, 9, 9]], np.float32),
        np.asarray([0.9, 0.9, 0.9, 0.9, np.nan], np.float32),
        np.zeros(5, np.int64),
    )
    for n in range(5):
        assert len(tracker.update(n / 10, bad)) == 0
    assert ids(tracker.update(1.0, seen((0, 0, 10, 10)))) == [1]


def test_memory_is_bounded_under_noise() -> None:
    tracker, rng = Tracker(confirm_hits=1, max_age=0.2), np.random.default_rng(0)
    for n in range(300):
        corners = rng.uniform(0, 5000, (40, 2))
        tracker.update(n / 10, seen(*[(x, y, 20, 20) for x, y in corners]))
        assert len(pickle.dumps(tracker)) < 100_000 + 8 * len(tracker.finished())
    assert len(tracker.finished()) <= ENDED_KEPT


@pytest.mark.parametrize(
    "wrong", [{"weak": 0.7}, {"strong": 1.5}, {"confirm_hits": 0}, {"max_age": 0.0}, {"buffer": -1}]
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refused, match="the tracker needs"):
        Tracker(**wrong)  # type: ignore[arg-type]
