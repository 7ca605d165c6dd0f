"""The cameras' bias is taken off unless confirmed pairs show that raw features find more: where it helps, and where it hurts."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.manifest import Match
from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.doubts import calibrate, confirm, doubtful, reject
from vreid.runtime.gallery.maintenance import freeze_threshold
from vreid.runtime.identify import Identifier
from vreid.runtime.judged_pairs import FEWEST
from vreid.runtime.records import FinishedTrack, Floats, Trace
from vreid.runtime.site_evidence import BiasGain, Evidence, evidence_of
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold_summary import about_bias, notes
from vreid.runtime.topology import CameraPair, Layout, Topology

DIM = 32
POINT = Match(threshold=0.6, false_match_rate=0.05, gallery=20)
APART = Topology(Layout(pair=(CameraPair(cameras=("gate", "yard"), least_s=20.0),)))
Passage = tuple[float, str, int, Floats]  # time, camera, vehicle, feature


def unit(row: Floats) -> Floats:
    return np.asarray(row / np.linalg.norm(row), np.float32)


def lit_road(count: int, seed: int) -> list[Passage]:
    """Every vehicle passes the gate and then the yard, under another light: the mean of a camera says nothing of a vehicle."""
    rng, road = np.random.default_rng(seed), []
    for number in range(count):
        own = unit(rng.normal(size=DIM))
        gate, yard = (unit(own + 0.9 * np.eye(DIM)[one] + 0.08 * rng.normal(size=DIM)) for one in (0, 1))
        road += [(5.0 * number, "gate", number, gate), (5.0 * number + 60, "yard", number, yard)]
    return sorted(road, key=lambda one: one[0])


def crowded_road(count: int, seed: int) -> list[Passage]:
    """Buses pass the gate alone, taxis the yard alone, and one of five vehicles, of any look, both: the mean of a camera is of what
    passes there."""
    rng, road = np.random.default_rng(seed), []
    for number in range(count):
        kind = (0, 0, 1, 1, None)[number % 5]
        own = unit(rng.normal(size=DIM)) + (0 if kind is None else 1.5 * np.eye(DIM)[kind])
        gate, yard = (unit(own + 0.1 * rng.normal(size=DIM)) for _ in range(2))
        if kind != 1:
            road.append((5.0 * number, "gate", number, gate))
        if kind != 0:
            road.append((5.0 * number + 60, "yard", number, yard))
    return sorted(road, key=lambda one: one[0])


def opened(path: Path) -> Gallery:
    return open_gallery(path, fingerprint="aaaaaaaa", dim=DIM, model="small", write=True)


def play(path: Path, road: list[Passage], start: int = 0) -> dict[int, int]:
    """Each passage identified when it ends; how often a vehicle that came back was found, by number of its passage."""
    found, ids = {}, {}
    with opened(path) as gallery:
        rule = SiteThreshold(POINT, 0.05, APART, gallery.site_threshold(), DIM)
        identifier = Identifier(gallery, rule, enrol_unknown=True, topology=APART)
        for number, (time, camera, vehicle, feature) in enumerate(road, start):
            frames = np.arange(round(10 * time), round(10 * time) + 80)
            boxes = np.tile(np.array([100.0 * (number % 4), 0, 100.0 * (number % 4) + 50, 40], np.float32), (80, 1))
            track = FinishedTrack(
                camera, number, int(frames[0]), int(frames[-1]), time, time + 8, 2, feature, 1, 0.8,
                np.zeros((8, 8, 3), np.uint8), 1000 + time,
            )  # fmt: skip
            identifier.observe(track, Trace(frames, boxes, np.ones(80, np.float32)))
            given = identifier.identify(track)
            if vehicle in ids:
                found[number] = int(given.known and given.vehicle == ids[vehicle])
            ids.setdefault(vehicle, given.vehicle)
        identifier.keep()
    return found


def answer(gallery: Gallery, road: list[Passage], most: int = 1000) -> None:
    """Judge doubtful sightings as somebody does who knows every vehicle."""
    for _ in range(most):
        if not (waiting := doubtful(gallery)):
            return
        first: dict[int, int] = {}  # the vehicle that each of the gallery's began with
        of: dict[int, int] = {}
        for vehicle in gallery.vehicles(thumbnails=False):
            seen = sorted(gallery.sightings(vehicle.id), key=lambda one: one.id)
            of |= {one.id: road[one.track][2] for one in seen}
            first[vehicle.id] = of[seen[0].id]
        doubt = waiting[0]
        own = of[doubt.sighting]
        right = [one.vehicle for one in doubt.candidates if one.vehicle != doubt.vehicle and first[one.vehicle] == own]
        if right:
            confirm(gallery, doubt.sighting, right[0])
        elif first[doubt.vehicle] == own:
            confirm(gallery, doubt.sighting)
        else:
            reject(gallery, doubt.sighting)


LIT, CROWDED = lit_road(40, 0), crowded_road(80, 0)


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lit") / "g.db"
    play(path, LIT)
    return path


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crowded") / "g.db"
    play(path, CROWDED)
    return path


def calibrated(path: Path, road: list[Passage]) -> BiasGain:
    """Answer what is doubtful, and let the thresholds rest on it."""
    with opened(path) as gallery:
        answer(gallery, road)
        return calibrate(gallery).bias_gain


def test_a_sighting_is_doubtful_too_where_the_two_rules_disagree(crowded: Path) -> None:
    """Beside those near the threshold, which alone move it; without these, only what is near by the rule in use would be tried."""
    with opened(crowded) as gallery:
        doubts = [change.detail for change in gallery.changes() if change.verb == "doubt"]
    apart = [detail for detail in doubts if not detail["near"]]
    assert apart and all(detail["candidates"][0]["rate"] > 4 * 0.05 for detail in apart)
    with opened(crowded) as gallery:
        freeze_threshold(gallery, True)
        rule = SiteThreshold(POINT, 0.05, APART, gallery.site_threshold(), DIM)
        freeze_threshold(gallery, False)
    assert rule_of(crowded).has_other("yard", "gate") and not rule.has_other("yard", "gate")


def rule_of(path: Path) -> SiteThreshold:
    with opened(path) as gallery:
        return SiteThreshold(POINT, 0.05, APART, gallery.site_threshold(), DIM)


def test_where_light_differs_the_bias_is_taken_off(tmp_path: Path, lit: Path) -> None:
    path = Path(copyfile(lit, tmp_path / "g.db"))
    gain = calibrated(path, LIT)
    assert gain.confirmed >= FEWEST and gain.confirmed_without > gain.confirmed_raw and gain.used
    summary = rule_of(path).summary(40)
    assert summary["bias_taken_off"] is True and summary["bias_gain"]["confirmed"] == gain.confirmed
    said = notes(summary, 2)
    assert any(
        f"bias is taken off: of {gain.confirmed} confirmed pairs {gain.confirmed_without} are found without it and "
        f"{gain.confirmed_raw} by raw features, at 5 % false matches" in line
        for line in said
    )


def test_where_cameras_see_other_kinds_of_vehicles_raw_features_are_compared_and_find_more(
    tmp_path: Path, crowded: Path
) -> None:
    path, before = (Path(copyfile(crowded, tmp_path / name)) for name in ("g.db", "before.db"))
    gain = calibrated(path, CROWDED)
    assert gain.confirmed >= FEWEST and gain.confirmed_raw > gain.confirmed_without and not gain.used
    rule = rule_of(path)
    summary = rule.summary(40)
    both = next(row for row in summary["cameras"] if row["cameras"] == ["gate", "yard"])
    assert summary["bias_taken_off"] is False and both["threshold"] == both["raw"]["threshold"]
    assert both["raw"]["pairs"] == both["without_bias"]["pairs"] > 0
    assert both["raw"]["threshold"] < both["without_bias"]["threshold"]  # buses and taxis without what sets them apart
    assert any("would be taken off them" in line for line in notes(summary, 2))
    # two new tracks: the neighbourhood is empty, so that what is compared is the plain cosine
    gate, yard = CROWDED[-1][3], CROWDED[0][3]
    cosine = rule.compare(gate[None], ["gate"], yard[None], ["yard"], 20).cosines[0, 0]
    assert cosine == pytest.approx(float(gate @ yard), abs=1e-6)
    more = [(time + 1000, camera, vehicle, feature) for time, camera, vehicle, feature in crowded_road(60, 1)]
    found = [sum(play(one, more, len(CROWDED)).values()) for one in (path, before)]
    assert found[0] > found[1]


def test_few_confirmed_pairs_decide_nothing_and_an_earlier_decision_stands(tmp_path: Path, crowded: Path) -> None:
    path = Path(copyfile(crowded, tmp_path / "g.db"))
    with opened(path) as gallery:
        answer(gallery, CROWDED, 3)
        with pytest.raises(Refused, match="judged pairs are too few"):
            calibrate(gallery)
        with pytest.raises(Refused, match="a false-match rate of 2 is"):
            calibrate(gallery, 2)
        answer(gallery, CROWDED)
        decided = calibrate(gallery).bias_gain
        assert decided.decided and not decided.used
        with gallery.transaction() as store:
            store.delete_sightings(1e9)  # as a purge does; the answers stay
        assert calibrate(gallery).bias_gain == decided
    assert not rule_of(path).summary(1)["bias_taken_off"]


def test_a_tie_and_too_little_leave_it_as_it_was() -> None:
    gain = BiasGain(0.05, 20, 11, 11, 5, 1, 0)
    assert gain.used and BiasGain(0.05, FEWEST - 1, 9, 0, 0, 0, 0).used
    assert not BiasGain(0.05, FEWEST, 9, 8, 0, 0, 0).used
    assert about_bias(None, True).startswith(
        "Whether taking off the cameras' bias helps here is not known: 0 confirmed"
    )
    assert "(of 5 rejected pairs 0 and 1)" in about_bias(gain.__dict__, True)


def test_what_older_runs_kept_has_no_raw_counts_and_is_read(lit: Path) -> None:
    with opened(lit) as gallery:
        text = str(gallery.site_threshold())
    data = json.loads(text)
    assert evidence_of(text).as_text() == text and all("raw" in row for row in data["pairs"])
    for row in data["pairs"]:
        del row["raw"]
    rule = SiteThreshold(POINT, topology=APART, kept=json.dumps(data), dim=DIM)
    assert rule.level("yard", "gate", 20) == SiteThreshold(POINT, topology=APART, kept=text, dim=DIM).level(
        "yard", "gate", 20
    )
    assert not rule.has_other("yard", "gate") and {row["raw"] for row in rule.summary(20)["cameras"]} == {None}


def test_the_mean_of_the_other_tracks_is_that_of_a_bias_that_never_saw_these() -> None:
    rng = np.random.default_rng(0)
    rows = [("gate" if number % 2 else "yard", unit(rng.normal(size=DIM))) for number in range(40)]
    every, rest = CameraBias(), CameraBias()
    for number, (camera, row) in enumerate(rows):
        every.add(camera, row)
        if number >= 7:
            rest.add(camera, row)
    features, cameras = np.stack([row for _, row in rows]), [camera for camera, _ in rows]
    np.testing.assert_allclose(
        every.without(rows[:7]).removed(features, cameras), rest.removed(features, cameras), atol=1e-5
    )
    assert every.without(rows).removed(features, cameras) == pytest.approx(features)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(bias_gain={**data["bias_gain"], "confirmed_raw": 99}),
        lambda data: data.update(bias_gain={**data["bias_gain"], "rate": 2}),
        lambda data: data.update(bias_gain={**data["bias_gain"], "more": 1}),
        lambda data: data["bias_gain"].pop("confirmed"),
        lambda data: data.update(bias_gain=None),
    ],
)
def test_a_damaged_decision_is_refused(spoil: Callable[[dict[str, object]], None]) -> None:
    data = json.loads(Evidence(gain=BiasGain(0.05, 20, 11, 12, 5, 1, 0)).as_text())
    assert evidence_of(json.dumps(data)).gain == BiasGain(0.05, 20, 11, 12, 5, 1, 0)
    spoil(data)
    with pytest.raises(Refused, match="damaged"):
        evidence_of(json.dumps(data))
