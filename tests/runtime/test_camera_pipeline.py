"""One camera's part of a run: what a track gathers, which crops it wants, and how good a crop is."""

import itertools
from collections import Counter
from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from vreid.runtime.camera_pipeline import CameraPipeline, CropRules, SearchRules, ceiling_of, deserves, quality_of
from vreid.runtime.records import Detections, Frame, TrackSoFar, cut_out
from vreid.runtime.standing import StandingRules
from vreid.runtime.tracker import STANDING_AGE

ROAD = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)


def seen(
    index: int, *boxes: tuple[float, float, float, float], kind: int = 2, rate: float = 10.0
) -> tuple[Frame, Detections]:
    frame = Frame("cam1", index, index / rate, ROAD)
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(count, 0.75, np.float32), np.full(count, kind, np.int64)
    )
    return frame, found


def test_a_track_is_the_weighted_mean_of_its_crops_and_says_where_it_was() -> None:
    camera, random = CameraPipeline("cam1", CropRules()), np.random.default_rng(1)
    expected, weights = np.zeros(4), []
    kinds: Counter[int] = Counter()
    for index in range(3, 23):
        kind = 7 if index % 3 else 2
        wanted = camera.see(*seen(index, (2.0 * index + 5, 30, 2.0 * index + 45, 60), kind=kind))
        kinds[kind] += 1
        for want in wanted:
            feature = random.normal(size=4).astype(np.float32)
            expected += feature * want.quality**2
            weights.append(want.quality)
            camera.learn(want, feature)
    assert camera.finished() == []
    ((sighting, trace),) = camera.close()
    np.testing.assert_allclose(sighting.feature, expected / np.linalg.norm(expected), rtol=1e-5)
    assert (sighting.first_frame, sighting.last_frame) == (3, 22)  # the first too, parts when the second confirmed it
    assert (sighting.first_time, sighting.last_time) == pytest.approx((0.3, 2.2))
    assert sighting.crops == len(weights) and 5 <= len(weights) < 15
    assert sighting.quality == max(weights)
    assert sighting.kind == kinds.most_common(1)[0][0]
    assert trace.frames.tolist() == list(range(3, 23)) and trace.scores.tolist() == [0.75] * 20
    np.testing.assert_array_equal(trace.boxes[-1], [49, 30, 89, 60])
    assert camera.close() == [] and camera.open == {}


def test_an_open_track_is_reported_once_and_looked_up_when_its_evidence_has_doubled() -> None:
    camera, rules, found = CameraPipeline("cam1", CropRules(period=0.0, better=9.0)), SearchRules(0.2, 2.0, 1.5), []
    weights = []
    for index in range(30):
        for want in camera.see(*seen(index, (20, 30, 60, 60))):
            camera.learn(want, np.eye(3, dtype=np.float32)[0])
            weights.append(want.quality**2)
        found += [(now, sum(weights)) for now in camera.so_far(rules)]
    first, *later = found
    assert not first[0].search and first[0].track.crops == 1 and weights[0] < 0.2
    sums = [weight for now, weight in later if now.search]
    assert len(sums) == len(later) >= 3 and 0.2 <= sums[0] < 0.2 + weights[0]
    assert all(2 * low <= high < 2 * low + weights[0] * 1.1 for low, high in itertools.pairwise(sums))
    assert [now.stranger for now, _ in found] == [weight >= 1.5 for _, weight in found] and later[-1][0].stranger
    assert later[-1][0].box.tolist() == [20, 30, 60, 60] and later[-1][0].track.crops > 9


def test_what_is_no_vehicle_so_far_is_not_reported() -> None:
    camera, reported = CameraPipeline("cam1", CropRules(), least_travel=0.35), []
    for index in range(12):
        for want in camera.see(*seen(index, (20 + 3.0 * index, 30, 60 + 3.0 * index, 60), kind=-1)):
            camera.learn(want, np.ones(4, np.float32))
        reported += [(index, now.track.track) for now in camera.so_far(SearchRules())]
    assert reported and reported[0][0] >= 4


def test_a_wanted_crop_outlives_its_frame() -> None:
    camera, wanted = CameraPipeline("cam1", CropRules()), []
    for index in range(3):
        frame, found = seen(index, (20, 30, 60, 60))
        frame = Frame(frame.camera, frame.index, frame.time, ROAD.copy())
        wanted += camera.see(frame, found)
        frame.image[:] = 0  # as a decoder that uses its buffer again
    assert len(wanted) == 2
    np.testing.assert_array_equal(wanted[0].crop, ROAD[30:60, 20:60])


def test_what_was_never_embedded_is_no_sighting() -> None:
    camera = CameraPipeline("cam1", CropRules(least=16))
    for index in range(20):
        assert camera.see(*seen(index, (20, 30, 60, 42))) == []  # 12 pixels high
    assert camera.close() == [] and camera.open == {} and camera.ended == 0


def test_the_feature_of_a_track_that_has_ended_is_let_go() -> None:
    camera = CameraPipeline("cam1", CropRules())
    wanted = [want for index in range(3) for want in camera.see(*seen(index, (20, 30, 60, 60)))]
    camera.close()
    camera.learn(wanted[0], np.ones(4, np.float32))
    assert camera.open == {}


def test_a_vehicle_parked_for_days_costs_bounded_memory_and_few_crops() -> None:
    camera, embedded = CameraPipeline("cam1", CropRules(most=20), longest=40), 0
    for index in range(3000):
        for want in camera.see(*seen(index, (20, 30, 60, 60), (90, 30, 130, 60))):
            embedded += 1
            camera.learn(want, np.ones(4, np.float32))
    for track in camera.open.values():
        assert len(track.frames) == len(track.scores) == len(track.boxes) // 4 <= 40
        assert sum(track.kinds.values()) == 3000 and len(track.kinds) == 1
    assert embedded == 2 * 20
    for sighting, trace in camera.close():
        assert (sighting.first_frame, sighting.last_frame) == (0, 2999)
        assert sighting.last_time == pytest.approx(299.9)
        steps = np.diff(trace.frames)  # over its whole time, and the last
        assert trace.frames[0] == 0 and trace.frames[-1] == 2999 and len(set(steps[:-1].tolist())) == 1
        assert 20 <= len(trace.frames) == len(trace.boxes) == len(trace.scores) <= 41


def test_a_camera_that_comes_back_with_another_size_is_watched_on() -> None:
    camera = CameraPipeline("cam1", CropRules())
    camera.see(*seen(0, (20, 30, 60, 60)))
    large = np.zeros((480, 640, 3), np.uint8)
    found = Detections(np.array([[600, 400, 630, 440]], np.float32), np.ones(1, np.float32), np.full(1, 2, np.int64))
    wanted = [want for index in (1, 2, 3) for want in camera.see(Frame("cam1", index, index / 10, large), found)]
    assert [want.crop.shape for want in wanted] == [(40, 30, 3)] * 2
    assert wanted[0].quality > 0.15  # inside the new picture, so not cut off


@pytest.mark.parametrize(("least", "step", "parts"), [(0.35, 0.5, 0), (0.35, 3.0, 1), (0.0, 0.0, 1)])
def test_a_track_must_have_travelled_as_far_as_its_detector_asks(least: float, step: float, parts: int) -> None:
    camera = CameraPipeline("cam1", CropRules(), least_travel=least)
    for index in range(12):
        for want in camera.see(*seen(index, (20 + step * index, 30, 60 + step * index, 60), kind=-1)):
            camera.learn(want, np.ones(4, np.float32))
    assert len(camera.close()) == parts
    assert camera.open == {}


def watched(camera: CameraPipeline, frames: Iterable[tuple[Frame, Detections]]) -> list[tuple[float, TrackSoFar]]:
    """What a camera says of standing vehicles, and when; every crop has one feature."""
    found = []
    for frame, detections in frames:
        for want in camera.see(frame, detections):
            camera.learn(want, np.eye(3, dtype=np.float32)[0])
        found += [(frame.time, now) for now in camera.standing_now()]
    return found


PARKED, ELSEWHERE = (20.0, 30.0, 60.0, 60.0), (90.0, 30.0, 130.0, 60.0)


def test_a_vehicle_that_stands_is_one_track_and_is_reported_when_it_does_and_now_and_then() -> None:
    camera = CameraPipeline("gate", CropRules(), standing=StandingRules(10.0, 30.0), began=1e9)
    driving = [(2.0 * index - 40, 80.0, 2.0 * index, 110.0) for index in range(900)]
    frames = [seen(index, PARKED, *([driving[index]] if index < 100 else [])) for index in range(900)]
    said = watched(camera, frames)
    assert [time for time, _ in said] == pytest.approx([10.1, 40.1, 70.1], abs=0.11)
    assert {now.track.track for _, now in said} == {1} and said[0][1].trace is not None
    assert said[0][1].track.seen == pytest.approx(1e9 + said[0][0]) and said[0][1].box.tolist() == [20, 30, 60, 60]
    ends = {track.track: (track.first_time, track.last_time) for track, _ in [*camera.finished(), *camera.close()]}
    assert ends == {1: (0.0, pytest.approx(89.9)), 2: (0.0, pytest.approx(9.9))}


def test_what_passes_before_a_parked_vehicle_makes_no_new_one_of_it_and_it_may_leave() -> None:
    """For 30 s a bus stands before it: half of it, then nothing is seen; a car passes over its place meanwhile."""
    camera = CameraPipeline("gate", CropRules(), standing=StandingRules(10.0))
    frames = []
    for index in range(900):
        boxes = [PARKED]
        if 300 <= index < 600:
            boxes = [(42.0, 30.0, 60.0, 60.0)] if index < 305 or index >= 590 else []
        if 400 <= index < 430:
            boxes.append((8.0 * (index - 400) - 60, 32.0, 8.0 * (index - 400) - 10, 66.0))
        if index >= 700:  # it drives off
            boxes = [(20.0 + 3 * (index - 700), 30.0, 60.0 + 3 * (index - 700), 60.0)] if index < 730 else []
        frames.append(seen(index, *boxes))
    watched(camera, frames)
    ends = {
        track.track: (track.first_time, round(track.last_time, 1)) for track, _ in [*camera.finished(), *camera.close()]
    }
    assert len(ends) == 2 and ends[1] == (0.0, 72.9) and ends[2][0] >= 40


def test_a_vehicle_that_does_not_stand_is_not_waited_for() -> None:
    camera = CameraPipeline("gate", CropRules(), standing=StandingRules(10.0))
    frames = [seen(index, *([PARKED] if index < 80 or index > 110 else [])) for index in range(150)]
    watched(camera, frames)
    assert len([*camera.finished(), *camera.close()]) == 2
    assert not camera.tracker.standing


def test_a_parked_vehicle_that_is_gone_is_waited_for_a_minute() -> None:
    camera = CameraPipeline("gate", CropRules(), standing=StandingRules(10.0))
    frames = [seen(index, *([PARKED] if index < 150 else [])) for index in range(900)]
    ends = []
    for frame, detections in frames:
        watched(camera, [(frame, detections)])
        ends += [(frame.time, track.last_time) for track, _ in camera.finished()]
    assert ends == [(pytest.approx(14.9 + STANDING_AGE, abs=0.2), pytest.approx(14.9))]


FRAME = (200, 120)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (120, 200, 3)).astype(np.uint8)


def test_frames_that_the_detector_passes_by_get_the_boxes_between_two_sightings() -> None:
    """Every third frame is looked at; a vehicle that is missed once has no boxes there, and none after its last."""
    camera = CameraPipeline("cam1", CropRules())
    for index in range(0, 25):
        frame, found = seen(index, (2.0 * index, 30, 2.0 * index + 40, 60 + index))
        if index % 3:
            camera.pass_by(frame)
        elif index == 12:
            camera.see(*seen(index))
        else:
            for want in camera.see(frame, found):
                camera.learn(want, np.ones(4, np.float32))
    camera.pass_by(seen(25)[0])
    ((sighting, trace),) = camera.close()
    assert trace.frames.tolist() == [*range(0, 10), *range(15, 25)] and camera.frames == 26
    for index, edges in zip(trace.frames.tolist(), trace.boxes, strict=True):
        np.testing.assert_allclose(edges, [2 * index, 30, 2 * index + 40, 60 + index], atol=1e-3)
    assert (sighting.first_frame, sighting.last_frame, sighting.kind) == (0, 24, 2)


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
