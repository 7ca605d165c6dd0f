"""What the time between two passages says, learnt from matches."""

import json
from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.manifest import Match
from vreid.runtime.gallery import open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.site_evidence import Evidence, evidence_of
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold_summary import notes
from vreid.runtime.topology import Span
from vreid.runtime.travel_times import LONGEST, UNUSUAL, TravelTimes, Way, place_of

DIM = 16
MANIFEST = Match(threshold=0.8, false_match_rate=0.05, gallery=20)


def learnt(matches: int, gap: float = 20.0, seed: int = 0) -> TravelTimes:
    """`matches` from gate to yard of about `gap` seconds, among pairs of any gap up to five minutes."""
    rng, times = np.random.default_rng(seed), TravelTimes()
    gate = Span("gate", 0, 0.0, 2.0)
    for number in range(matches):
        times.add(gate, Span("yard", number, 2 + gap * float(rng.normal(1, 0.05)), 999), True)
    for number, other in enumerate(rng.uniform(0, 300, 1000).tolist()):
        times.add(gate, Span("yard", number, 2 + other, 999), False)
    return times


def weight(times: TravelTimes, gap: float) -> float:
    return times.weight(Span("gate", 1, 0, 2), Span("yard", 2, 2 + gap, 2 + gap + 3))


def test_who_is_due_needs_less_and_who_is_not_more() -> None:
    times = learnt(40)
    assert weight(times, 20) > 5
    assert UNUSUAL <= weight(times, 200) < 0.3
    assert weight(TravelTimes(), 20) == 1
    assert times.weight(None, Span("yard", 1, 0, 1)) == 1
    assert weight(times, LONGEST + 1) == 1
    assert times.weight(Span("yard", 1, 0, 2), Span("gate", 1, 22, 30)) == 1  # the other way nothing is known


def test_doubt_keeps_the_weights_near_one() -> None:
    heights = [weight(learnt(matches), 20) for matches in (0, 1, 5, 50)]
    assert heights[0] == 1 and heights == sorted(heights)


@pytest.mark.parametrize("matches", [1, 10, 100])
def test_the_weights_of_strangers_have_a_mean_of_one(matches: int) -> None:
    times = learnt(matches)
    gaps = np.random.default_rng(9).uniform(0, 300, 4000)
    assert times.ways["gate", "yard"].weights(place_of(gaps)).mean() == pytest.approx(1, abs=0.15)


def test_a_pair_does_not_speak_for_itself() -> None:
    way = Way()
    way.add(place_of([50.0]), place_of([*range(0, 100, 2)]))
    assert way.weights(place_of([50.0]), np.array([False]))[0] > 1
    left_out = way.weights(place_of([50.0]), np.array([True]))[0]
    assert left_out == pytest.approx(1 - UNUSUAL + UNUSUAL)


def test_many_tracks_at_once_give_the_weights_of_their_clusters() -> None:
    spans, label = [], []
    for number in range(12):
        spans += [
            Span("gate", number, 30.0 * number, 30.0 * number + 2),
            Span("yard", number, 30.0 * number + 12, 30.0 * number + 15),
        ]
        label += [number, number]
    apart = np.eye(len(spans), dtype=np.bool_)
    weights, seen = TravelTimes().between(spans, apart, np.array(label))
    np.testing.assert_array_equal(weights, weights.T)
    own = np.array(label)[:, None] == np.array(label)
    cross = np.array([span.camera for span in spans])[:, None] != np.array([span.camera for span in spans])
    assert weights[own & cross].min() > 3 > 1 > np.median(weights[~own & cross])
    assert seen.summary()[0] == {
        "cameras": ["gate", "yard"],
        "matches": 12,
        "seconds": pytest.approx([10, 10, 10], abs=0.5),
    }
    assert weights[0, 2] == 1  # of one camera nobody came back: nothing is known


def test_they_are_kept_with_the_threshold(tmp_path: Path) -> None:
    text = Evidence(times=learnt(40)).as_text()
    again = evidence_of(text).times
    assert again.as_rows() == learnt(40).as_rows() and weight(again, 20) == weight(learnt(40), 20)
    data = json.loads(text)
    for damage in ({"9999": 1.0}, {"3": -1.0}, {"3": float("nan")}, {"x": 1}):
        data["travel_times"][0]["matched"] = damage
        with pytest.raises(Refused, match="damaged"):
            evidence_of(json.dumps(data))
    del data["travel_times"]
    assert not evidence_of(json.dumps(data)).times.ways  # as older versions kept it
    frozen = SiteThreshold(MANIFEST, kept=Evidence(frozen=True).as_text())
    frozen.learn_times(learnt(40))
    assert frozen.times is not None and not frozen.times.ways


def test_old_times_fade() -> None:
    way = Way()
    for gap, count in ((10.0, 2000), (100.0, 800)):
        way.add(place_of([gap] * count), place_of([gap] * count))
        for _ in range(count):
            way.add(place_of([gap]), place_of([gap]))
    assert way.matched.sum() <= 501
    assert way.seconds(0.5) == pytest.approx(100, rel=0.05)


def toward(cosine: float, one: int, other: int) -> Floats:
    return np.asarray(cosine * np.eye(DIM)[one] + np.sqrt(1 - cosine**2) * np.eye(DIM)[other], np.float32)


def track(feature: Floats, camera: str, number: int, first: float) -> FinishedTrack:
    return FinishedTrack(
        camera, number, int(first), int(first) + 2, first, first + 2, 2, feature, 3, 0.5, np.zeros((8, 8, 3), np.uint8)
    )


@pytest.mark.parametrize("known", [True, False])
def test_of_two_twins_the_one_that_is_due_is_found(tmp_path: Path, known: bool) -> None:
    """Both passed the gate, 20 s and 200 s ago; the track looks like the later one a little more."""
    kept = Evidence(times=learnt(40, 20.0)).as_text() if known else None
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
        identifier = Identifier(gallery, SiteThreshold(MANIFEST, kept=kept), enrol_unknown=True)
        early = identifier.identify(track(toward(0.7, 0, 1), "gate", 1, 0)).vehicle
        late = identifier.identify(track(toward(0.7, 0, 2), "gate", 2, 180)).vehicle
        row = 0.94 * np.eye(DIM)[0] + 0.25 * np.eye(DIM)[1] + 0.24 * np.eye(DIM)[2]
        found = identifier.identify(track(np.asarray(row / np.linalg.norm(row), np.float32), "yard", 3, 202))
    assert early != late
    assert found.known and found.vehicle == (late if known else early)
    assert known == (found.threshold < 0.8)


@pytest.mark.parametrize("enrol", [True, False])
def test_the_answer_is_doubtful_where_a_second_one_passes_or_the_nearest_nearly_does(
    tmp_path: Path, enrol: bool
) -> None:
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
        twins = [gallery.add_vehicle(name) for name in ("one", "two", "far")]
        for vehicle, row in zip(twins, (toward(0.9, 0, 1), toward(0.9, 0, 2), toward(1.0, 5, 0)), strict=True):
            gallery.add_prototype(vehicle, "gate", row)
        identifier = Identifier(gallery, SiteThreshold(MANIFEST), enrol_unknown=enrol, learn=False)
        far = identifier.identify(track(toward(0.95, 5, 6), "gate", 1, 0))
        assert (far.answer, far.vehicle, far.maybe) == ("known", twins[2], None)
        row = 0.95 * np.eye(DIM)[0] + 0.25 * np.eye(DIM)[1] + 0.19 * np.eye(DIM)[2]
        both = identifier.identify(track(np.asarray(row / np.linalg.norm(row), np.float32), "gate", 2, 20))
        assert (both.answer, both.vehicle, both.maybe) == ("doubtful", twins[0], twins[1])
        least = far.threshold
        missed = identifier.identify(track(toward(least - 0.01, 5, 7), "gate", 3, 40))
        assert (missed.known, missed.answer, missed.maybe) == (False, "doubtful", twins[2])
        stranger = identifier.identify(track(toward(0.3, 5, 8), "gate", 4, 60))
        assert (stranger.known, stranger.answer, stranger.maybe) == (False, "new", None)
        assert (missed.vehicle is not None) == (stranger.vehicle is not None) == enrol
        jointly = identifier.assign([track(np.asarray(row / np.linalg.norm(row), np.float32), "gate", 5, 80)])
        assert (jointly[0].answer, jointly[0].maybe) == ("doubtful", twins[1])


def test_a_run_learns_them_from_its_matches(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=DIM, model="small", write=True) as gallery:
        rule = SiteThreshold(MANIFEST)
        identifier = Identifier(gallery, rule, enrol_unknown=True)
        for number in range(DIM):
            identifier.identify(track(toward(1, number, 0), "gate", number, 100.0 * number))
            identifier.identify(track(toward(1, number, 0), "yard", number, 100.0 * number + 32))
        [way] = identifier.calibration()["travel_times"]
        assert way == {"cameras": ["gate", "yard"], "matches": DIM, "seconds": pytest.approx([30, 30, 30], rel=0.03)}
        assert any("From gate to yard most take" in line for line in notes(identifier.calibration(), 2))
        assert rule.times is not None and sum(one.possible.sum() for one in rule.times.ways.values()) > 4 * DIM
