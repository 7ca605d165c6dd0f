"""Tracks become vehicles: known ones by the threshold, new ones once, and never two tracks of one camera at once; clustering."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.manifest import Match as Manifest
from vreid.runtime.clustering import clustered
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.recent_positions import RecentPositions
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.topology import Layout, Topology, span_of

DIM = 16


def opened(path: Path, write: bool = True) -> Gallery:
    return open_gallery(path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=write)


def vehicle(number: int, noise: float = 0.0, seed: int = 0) -> Floats:
    """Features of one vehicle are near one axis; those of two are almost orthogonal."""
    row = np.eye(DIM)[number] + noise * np.random.default_rng(seed).normal(size=DIM) / np.sqrt(DIM)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def track(feature: Floats, camera: str, number: int, first: float, last: float) -> FinishedTrack:
    picture = np.zeros((8, 8, 3), np.uint8)
    return FinishedTrack(camera, number, int(first), int(last), first, last, 2, feature, 3, 0.5, picture)


def toward(cosine: float, one: int = 0, other: int = 1) -> Floats:
    """A unit feature of this cosine to the axis `one`."""
    return np.asarray(cosine * np.eye(DIM)[one] + np.sqrt(1 - cosine**2) * np.eye(DIM)[other], np.float32)


# One at a time


def test_the_threshold_decides_known_or_unknown(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        taxi = gallery.add_vehicle("taxi")
        gallery.add_prototype(taxi, "gate", vehicle(0))
        identifier = Identifier(gallery, 0.6)
        known = identifier.identify(track(toward(0.61), "a", 1, 0, 1))
        assert (known.vehicle, known.name, known.known) == (taxi, "taxi", True)
        assert known.score == pytest.approx(0.61, abs=1e-6)
        unknown = identifier.identify(track(toward(0.59), "a", 2, 5, 6))
        assert (unknown.vehicle, unknown.name, unknown.known) == (None, None, False)
        assert unknown.score == pytest.approx(0.59, abs=1e-6)
        stats = gallery.stats()
        assert (stats.vehicles, stats.prototypes, stats.sightings) == (1, 1, 1)


def test_a_removed_vehicle_leaves_no_feature_in_what_a_site_has_learnt(tmp_path: Path) -> None:
    """The mean of a camera with one track is that track's feature."""
    rule = SiteThreshold(Manifest(threshold=0.6, false_match_rate=0.05, gallery=20), dim=DIM)
    seen = track(vehicle(3, 0.3), "a", 1, 0, 5)
    frames = np.arange(6)
    trace = Trace(frames, np.tile(np.array([0, 0, 9, 9], np.float32), (6, 1)), np.ones(6, np.float32))
    other = replace(trace, boxes=trace.boxes + 50)
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, rule, enrol_unknown=True)
        for one, boxes in ((seen, trace), (track(vehicle(5), "a", 2, 0, 5), other)):
            identifier.observe(one, boxes)
            identifier.identify(one)
        identifier.maintain()
        assert identifier.scoring.levels["a", "a"].pairs == 1
        kept = str(gallery.site_threshold())
        assert json.loads(kept)["pairs"][0]["pairs"] == 1 and json.loads(kept)["cameras"] == []
        gallery.remove(1)
        gallery.wipe()
    for row in (seen.feature, seen.feature.astype(np.float16)):
        for written in (row.tobytes(), base64.b64encode(row.tobytes())):
            assert not any(written in file.read_bytes() for file in tmp_path.iterdir())


def test_a_stranger_is_enrolled_once_and_known_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        first = Identifier(gallery, 0.6, enrol_unknown=True).identify(track(vehicle(3), "a", 1, 0, 5))
        assert (first.vehicle, first.name, first.score, first.known) == (1, "vehicle-0001", -np.inf, False)
    with opened(tmp_path) as gallery:
        again = Identifier(gallery, 0.6, enrol_unknown=True).identify(track(vehicle(3, 0.3), "b", 1, 0, 5))
        assert (again.vehicle, again.known) == (1, True)
        assert gallery.vehicles()[0].cameras == ("a", "b")


def test_one_camera_does_not_show_a_vehicle_twice_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        best, second = gallery.add_vehicle(), gallery.add_vehicle()
        gallery.add_prototype(best, "x", vehicle(0))
        gallery.add_prototype(second, "x", toward(0.8))
        identifier = Identifier(gallery, 0.6)
        assert identifier.identify(track(vehicle(0), "a", 1, 0, 10)).vehicle == best
        assert identifier.identify(track(vehicle(0), "a", 2, 10, 12)).vehicle == second  # the next best
        third = identifier.identify(track(vehicle(0), "a", 3, 9, 11))  # none is left
        assert (third.vehicle, third.known, third.score) == (None, False, -np.inf)
        assert identifier.identify(track(vehicle(0), "b", 1, 0, 10)).vehicle == best  # another camera
        assert identifier.identify(track(vehicle(0), "a", 4, 10.5, 11)).vehicle == best  # another time
        assert identifier.identify(track(vehicle(0), "a", 4, 10.5, 13)).vehicle == best  # the same track, growing


def test_more_busy_vehicles_than_a_first_search_shows(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.5)
        for _ in range(40):
            gallery.add_prototype(gallery.add_vehicle(), "x", vehicle(0))
        given = [identifier.identify(track(vehicle(0), "a", number, 0, 10)).vehicle for number in range(41)]
        assert given == [*range(1, 41), None]


def test_only_a_confident_match_teaches(tmp_path: Path) -> None:
    for learn, cosine, prototypes in ((True, 0.75, 2), (True, 0.65, 1), (False, 0.75, 1)):
        folder = tmp_path / f"{learn} {cosine}"
        folder.mkdir()
        with opened(folder) as gallery:
            gallery.add_prototype(gallery.add_vehicle(), "x", vehicle(0))
            identifier = Identifier(gallery, 0.6, learn=learn, margin=0.25)
            assert identifier.identify(track(toward(cosine), "a", 1, 0, 1)).known
            assert gallery.stats().prototypes == prototypes


def test_wrong_wishes_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        with pytest.raises(Refused, match="cosine"):
            Identifier(gallery, 1.5)
        with pytest.raises(Refused, match="use the gallery's own model"):
            Identifier(gallery, 0.5).identify(track(np.ones(3, np.float32), "a", 1, 0, 1))
    with opened(tmp_path, write=False) as gallery:
        with pytest.raises(Refused, match="for writing"):
            Identifier(gallery, 0.5, enrol_unknown=True)
        assert not Identifier(gallery, 0.5).identify(track(vehicle(0), "a", 1, 0, 1)).known


def test_recent_positions_are_bounded() -> None:
    recent = RecentPositions(remember_s=60)
    for second in range(10_000):
        recent.put(second, track(vehicle(0), "a", second, second, second + 2))
    assert len(recent) < 1100
    assert recent.bars(9_990, [track(vehicle(0), "a", -1, 9_991, 9_995)])


@pytest.mark.parametrize("enrol", [True, False])
def test_one_track_is_decided_as_a_batch_of_one(tmp_path: Path, enrol: bool) -> None:
    tracks = [replace(one, plate="AB 1" if row % 5 == 0 else None) for row, one in enumerate(scene(3)[0])]
    matches = []
    for way in ("identify", "assign"):
        (tmp_path / way).mkdir()
        with opened(tmp_path / way) as gallery:
            for number in range(4):
                gallery.add_prototype(gallery.add_vehicle(), "x", vehicle(number))
            identifier = Identifier(gallery, 0.6, enrol_unknown=enrol, new_below=0.5)
            decide = identifier.identify if way == "identify" else lambda one, to=identifier: to.assign([one])[0]
            matches.append([decide(one) for one in sorted(tracks, key=lambda one: one.last_time)])
            assert gallery.stats().sightings == sum(match.vehicle is not None for match in matches[-1])
    assert matches[0] == matches[1]
    assert any(match.vehicle is not None for match in matches[0])


# Jointly


def scene(seed: int, cameras: int = 3, vehicles: int = 8) -> tuple[list[FinishedTrack], list[int]]:
    """Every vehicle passes every camera once or twice; the truth is the vehicle of each track."""
    rng = np.random.default_rng(seed)
    tracks, truth = [], []
    for camera in range(cameras):
        for number in range(vehicles):
            for time in rng.uniform(0, 500, size=int(rng.integers(1, 3))) + np.array([0, 600])[:2]:
                feature = vehicle(number, 0.5, int(rng.integers(1 << 30)))
                tracks.append(track(feature, f"c{camera}", len(tracks), float(time), float(time) + 20))
                truth.append(number)
                if rng.random() < 0.5:
                    break
    return tracks, truth


def test_joint_assignment_finds_the_vehicles_whatever_the_order(tmp_path: Path) -> None:
    tracks, truth = scene(0)
    answers = []
    for attempt in range(3):
        order = np.random.default_rng(attempt).permutation(len(tracks))
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with opened(folder) as gallery:
            matches = Identifier(gallery, 0.6, enrol_unknown=True).assign([tracks[row] for row in order])
            assert gallery.stats().sightings == len(tracks)
        back: dict[int, Match] = dict(zip(order.tolist(), matches, strict=True))
        answers.append([back[row] for row in range(len(tracks))])
    assert answers[0] == answers[1] == answers[2]
    found = {(match.vehicle, number) for match, number in zip(answers[0], truth, strict=True)}
    assert len(found) == len({number for number in truth}) == 8  # one vehicle each, both ways
    assert sum(not match.known for match in answers[0]) == 8  # each was unknown once
    assert all(match.score >= 0.6 for match in answers[0] if match.known)


@pytest.mark.parametrize("seed", range(5))
def test_no_camera_ever_shows_a_vehicle_as_two_tracks_at_once(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracks = []
    for number in range(60):  # hardly distinct features and crowded cameras
        first = float(rng.integers(0, 40))
        feature = vehicle(int(rng.integers(0, 3)), 0.8, number)
        tracks.append(track(feature, f"c{rng.integers(0, 2)}", number, first, first + 5))
    with opened(tmp_path) as gallery:
        for number in range(3):
            gallery.add_prototype(gallery.add_vehicle(), "x", vehicle(number))
        identifier = Identifier(gallery, 0.3, enrol_unknown=True)
        matches = identifier.assign(tracks[:30]) + [identifier.identify(one) for one in tracks[30:45]]
        matches += identifier.assign(tracks[45:])
        apart = Topology().all_apart([span_of(one) for one in tracks])
        assert apart.sum() > 100
        for one, other in np.argwhere(apart):
            assert matches[one].vehicle != matches[other].vehicle
        assert gallery.stats().sightings == 60


def test_joint_assignment_prefers_the_surer_of_two_claims(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        taxi = gallery.add_vehicle("taxi")
        gallery.add_prototype(taxi, "x", vehicle(0))
        early, late = track(toward(0.7, 0, 1), "a", 1, 0, 10), track(toward(0.9, 0, 2), "a", 2, 5, 15)
        matches = Identifier(gallery, 0.6).assign([early, late])
        assert [match.vehicle for match in matches] == [None, taxi]
        assert Identifier(gallery, 0.6).identify(early).vehicle == taxi  # first come, first served


def test_a_failed_assignment_leaves_nothing(tmp_path: Path) -> None:
    tracks, _ = scene(1)
    broken = [*tracks, replace(track(vehicle(0), "late", 1, 900, 901), last_time=float("nan"))]
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.6, enrol_unknown=True)
        with pytest.raises(Refused):
            identifier.assign(broken)
        assert gallery.stats().vehicles == 0
        assert gallery.search(vehicle(0)[None], 1) == [[]]
        assert all(match.vehicle for match in identifier.assign(tracks))


def test_one_at_a_time_is_the_rule_written_out(tmp_path: Path) -> None:
    tracks, _ = scene(2, cameras=2)
    held: list[Floats] = []  # one prototype a vehicle
    given: list[tuple[int, FinishedTrack]] = []
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.65, enrol_unknown=True, learn=False)
        for one in sorted(tracks, key=lambda each: each.last_time):
            free = {
                number: float(row @ one.feature)
                for number, row in enumerate(held, 1)
                if not any(
                    who == number
                    and (other.camera == one.camera)
                    and other.first_time <= one.last_time
                    and one.first_time <= other.last_time
                    for who, other in given
                )
            }
            best = max(free, key=lambda number: free[number], default=None)
            known = best is not None and free[best] >= 0.65
            match = identifier.identify(one)
            assert (match.vehicle, match.known) == (best if known else len(held) + 1, known)
            if not known:
                held.append(one.feature)
            given.append((match.vehicle or 0, one))


# Evidence besides looks


def plated(plate: str | None, feature: Floats, camera: str, number: int, first: float) -> FinishedTrack:
    return replace(track(feature, camera, number, first, first + 1), plate=plate)


def test_a_plate_joins_what_does_not_look_alike_and_parts_what_does(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.6, enrol_unknown=True)
        tracks = [
            plated("AB 1", vehicle(0), "a", 1, 0),
            plated("AB 1", vehicle(1), "b", 1, 10),  # the rear, say
            plated("XY 9", vehicle(0), "b", 2, 20),  # a twin
            plated(None, vehicle(0), "b", 3, 30),  # unread: looks alone
        ]
        one, two, twin, unread = identifier.assign(tracks)
        assert one.vehicle == two.vehicle and twin.vehicle not in (None, one.vehicle) and unread.vehicle is not None
        later = identifier.identify(plated("XY 9", vehicle(5), "c", 1, 100))
        assert (later.vehicle, later.known) == (twin.vehicle, True) and later.score < 0.6
        assert identifier.identify(plated("NEW 3", vehicle(1), "c", 2, 200)).vehicle == gallery.stats().vehicles


def test_between_the_two_thresholds_a_vehicle_is_neither_known_nor_new(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.6, enrol_unknown=True, new_below=0.4)
        identifier.identify(track(vehicle(0), "a", 1, 0, 1))
        between = identifier.identify(track(toward(0.5), "a", 2, 10, 11))
        assert (between.vehicle, between.known) == (None, False) and between.score == pytest.approx(0.5, abs=1e-6)
        assert identifier.identify(track(toward(0.39), "a", 3, 20, 21)).vehicle == 2
        with pytest.raises(Refused, match="new below"):
            Identifier(gallery, 0.6, new_below=0.7)


def test_nobody_drives_faster_than_the_topology_allows(tmp_path: Path) -> None:
    ways = Topology(Layout.model_validate({"pair": [{"cameras": ("a", "b"), "least_s": 5, "most_s": 60}]}))
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.6, enrol_unknown=True, topology=ways)
        first, soon = identifier.assign([track(vehicle(0), "a", 1, 0, 10), track(vehicle(0), "b", 1, 12, 20)])
        assert (first.vehicle, soon.vehicle) == (1, 2)
        assert identifier.identify(track(vehicle(0), "b", 2, 30, 31)).vehicle in (1, 2)
        assert identifier.identify(track(vehicle(0), "b", 3, 500, 501)).vehicle in (1, 2)  # from b to b nothing is said
    with opened(tmp_path) as gallery:  # and after a restart, once it is recalled
        again = Identifier(gallery, 0.6, topology=ways)
        again.recall(0.0)
        assert gallery.stats().sightings == 4 and again.identify(track(vehicle(0), "b", 9, 600, 601)).known


def test_the_parts_of_one_track_are_one_vehicle(tmp_path: Path) -> None:
    with opened(tmp_path) as gallery:
        identifier = Identifier(gallery, 0.6, enrol_unknown=True)
        one = identifier.identify(track(vehicle(0), "a", 1, 0, 60))
        two = identifier.identify(track(toward(0.1), "a", 1, 60, 120))  # a lorry has parked before it
        assert (two.vehicle, two.known) == (one.vehicle, True)
        assert identifier.identify(track(vehicle(0), "a", 2, 100, 130)).vehicle != one.vehicle


def test_the_next_part_of_a_track_whose_vehicle_was_removed_is_looked_up(tmp_path: Path) -> None:
    """By another program, as from the gallery's page, while this one only reads."""
    with opened(tmp_path) as writer:
        taxi, bus = (writer.add_vehicle(name) for name in ("taxi", "bus"))
        writer.add_prototype(taxi, "gate", vehicle(0))
        writer.add_prototype(bus, "gate", toward(0.8))
        with opened(tmp_path, write=False) as gallery:
            identifier = Identifier(gallery, 0.6)
            assert identifier.identify(track(vehicle(0), "a", 1, 0, 60)).vehicle == taxi
            writer.remove(taxi)
            later = identifier.identify(track(vehicle(0), "a", 1, 60, 120))
            assert (later.vehicle, later.name, later.known) == (bus, "bus", True)
            writer.remove(bus)
            [last] = identifier.assign([track(vehicle(0), "a", 1, 120, 180)])
            assert (last.vehicle, last.known) == (None, False)


def naive_clusters(features: Floats, apart: NDArray[np.bool_], threshold: float) -> list[list[int]]:
    """Average linkage as it is written: every pair of clusters, every pair of members, again after each joining."""
    cosines, clusters = features.astype(float) @ features.astype(float).T, [[row] for row in range(len(features))]
    while True:
        best = (threshold, 0, 0)
        for one in range(len(clusters)):
            for other in range(one + 1, len(clusters)):
                block = np.ix_(clusters[one], clusters[other])
                if not apart[block].any() and cosines[block].mean() >= best[0]:
                    best = (float(cosines[block].mean()), one, other)
        _, one, other = best
        if one == other:
            return [sorted(cluster) for cluster in clusters]
        clusters[one] += clusters.pop(other)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 30])
def test_clusters_are_those_of_plain_average_linkage(count: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(count, 4)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        apart = np.triu(rng.random((count, count)) < 0.15, 1)
        apart |= apart.T
        cosines = features.astype(np.float64) @ features.T.astype(np.float64)
        assert clustered(cosines, np.full_like(cosines, 0.5), apart) == naive_clusters(features, apart, 0.5)
