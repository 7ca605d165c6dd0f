"""Doubtful sightings: what a run writes down, what people and edits settle, what stays of it, and what a threshold makes of it."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from made_gallery import DIM, IN_A_FILE, features, sighted, sighting, sql

from vreid.models.errors import GalleryDamaged, Refused
from vreid.models.manifest import Match
from vreid.runtime.gallery import Gallery, doubts, edit_gallery, edits
from vreid.runtime.gallery.clean import CleanRule, cleaned
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.doubts import add_doubt, calibrate, confirm, doubtful, judged, reject
from vreid.runtime.gallery.maintenance import check_gallery, freeze_threshold, purge, repaired
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.identify import Identifier
from vreid.runtime.judged_pairs import FEWEST
from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.site_evidence import evidence_of
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.travel_times import TravelTimes


def seen(gallery: Gallery, vehicle: int, look: int, camera: str = "yard") -> int:
    return sighted(gallery, vehicle, sighting(camera=camera, feature=features(9)[look], seen=1000.0 + look))


@pytest.fixture
def made(gallery: Gallery) -> Gallery:
    """A taxi, seen twice (1, 2), of which 2 may be a bus (3) too; and a new vehicle (4), which may be the bus."""
    taxi, bus = gallery.add_vehicle("taxi"), gallery.add_vehicle("bus")
    seen(gallery, taxi, 0, "gate")
    second = seen(gallery, taxi, 1)
    seen(gallery, bus, 2, "gate")
    new = gallery.add_vehicle()
    fourth = seen(gallery, new, 3)
    way = ("gate", "yard")
    add_doubt(gallery, second, taxi, [Candidate(taxi, way, 0.8, 0.03), Candidate(bus, way, 0.7, 0.05)], near=True)
    add_doubt(gallery, fourth, new, [Candidate(bus, way, 0.6, 0.1)], near=True)
    return gallery


def waiting(gallery: Gallery) -> list[int]:
    return [doubt.sighting for doubt in doubtful(gallery)]


def pairs(gallery: Gallery) -> list[tuple[float, bool]]:
    return [(pair.rate, pair.same) for pair in judged(gallery)]


def test_who_says_yes_and_who_says_no(made: Gallery) -> None:
    first, second = doubtful(made)
    assert (first.sighting, first.vehicle, [one.vehicle for one in first.candidates]) == (2, 1, [1, 2])
    assert (second.sighting, second.vehicle, [one.vehicle for one in second.candidates]) == (4, 3, [2])
    assert doubtful(made, 1) == [second] and doubtful(made, 0) == []
    confirm(made, 2)
    assert (waiting(made), pairs(made)) == ([4], [(0.03, True)])
    done = confirm(made, 4)  # it is new
    assert (done.vehicle, waiting(made), pairs(made)) == (3, [], [(0.03, True), (0.1, False)])
    assert done.sightings == 0  # none belongs to another vehicle now


def test_an_answer_counts_the_sightings_that_get_another_vehicle(made: Gallery) -> None:
    another = seen(made, 3, 4)  # of the vehicle that began with 4
    assert confirm(made, 4, 2).sightings == 2 and made.sightings(2)[-1].id == another
    assert confirm(made, 2, 2).sightings == 1  # split off the taxi first


def test_a_new_vehicle_that_is_another_one_is_merged_into_it(made: Gallery, place: GalleryPlace) -> None:
    def rows() -> tuple[list[object], ...]:
        """In order of their ids: a changed row may lie elsewhere."""
        return sql(place, "SELECT id, name FROM vehicles ORDER BY id"), sql(
            place, "SELECT id, vehicle FROM sightings ORDER BY id"
        )

    before = rows()
    done = confirm(made, 4, made.find("bus"))
    assert done.vehicle == 2 and [one.id for one in made.sightings(2)] == [3, 4] and len(made.vehicles()) == 2
    assert (waiting(made), pairs(made)) == ([2], [(0.1, True)])
    assert edits.undo(made).verb == "confirm"  # with its merge
    assert rows() == before
    assert (waiting(made), pairs(made)) == ([2, 4], [])


def test_a_sighting_of_a_vehicle_that_somebody_named_is_split_off_first(made: Gallery) -> None:
    done = confirm(made, 2, 2)
    assert [one.id for one in made.sightings(1)] == [1] and [one.id for one in made.sightings(2)] == [2, 3]
    assert done.vehicle == 2 and pairs(made) == [(0.03, False)]
    edits.undo(made, done.change)
    assert [one.id for one in made.sightings(1)] == [1, 2] and pairs(made) == []


def test_a_sighting_that_is_rejected_becomes_a_vehicle_of_its_own(made: Gallery) -> None:
    with pytest.raises(Refused, match="is the only one of 'vehicle-0003'"):
        reject(made, 4)
    done = reject(made, 2)
    assert [one.id for one in made.sightings(done.vehicle)] == [2] and made.name_of(done.vehicle) == "vehicle-0004"
    assert (waiting(made), pairs(made)) == ([4], [(0.03, False)])
    edits.undo(made)
    assert (waiting(made), pairs(made)) == ([2, 4], [])


def test_merges_and_splits_by_hand_say_it_too(made: Gallery) -> None:
    edits.merge(made, 2, [3])
    assert (waiting(made), pairs(made)) == ([2], [(0.1, True)])
    edits.undo(made)
    assert (waiting(made), pairs(made)) == ([2, 4], [])
    edits.split(made, 1, [2])
    assert (waiting(made), pairs(made)) == ([4], [(0.03, False)])
    edits.undo(made)
    made.rename(3, "van")  # does not settle whose a sighting is
    assert waiting(made) == [2, 4]


def test_wrong_requests_change_nothing(made: Gallery) -> None:
    count = len(made.changes())
    for wrong in (
        lambda: confirm(made, 99),
        lambda: confirm(made, 2, 77),
        lambda: reject(made, 99),
        lambda: calibrate(made),
    ):
        with pytest.raises(Refused):
            wrong()
    assert len(made.changes()) == count and waiting(made) == [2, 4]


def test_answers_outlive_a_purge_and_go_with_their_vehicle(made: Gallery) -> None:
    reject(made, 2)
    edits.merge(made, 2, [3])
    purge(made, 1e6)
    assert waiting(made) == [] and pairs(made) == [
        (0.03, False)
    ]  # what only a merge had settled went with its sighting
    assert [change.verb for change in made.changes() if change.verb == "doubt"] == []
    made.remove(1)
    assert pairs(made) == []


def test_no_feature_is_in_what_is_kept(made: Gallery) -> None:
    confirm(made, 2)
    kept = [(change.verb, change.detail) for change in made.changes() if change.verb in ("doubt", "confirm")]
    assert kept == [
        ("doubt", {"sighting": 2, "vehicles": [1, 2], "near": True, "candidates": [
            {"vehicle": 1, "cameras": ["gate", "yard"], "score": 0.8, "rate": 0.03},
            {"vehicle": 2, "cameras": ["gate", "yard"], "score": 0.7, "rate": 0.05}]}),
        ("doubt", {"sighting": 4, "vehicles": [3, 2], "near": True, "candidates": [
            {"vehicle": 2, "cameras": ["gate", "yard"], "score": 0.6, "rate": 0.1}]}),
        ("confirm", {"sighting": 2, "vehicles": [1], "pairs": [["gate", "yard", 0.8, 0.03, 1]], "undo": {"changes": []}}),
    ]  # fmt: skip


def many(gallery: Gallery, count: int) -> None:
    """So many doubtful sightings of one vehicle, near the threshold."""
    taxi = gallery.add_vehicle("taxi")
    seen(gallery, taxi, 0, "gate")
    for number in range(count):
        new = sighted(gallery, taxi, sighting(camera="yard", feature=features(99)[number], track=number, seen=5.0))
        add_doubt(gallery, new, taxi, [Candidate(taxi, ("gate", "yard"), 0.7, 0.03)], near=True)


def test_a_calibration_is_kept_frozen_and_forgotten_with_the_threshold(gallery: Gallery) -> None:
    count = 3 * FEWEST
    many(gallery, count)
    first, *others = doubtful(gallery)
    for doubt in others[: FEWEST - 1]:
        confirm(gallery, doubt.sighting)
    with pytest.raises(Refused, match=f"{FEWEST - 1} judged pairs are too few, {FEWEST} are the least"):
        calibrate(gallery)
    reject(gallery, first.sighting)
    freeze_threshold(gallery, True)
    with pytest.raises(Refused, match="frozen"):
        calibrate(gallery)
    freeze_threshold(gallery, False)
    done = calibrate(gallery)
    assert (done.pairs, done.same, done.bias_gain.confirmed, done.bias_gain.used) == (FEWEST, FEWEST - 1, 0, True)
    for doubt in doubtful(gallery):
        confirm(gallery, doubt.sighting)
    done = calibrate(gallery)
    assert (done.pairs, done.same) == (count, count - 1)
    point = Match(threshold=0.6, false_match_rate=0.05, gallery=20)
    rule = SiteThreshold(point, kept=gallery.site_threshold(), dim=DIM)
    before, after = (one.level("yard", "gate", 9.0) for one in (SiteThreshold(point), rule))
    assert after.threshold < before.threshold and after.origin == f"manifest ({count} judged)"
    assert len(evidence_of(str(gallery.site_threshold()), DIM).judged) == count
    assert rule.as_json() is None  # as it is kept


def test_the_newest_doubtful_sightings_are_those_of_all_and_older_ones_are_not_read(
    gallery: Gallery, place: GalleryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "_PAGE", 4)
    many(gallery, 30)
    taxi = gallery.find("taxi")
    every = [doubt.sighting for doubt in doubtful(gallery)]
    for number in every[::7]:
        confirm(gallery, number)
    again = [Candidate(taxi, ("gate", "yard"), 0.65, 0.04)]
    for number in every[2:20:5]:  # a second doubt of the same sighting counts in its stead
        add_doubt(gallery, number, taxi, again, near=True)
    whole = doubtful(gallery)
    assert len(whole) == 30 - 5 and len({doubt.sighting for doubt in whole}) == len(whole)
    rows = {
        json.loads(detail)["sighting"]: id_
        for id_, detail in sql(place, "SELECT id, CAST(detail AS TEXT) FROM audit WHERE verb = 'doubt'")
    }
    assert [rows[doubt.sighting] for doubt in whole] == sorted(rows[doubt.sighting] for doubt in whole)
    for last in range(len(whole) + 2):
        assert doubtful(gallery, last) == (whole[-last:] if last else [])
    gallery.close()
    sql(
        place,
        "UPDATE audit SET detail = '{\"sighting\": [1]}' WHERE id = (SELECT min(id) FROM audit WHERE verb = 'doubt')",
    )
    with edit_gallery(place) as opened:
        assert doubtful(opened, 10) == whole[-10:]
        with pytest.raises(GalleryDamaged):
            doubtful(opened)


def of_vehicles(gallery: Gallery, count: int) -> None:
    """So many vehicles, each with two sightings at the yard that are judged to be it, at a rate of its own."""
    for number in range(1, count + 1):
        vehicle = gallery.add_vehicle()
        for look in (0, 1):
            new = seen(gallery, vehicle, number)
            add_doubt(
                gallery, new, vehicle, [Candidate(vehicle, ("gate", "yard"), 0.7, 0.01 * number + 0.001 * look)], True
            )
            confirm(gallery, new)


def rested_on(gallery: Gallery) -> list[float]:
    kept = gallery.site_threshold()
    return [] if kept is None else [pair.rate for pair in evidence_of(kept, DIM).judged]


def test_the_judged_pairs_of_a_removed_or_purged_vehicle_leave_the_thresholds(gallery: Gallery) -> None:
    of_vehicles(gallery, 8)
    calibrate(gallery)
    every = [0.01 * number + 0.001 * look for number in range(1, 9) for look in (0, 1)]
    assert rested_on(gallery) == every
    gallery.remove(3)
    assert rested_on(gallery) == every[:4] + every[6:]
    edits.merge(gallery, 1, [2])
    gallery.remove(1)  # and what was merged into it
    assert rested_on(gallery) == every[6:]
    cleaned(gallery, CleanRule(only=Filter(ids=(4,))))
    assert rested_on(gallery) == every[8:]
    gallery.rename(5, "taxi")  # stays when its sightings go
    purge(gallery, 1007.5)
    assert [one.id for one in gallery.vehicles()] == [5, 8]
    assert rested_on(gallery) == every[8:10] + every[14:] and [rate for rate, _ in pairs(gallery)] == rested_on(gallery)
    for vehicle in (5, 8):
        gallery.remove(vehicle)
    assert rested_on(gallery) == []


def test_what_only_an_edit_has_settled_leaves_the_thresholds_with_its_vehicle(gallery: Gallery) -> None:
    many(gallery, FEWEST + 2)
    taxi = gallery.find("taxi")
    for doubt in doubtful(gallery)[1:-1]:
        confirm(gallery, doubt.sighting)
    other = edits.split(gallery, taxi, [doubtful(gallery)[0].sighting]).vehicle
    assert calibrate(gallery).pairs == FEWEST + 1
    gallery.remove(other)
    assert len(rested_on(gallery)) == len(judged(gallery)) == FEWEST
    gallery.remove(taxi)
    assert rested_on(gallery) == []


def test_a_run_does_not_bring_back_the_judged_pairs_of_a_vehicle_that_was_removed_meanwhile(gallery: Gallery) -> None:
    of_vehicles(gallery, 8)
    calibrate(gallery)
    point = Match(threshold=0.6, false_match_rate=0.05, gallery=20)
    rule = SiteThreshold(point, kept=gallery.site_threshold(), dim=DIM)
    identifier = Identifier(gallery, rule, enrol_unknown=True, run="live")
    gallery.remove(3)
    left = rested_on(gallery)
    rule.learn_times(TravelTimes([]))
    identifier.keep()
    assert rested_on(gallery) == left and len(left) == 14
    assert rule.level("gate", "yard", 1.0).origin == "manifest (14 judged)"


def test_a_second_vehicle_that_passes_too_moves_no_threshold(gallery: Gallery) -> None:
    taxi = gallery.add_vehicle("taxi")
    gate, yard = seen(gallery, taxi, 0, "gate"), seen(gallery, taxi, 1)
    add_doubt(gallery, yard, taxi, [Candidate(taxi, ("gate", "yard"), 0.9, 0.001)], near=False)
    add_doubt(gallery, gate, taxi, [Candidate(taxi, ("gate", "gate"), 0.9, None)], near=True)  # a fixed threshold
    assert [(one.why, one.counts) for one in doubtful(gallery)] == [("bias", False), ("near", False)]
    confirm(gallery, yard), confirm(gallery, gate)
    assert waiting(gallery) == [] and pairs(gallery) == []


def test_those_that_count_for_the_thresholds_come_before_newer_ones_that_do_not(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "_PAGE", 2), monkeypatch.setattr(doubts, "_SEARCHED", 4)
    many(gallery, 3)
    counting, (taxi, bus) = waiting(gallery), (gallery.find("taxi"), gallery.add_vehicle("bus"))
    assert taxi is not None
    both = [Candidate(one, ("gate", "yard"), 0.9, 0.001) for one in (taxi, bus)]
    newer = [seen(gallery, taxi, number) for number in range(4)]
    for number in newer:
        add_doubt(gallery, number, taxi, both, near=False)
    assert [one.sighting for one in doubtful(gallery, 2)] == counting[1:]
    assert [one.sighting for one in doubtful(gallery, 4)] == [*counting, newer[-1]]
    assert waiting(gallery) == [*counting, *newer]
    assert [(one.why, one.counts) for one in doubtful(gallery)] == 3 * [("near", True)] + 4 * [("second", False)]
    more = [seen(gallery, taxi, number) for number in range(4, 9)]
    for number in more:
        add_doubt(gallery, number, taxi, both, near=False)
    assert [one.sighting for one in doubtful(gallery, 2)] == more[-2:]  # the others lie too far back


@IN_A_FILE
@pytest.mark.parametrize(
    "spoil",
    [
        lambda detail: detail["candidates"][0].update(score="x"),
        lambda detail: detail["candidates"][0].update(rate=-1),
        lambda detail: detail["candidates"][0].pop("cameras"),
        lambda detail: detail["candidates"][0].update(vehicle=None),
        lambda detail: detail.update(sighting="2"),
        lambda detail: detail.update(sighting=[2]),
        lambda detail: detail.update(candidates=None),
    ],
)
def test_a_damaged_doubt_is_found_and_forgotten(made: Gallery, spoil: Callable[[dict[str, object]], None]) -> None:
    row = next(change for change in made.changes() if change.verb == "doubt")
    detail = json.loads(json.dumps(row.detail))
    spoil(detail)
    path = made.path
    made.close()
    assert check_gallery(path) == []
    sql(path, "UPDATE audit SET detail = ? WHERE id = ?", json.dumps(detail), row.id)
    assert [finding.kind for finding in check_gallery(path)] == ["audit"]
    with edit_gallery(path) as gallery:
        for call in (doubtful, judged, calibrate, lambda each: confirm(each, 2), lambda each: reject(each, 2)):
            with pytest.raises(GalleryDamaged, match=f"change {row.id} .* cannot be read; drop it with"):
                call(gallery)
        assert len(gallery.sightings(1)) == 2
    repaired(path)
    assert check_gallery(path) == []
    with edit_gallery(path) as gallery:
        assert waiting(gallery) == [4]


@pytest.mark.parametrize("detail", [{"lost": True}, {"vehicles": []}, {"vehicles": [2, 2]}, {"vehicles": [2]}])
def test_a_merge_that_was_lost_or_leads_nowhere_is_passed_over(
    made: Gallery, place: GalleryPlace, detail: dict[str, object]
) -> None:
    other = made.add_vehicle()
    merged = edits.merge(made, 2, [other])
    made.close()
    sql(place, "UPDATE audit SET detail = ? WHERE id = ?", json.dumps(detail), merged.change)
    with edit_gallery(place) as gallery:
        assert waiting(gallery) == [2, 4] and len(judged(gallery)) == 0
        confirm(gallery, 2), confirm(gallery, 4)
        assert pairs(gallery) == [(0.03, True), (0.1, False)]


def toward(cosine: float) -> Floats:
    return np.asarray(cosine * np.eye(DIM)[0] + np.sqrt(1 - cosine**2) * np.eye(DIM)[1], np.float32)


def test_a_run_writes_down_whom_it_only_just_knew_and_just_missed(gallery: Gallery, place: GalleryPlace) -> None:
    """The manifest's point is 0.6; near is a quarter of the requested rate to four times it."""
    taxi = gallery.add_vehicle("taxi")
    gallery.add_prototype(taxi, "gate", np.eye(DIM, dtype=np.float32)[0])
    rule = SiteThreshold(Match(threshold=0.6, false_match_rate=0.05, gallery=20), dim=DIM)
    identifier = Identifier(gallery, rule, enrol_unknown=True, learn=False, run="live")
    picture = np.zeros((8, 8, 3), np.uint8)
    for number, cosine in enumerate((0.95, 0.62, 0.58, 0.1)):
        feature = toward(cosine) if number < 2 else np.asarray(
            cosine * np.eye(DIM)[0] + np.sqrt(1 - cosine**2) * np.eye(DIM)[1 + number], np.float32
        )  # fmt: skip
        identifier.identify(
            FinishedTrack("gate", number, 0, 1, 10.0 * number, 10.0 * number + 1, 2, feature, 1, 0.5, picture)
        )
    sure, just, missed, new = (
        gallery_rows for gallery_rows in sql(place, "SELECT id, vehicle FROM sightings ORDER BY id")
    )
    assert [row[1] for row in (sure, just)] == [taxi, taxi] and len({taxi, missed[1], new[1]}) == 3
    found = doubtful(gallery)
    assert [(one.sighting, one.vehicle) for one in found] == [just, missed]
    assert [[candidate.vehicle for candidate in one.candidates] for one in found] == [[taxi], [taxi]]
    rates = [one.candidates[0].rate for one in found]
    assert 0.0125 < rates[0] <= 0.05 < rates[1] < 0.2
    assert {change.who for change in gallery.changes() if change.verb == "doubt"} == {gallery.who}


def test_a_reader_sees_what_waits(made: Gallery, place: GalleryPlace) -> None:
    from vreid.runtime.gallery import read_gallery

    with read_gallery(place) as reader:
        assert waiting(reader) == [2, 4]
        with pytest.raises(Refused, match="opened for reading"):
            confirm(reader, 2)
