"""The threshold that a site learns from certain strangers."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.manifest import Match
from vreid.runtime.judged_pairs import JudgedPair
from vreid.runtime.records import FinishedTrack, Floats, Trace
from vreid.runtime.site_evidence import BiasGain, Evidence, evidence_of
from vreid.runtime.site_threshold import SiteThreshold, never_overlap
from vreid.runtime.threshold import FixedThreshold
from vreid.runtime.topology import CameraPair, Layout, Topology

DIM = 32
MANIFEST = Match(threshold=0.6, false_match_rate=0.05, gallery=20)
APART = Topology(Layout(pair=(CameraPair(cameras=("a", "b"), least_s=5.0),)))
OVERLAPPING = Topology(Layout(pair=(CameraPair(cameras=("a", "b"), overlap=True),)))


def feature(rng: np.random.Generator, crowd: float) -> Floats:
    """(DIM,) of unit length; cosines of two of them are near `crowd`."""
    noise = rng.normal(size=DIM)
    row = np.sqrt(crowd) * np.eye(DIM)[0] * np.sqrt(DIM) + np.sqrt(1 - crowd) * noise
    return np.asarray(row / np.linalg.norm(row), np.float32)


def track(
    row: Floats, camera: str, number: int, first: float, last: float, left: float = 0.0
) -> tuple[FinishedTrack, Trace]:
    """A track that stands still at `left`, ten frames a second."""
    frames = np.arange(round(10 * first), round(10 * last) + 1)
    boxes = np.tile(np.array([left, 0, left + 50, 40], np.float32), (len(frames), 1))
    picture = np.zeros((4, 4, 3), np.uint8)
    ended = FinishedTrack(camera, number, int(frames[0]), int(frames[-1]), first, last, 2, row, 3, 0.5, picture)
    return ended, Trace(frames, boxes, np.ones(len(frames), np.float32))


def busy(threshold: SiteThreshold, crowd: float, count: int, seed: int = 0, camera: str = "a") -> None:
    """Pairs of vehicles of one camera, each pair at a moment of its own."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        first = 10.0 * (number // 2)
        threshold.observe(*track(feature(rng, crowd), camera, number, first, first + 2, 100.0 * (number % 2)))


def test_without_evidence_the_manifests_threshold_stands() -> None:
    level = SiteThreshold(MANIFEST).level("a", "a", 20)
    assert level.threshold == pytest.approx(0.6, abs=0.02)
    assert level.origin == "manifest"
    assert SiteThreshold(MANIFEST).level("a", "a", 2000).threshold > 0.75  # a larger gallery has more look-alikes
    assert SiteThreshold(MANIFEST, 0.001).level("a", "a", 20).threshold > 0.75
    assert (
        SiteThreshold(MANIFEST).level("a", "a", 1).threshold == 0.6
    )  # never under the manifest's before anything is seen


def test_strangers_that_are_alike_raise_the_threshold_of_their_cameras_only() -> None:
    threshold = SiteThreshold(MANIFEST)
    before = threshold.level("a", "a", 20).threshold
    heights = [before]
    for count in (10, 40, 160):
        threshold = SiteThreshold(MANIFEST)
        busy(threshold, 0.8, count)
        heights.append(threshold.level("a", "a", 20).threshold)
    assert min(heights[1:]) > 0.85
    assert threshold.level("a", "a", 20).origin == "site (80 pairs)"
    assert threshold.level("a", "b", 20).threshold == threshold.level("c", "c", 20).threshold == before
    few = SiteThreshold(MANIFEST)
    busy(few, 0.8, 4)
    assert few.level("a", "a", 20).origin == "manifest and site (2 pairs)"


@pytest.mark.parametrize("crowd", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_fresh_strangers_pass_no_more_often_than_requested(crowd: float, rate: float) -> None:
    passed = []
    for seed in range(8):
        threshold = SiteThreshold(MANIFEST, rate)
        busy(threshold, crowd, 120, seed)
        rng = np.random.default_rng(1000 + seed)
        gallery = np.stack([feature(rng, crowd) for _ in range(30)])
        queries = np.stack([feature(rng, crowd) for _ in range(100)])
        found = threshold.compare(queries, ["a"] * 100, gallery, ["a"] * 30, 30)
        passed.append((found.cosines >= found.least).any(axis=1).mean())
    assert np.mean(passed) <= rate + 2 * np.std(passed) / np.sqrt(len(passed))


def test_an_easier_site_lowers_the_threshold_slowly() -> None:
    heights = []
    for count in (40, 200, 800):
        threshold = SiteThreshold(Match(threshold=0.9, false_match_rate=0.05, gallery=20))
        busy(threshold, 0.0, count)
        heights.append(threshold.level("a", "a", 20).threshold)
    assert 0.9 > heights[0] > heights[1] > heights[2] > 0.5


def test_only_certain_strangers_count() -> None:
    rng = np.random.default_rng(0)
    rows = [feature(rng, 0.5) for _ in range(2)]

    def pairs(topology: Topology | None, *tracks: tuple[FinishedTrack, Trace]) -> int:
        threshold = SiteThreshold(MANIFEST, topology=topology)
        for one in tracks:
            threshold.observe(*one)
        return sum(row["pairs"] for row in threshold.summary(1)["cameras"])

    assert pairs(None, track(rows[0], "a", 1, 0, 2), track(rows[1], "a", 2, 1, 3, 100)) == 1
    assert pairs(None, track(rows[0], "a", 1, 0, 2), track(rows[1], "a", 2, 1, 3, 40)) == 0  # boxes overlap
    assert pairs(None, track(rows[0], "a", 1, 0, 2), track(rows[1], "a", 2, 3, 4, 100)) == 0  # one after the other
    assert pairs(None, track(rows[0], "a", 1, 0, 2), track(rows[1], "a", 1, 1, 3, 100)) == 0  # parts of one track
    at_once = track(rows[0], "a", 1, 0, 2), track(rows[1], "b", 1, 1, 3)
    assert pairs(None, *at_once) == pairs(OVERLAPPING, *at_once) == 0
    assert pairs(APART, *at_once) == 1
    assert pairs(APART, at_once[0], track(rows[1], "b", 1, 6, 8)) == 1  # nobody is so fast
    assert pairs(APART, at_once[0], track(rows[1], "b", 1, 60, 62)) == 0


def test_parked_vehicles_count_once_however_long_they_stand() -> None:
    rng = np.random.default_rng(0)
    threshold = SiteThreshold(MANIFEST)
    parked = [feature(rng, 0.5) for _ in range(2)]
    for minute in range(20):
        for number, row in enumerate(parked):
            threshold.observe(*track(row, "a", number, 60.0 * minute, 60.0 * minute + 59, 100.0 * number))
        for second in range(0, 50, 5):  # one after the other, through the boxes of those that stand
            passing = track(
                feature(rng, 0.5), "a", 100 + 60 * minute + second, 60.0 * minute + second, 60.0 * minute + second + 4
            )
            box = np.tile(np.array([0, 0, 200, 40], np.float32), (len(passing[1].frames), 1))
            threshold.observe(passing[0], Trace(passing[1].frames, box, passing[1].scores))
    assert [row["pairs"] for row in threshold.summary(1)["cameras"]] == [1]


def test_a_frozen_threshold_still_takes_off_what_a_vehicle_shares_with_its_kind() -> None:
    first = SiteThreshold(MANIFEST)
    busy(first, 0.7, 60)
    again = SiteThreshold(MANIFEST, kept=json.dumps({**json.loads(str(first.as_json())), "frozen": True}))
    busy(again, 0.7, 60)
    rng = np.random.default_rng(5)
    rows = np.stack([feature(rng, 0.7) for _ in range(8)])
    cameras = ["a"] * 8
    expected = first.compare(rows, cameras, rows, cameras, 20).cosines
    np.testing.assert_allclose(again.compare(rows, cameras, rows, cameras, 20).cosines, expected, atol=1e-6)


def test_boxes_are_compared_in_the_frames_that_two_tracks_share() -> None:
    one = Trace(np.array([1, 2, 3]), np.array([[0, 0, 10, 10]] * 3, np.float32), np.ones(3, np.float32))
    for left, expected in ((10.0, True), (9.0, False)):
        boxes = np.array([[50, 0, 60, 10], [left, 0, left + 9, 10], [0, 0, 10, 10]], np.float32)
        assert never_overlap(one, Trace(np.array([2, 3, 4]), boxes, np.ones(3, np.float32))) is expected
    assert not never_overlap(one, Trace(np.array([7]), np.array([[90, 0, 99, 9]], np.float32), np.ones(1, np.float32)))


def test_what_was_learnt_is_kept_and_read_again() -> None:
    first = SiteThreshold(MANIFEST)
    assert first.as_json() is None
    busy(first, 0.7, 60)
    kept = first.as_json()
    assert kept is not None and first.as_json() is None  # nothing new
    again = SiteThreshold(MANIFEST, kept=kept)
    assert again.level("a", "a", 20) == first.level("a", "a", 20)
    assert again.summary(5) == first.summary(5)
    busy(again, 0.7, 60, 1, "a")
    assert json.loads(str(again.as_json()))["pairs"][0]["pairs"] == 60


def test_a_calibration_during_a_run_is_not_lost_by_what_the_run_keeps() -> None:
    run = SiteThreshold(MANIFEST)
    busy(run, 0.7, 60)
    kept = run.as_json()
    assert kept is not None
    pairs, gain = [JudgedPair(("a", "b"), 0.7, 0.02, True)], BiasGain(0.05, 40, 30, 35, 10, 1, 1)
    calibrated = replace(evidence_of(kept), judged=pairs, gain=gain).as_text()  # by another program
    busy(run, 0.7, 60, 1)
    run.follow(calibrated)
    later = run.as_json()
    assert later is not None and later != kept
    assert (evidence_of(later).judged, evidence_of(later).gain) == (pairs, gain)


def test_a_frozen_threshold_learns_nothing() -> None:
    first = SiteThreshold(MANIFEST)
    busy(first, 0.7, 60)
    kept = json.loads(str(first.as_json()))
    again = SiteThreshold(MANIFEST, kept=json.dumps({**kept, "frozen": True}))
    busy(again, 0.9, 60, 1)
    assert again.level("a", "a", 20) == first.level("a", "a", 20)
    assert again.summary(1)["calibrated"] == "frozen"


def test_a_threshold_may_be_frozen_before_anything_was_learnt() -> None:
    text = Evidence(frozen=True).as_text()
    threshold = SiteThreshold(MANIFEST, kept=text)
    busy(threshold, 0.9, 60)
    assert threshold.level("a", "a", 20).origin == "manifest" and threshold.as_json() is None
    assert evidence_of(text).frozen and not evidence_of(text).empty and Evidence().empty


def test_means_of_another_length_are_refused_before_they_are_used() -> None:
    first = SiteThreshold(MANIFEST)
    busy(first, 0.7, 20)
    kept = first.as_json()
    SiteThreshold(MANIFEST, kept=kept, dim=DIM)
    with pytest.raises(Refused, match=r"a mean of 32 numbers, and features have 8.*--reset"):
        SiteThreshold(MANIFEST, kept=kept, dim=8)


def damaged(**changes: Any) -> str:
    first = SiteThreshold(MANIFEST)
    busy(first, 0.7, 6)
    data = json.loads(str(first.as_json()))
    for key, value in changes.items():
        place = data if key in data else data["pairs"][0]
        place[key] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        damaged(version=2),
        damaged(counts={"0": -1}),
        damaged(counts={"99999": 1}),
        damaged(counts={"-1": 1}),
        damaged(counts={"7": float("nan")}),
        damaged(tracks=0),
        damaged(tracks=float("inf")),
        damaged(pairs=[{}]),
        damaged(cameras=["a"]),
        damaged(cameras=[{"camera": "a", "tracks": 3, "mean": "!"}]),
    ],
)
def test_damaged_evidence_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(Refused, match=r"this site's threshold is damaged.*--reset"):
        SiteThreshold(MANIFEST, kept=text)


def test_wrong_rates_are_refused() -> None:
    for rate in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(Refused, match="false-match rate"):
            SiteThreshold(MANIFEST, rate)
    with pytest.raises(Refused, match="a cosine from -1 to 1"):
        FixedThreshold(1.5)


def test_old_evidence_fades() -> None:
    threshold = SiteThreshold(MANIFEST)
    busy(threshold, 0.8, 3000)
    [row] = threshold.summary(20)["cameras"]
    assert threshold.levels(20)["a", "a"].threshold == pytest.approx(row["threshold"], abs=1e-4)
    assert row["tracks"] <= 1000 and row["threshold"] > 0.85
