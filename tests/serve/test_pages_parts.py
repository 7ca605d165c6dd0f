"""What pages are made of: days and times, sentences of the audit, the map, and how alike two vehicles are."""

import os
import time
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")
from made_site import API, Served

from vreid.models.errors import BadInput
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.topology import CameraPair, Layout
from vreid.serve import days
from vreid.serve import documents as doc
from vreid.serve.rendering import own_path
from vreid.serve.route_map import HEIGHT, WIDTH, route_map, ways_taken
from vreid.serve.sentences import comes_from, known_type, sentence, undoable, view_name, why_doubtful


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's zone, with its summer time."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") == before
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_a_day_is_as_long_as_the_zone_has_it() -> None:
    hours = {}
    for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 7, 1)):
        begin, end = days.bounds(day)
        hours[day.isoformat()] = (end - begin) / 3600
    assert hours == {"2026-03-29": 23, "2026-10-25": 25, "2026-07-01": 24}
    begin, end = days.bounds(date(2026, 7, 1), "08:30", "09:00")
    assert end - begin == 31 * 60
    assert days.time_of_day(begin) == "08:30:00 CEST"
    assert days.moment(begin) == "2026-07-01 08:30:00 CEST"
    assert days.iso(begin) == "2026-07-01T08:30:00+02:00"
    assert days.wall_clock(days.local_seconds(begin), 7200) == "08:30"
    assert days.day_of(begin) == date(2026, 7, 1)


def test_the_day_on_which_clocks_begin_west_of_greenwich_is_one() -> None:
    assert days.read_day("1969-12-31") == date(1969, 12, 31)


@pytest.mark.parametrize("text", ["soon", "1968-12-31", "2026-13-01", "0001-01-01", "9999-01-01", "2026-02-30"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="write it as"):
        days.read_day(text)


@pytest.mark.parametrize(("since", "until"), [("25:00", ""), ("", "8"), ("10:00", "09:00"), ("x", "y")])
def test_what_is_no_time_of_day_is_refused(since: str, until: str) -> None:
    with pytest.raises(BadInput):
        days.bounds(date(2026, 7, 1), since, until)


@pytest.mark.parametrize(
    ("verb", "detail", "said"),
    [
        ("enrol", {"name": "taxi"}, "Enrolled #7 (taxi)"),
        ("rename", {"from": "a", "to": "b"}, "Named #7 'b', before 'a'"),
        ("merge", {"vehicles": [7, 9], "names": ["taxi", "van"]}, "Merged #9 (van) into #7 (taxi)"),
        ("split", {"vehicles": [7, 9], "sightings": [1, 2]}, "Split 2 sightings off #7 as #9"),
        ("confirm", {"sighting": 4, "vehicles": [7]}, "Said that sighting 4 is of #7"),
        ("reject", {"sighting": 4, "vehicles": [7, 9]}, "Said that sighting 4 is not of #7; the sighting is #9 now"),
        ("undo", {"of": 3, "verb": "merge", "vehicles": [7, 9]}, "Took back the merge of #7, #9 (change 3)"),
        ("purge", {"sightings": 1}, "Purged 1 sighting"),
        ("calibrate", {"pairs": 12, "same": 3}, "Let 12 judged pairs count for the thresholds"),
        ("remove", {}, "Removed #7 for good"),
        ("remove sightings", {"vehicles": [7, 9], "sightings": 3}, "Removed 3 sightings of #7, #9 for good"),
        ("something new", {}, "Something new #7"),
    ],
)
def test_a_change_is_a_sentence(verb: str, detail: dict[str, object], said: str) -> None:
    change = doc.Change(id=1, at=0.0, who="anna", verb=verb, vehicle=7, detail=detail, undone=0)
    assert sentence(change) == said
    assert undoable(change) == (verb in ("rename", "merge", "split", "confirm", "reject"))
    assert not undoable(change.model_copy(update={"undone": 5}))


@pytest.mark.parametrize(
    ("why", "counts", "count", "said"),
    [
        ("near", True, 1, "its best score is near the threshold; an answer counts for the thresholds."),
        ("near", True, 2, "its best score is near the threshold and van passes too, with a score of 0.690; an answer counts for"),
        ("near", False, 1, "its best score is near the threshold; an answer puts the gallery right, but does not count for"),
        ("second", False, 2, "van passes too, with a score of 0.690; an answer puts the gallery right, but does not count for"),
        ("second", False, 1, "a second vehicle passes too; an answer puts the gallery right, but does not count for"),
        ("bias", False, 1, "the answer is another one without what is taken off the features for the cameras' bias; an answer"),
    ],
)  # fmt: skip
def test_a_doubt_is_explained_in_a_sentence(
    why: Literal["near", "second", "bias"], counts: bool, count: int, said: str
) -> None:
    both = [
        doc.Candidate(vehicle=7, name="taxi", camera="gate", score=0.71, rate=0.04),
        doc.Candidate(vehicle=9, name="van", camera="gate", score=0.69, rate=0.06),
    ]
    doubt = doc.Doubt(sighting=seen(3, "gate", 30), at=30.0, candidates=both[:count], why=why, counts=counts)
    assert why_doubtful(doubt, 7).startswith(f"Doubtful since {said}")


@pytest.mark.parametrize(
    ("origin", "pairs", "said"),
    [
        ("site (1200 pairs)", 1200, "comes from: site (1200 pairs), resting on 1,200 pairs of strangers"),
        ("manifest and site (1 pair)", 1, "comes from: manifest and site (1 pair), resting on 1 pair of strangers"),
        ("manifest", 0, "comes from: manifest, not from strangers that were seen here"),
        ("fixed", 0, "was fixed by the operator"),
    ],
)
def test_a_threshold_says_where_it_comes_from(origin: str, pairs: int, said: str) -> None:
    assert comes_from(origin, pairs) == said


def test_a_view_and_a_type_are_named_for_people() -> None:
    assert [view_name(view) for view in ("gate", "enrolled", "")] == ["gate", "enrolment", "another camera"]
    assert [known_type(kind) for kind in ("car", "vehicle", "", None)] == ["car", "", "", ""]


@pytest.mark.parametrize("text", ["https://x.example", "//x.example", "/\\x.example", "x", "", "/a\r\nb", "/ä"])
def test_nobody_is_led_to_another_site(text: str) -> None:
    assert own_path(text, "/here") == "/here"
    assert own_path("/vehicles?name=a") == "/vehicles?name=a"


def seen(number: int, camera: str, at: float) -> doc.Sighting:
    return doc.Sighting(
        id=number, vehicle=1, name="taxi", camera=camera, track=number, run="", at=at, seconds=1.0, kind="car", plate=None,
        zones=[], quality=1.0, score=0.9, picture=True,
    )  # fmt: skip


def test_a_map_has_every_camera_apart_and_the_ways_in_their_order() -> None:
    sightings = [seen(3, "c", 30), seen(1, "a", 10), seen(2, "b", 20), seen(4, "c", 40), seen(5, "a", 50)]
    assert ways_taken(sightings) == {("a", "b"): 1, ("b", "c"): 1, ("c", "a"): 1}
    layout = Layout(
        pair=(CameraPair(cameras=("a", "b"), least_s=4, most_s=60), CameraPair(cameras=("b", "d"), overlap=True))
    )
    drawn = route_map(["a", "b", "c"], layout, sightings)
    assert [(node.camera, node.times) for node in drawn.nodes] == [("a", 2), ("b", 1), ("c", 2), ("d", 0)]
    assert drawn.by_topology and [line.text for line in drawn.ground] == ["4–60 s", "overlap"]  # noqa: RUF001
    assert len(drawn.taken) == 3
    places = np.array([(node.x, node.y) for node in drawn.nodes])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 60, "circles and names do not lie over each other"
    assert (places >= 0).all() and (places <= [WIDTH, HEIGHT]).all()
    ends = {frozenset((0, 1)), frozenset((1, 3))}
    lengths = {frozenset((i, j)): float(np.linalg.norm(places[i] - places[j])) for i in range(4) for j in range(i)}
    longest = max(lengths[pair] for pair in ends)
    assert lengths[frozenset((0, 3))] > longest, "who is two ways away lies further off"


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_map_of_any_number_of_cameras_lies_in_its_drawing(count: int) -> None:
    names = [f"camera {number}" for number in range(count)]
    drawn = route_map(names, Layout(), [seen(number, name, number) for number, name in enumerate(names)])
    assert len(drawn.nodes) == count and not drawn.by_topology
    assert all(0 <= node.x <= WIDTH and 0 <= node.y <= HEIGHT for node in drawn.nodes)
    assert len({(node.x, node.y) for node in drawn.nodes}) == count


def test_two_vehicles_are_as_alike_as_their_best_features(looked_at: Served) -> None:
    service = looked_at.service
    assert service is not None
    gallery = service.access.searching
    one, other = (np.stack([each.feature for each in gallery.prototypes(vehicle)]) for vehicle in (4, 5))
    found = service.searcher.between(4, 5)
    assert found is not None
    assert found.score == pytest.approx(float((one @ other.T).max()), abs=1e-6)
    match = service.searcher.embedder.manifest.match
    assert match is not None
    wanted = SiteThreshold(match, 0.05).level(*found.views, 12.0).threshold
    assert found.threshold == pytest.approx(wanted, abs=1e-6)
    assert service.searcher.level(*found.views).threshold == pytest.approx(wanted, abs=1e-6)
    assert (found.answer == "known") == (found.score >= found.threshold)
    hidden = service.searcher.between(4, 5, ("gate",))
    at_gate = [
        np.stack([each.feature for each in gallery.prototypes(vehicle) if each.view == "gate"]) for vehicle in (4, 5)
    ]
    assert hidden is not None and hidden.views == ("gate", "gate")
    assert hidden.score == pytest.approx(float((at_gate[0] @ at_gate[1].T).max()), abs=1e-6)
    assert service.searcher.between(4, 999) is None


class Surroundings(HTMLParser):
    """Which elements a text stands in."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.found = wanted, set[str]()
        self.within: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.within and self.within.pop() != tag:  # elements without an end
            pass

    def handle_data(self, data: str) -> None:
        if self.wanted in data:
            self.found.add(self.within[-1])


def test_a_name_that_turns_the_direction_turns_nothing_else(served: Served) -> None:
    shown = "\u2067\u2069\u202etaxi"  # to be read from the right
    given = f"\u2069{shown}\u2066"  # with an end and a beginning that would take those of the isolate around it
    with served.client("admin") as client:
        doubt = client.get(f"{API}/doubtful").json()[0]
        seen, (own, other) = doubt["sighting"], doubt["candidates"]
        done = client.patch(f"{API}/vehicles/{other['vehicle']}", json={"name": given}).json()["done"]
        first, second = own["vehicle"], other["vehicle"]
        for place in (
            "/sightings", "/vehicles", f"/vehicles/{second}?done={done['change']}", f"/vehicles/{second}/name",
            f"/vehicles/{second}/split", f"/merge?vehicle={second}", f"/merge?vehicle={first}",
            f"/merge?vehicle={first}&vehicle={second}", f"/find?sighting={seen['id']}",
            f"/doubtful?sighting={seen['id']}&candidate=2", "/audit",
        ):  # fmt: skip
            page = Surroundings(shown)
            page.feed(text := client.get(place).text)
            assert f"\u2069{shown}" not in text and f"{shown}\u2066" not in text, place
            assert "bdi" in page.found and page.found <= {"bdi", "title"}, place
