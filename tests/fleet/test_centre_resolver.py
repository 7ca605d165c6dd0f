"""What a resolver makes of messages in a real PostgreSQL: known, changed, removed, put aside; and what others edit meanwhile."""

import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from made_centre import DIM, Sent, given, looks
from made_gallery import opened, sql
from real_postgres import Server

from vreid.fleet.centre.log import Position
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.resolver import Failed, PassedOver, Resolver
from vreid.fleet.centre.settings import RegionSettings, Space
from vreid.fleet.centre.status import Counts
from vreid.models.manifest import Match
from vreid.runtime.gallery import Gallery, edits
from vreid.runtime.gallery.inbox import LeaseLost
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery_place import DatabaseAddress
from vreid.runtime.identify import Identifier
from vreid.runtime.topology import CameraPair, Layout, Topology

NOW = time.time()
SPACE = Space(About("aaaaaaaa", DIM, "small"), Match(threshold=0.7, false_match_rate=0.01, gallery=60))
TABLES = ("vehicles", "prototypes", "sightings", "received", "box_sightings", "audit")


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("resolver")


@pytest.fixture
def gallery(place: DatabaseAddress) -> Iterator[Gallery]:
    with opened(place, dim=DIM) as gallery:
        yield gallery


def resolver_of(gallery: Gallery, holder: str = "one", failed: Position | None = None, **changes: Any) -> Resolver:
    """One that has the lease."""
    place = gallery.name
    region = RegionSettings(
        name="north", gallery=place, topology=Topology(), false_match_rate=0.05, new_below=None, retention=None,  # type: ignore[arg-type]
        index="flat",
    )  # fmt: skip
    with gallery.transaction() as store:
        epoch = inbox_of(store).take_lease(holder, 60.0)
    assert epoch is not None
    return Resolver(gallery, replace(region, **changes), SPACE, epoch, Counts(), failed)


def rows(place: DatabaseAddress) -> dict[str, list[Any]]:
    """All that the gallery holds of vehicles and messages."""
    return {table: sorted(sql(place, f"SELECT t::text FROM {table} t")) for table in TABLES}


def test_a_message_that_comes_again_changes_nothing_to_whichever_resolver(
    gallery: Gallery, place: DatabaseAddress
) -> None:
    sent, first = Sent(), resolver_of(gallery)
    messages = [
        sent.sighting(f"box {number % 3}", 1 + number // 3, 1 + number // 3, NOW + number) for number in range(12)
    ]
    assert [first.take(each) for each in messages].count("new") == 4
    before = rows(place)
    assert {first.take(each) for each in messages} == {"again"}
    second = resolver_of(gallery)
    assert second.read == first.read and second.read.number == 12
    assert {second.take(each) for each in messages} == {"again"} and rows(place) == before
    anew = [
        replace(each, position=replace(each.position, made="now")) for each in messages
    ]  # another log with the same
    assert {second.take(each) for each in anew} == {"again"} and rows(place) == before


def test_a_sighting_that_went_on_ends_later_and_stays_whose_it_is(gallery: Gallery, place: DatabaseAddress) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    resolver.take(sent.sighting("a", 1, 5, NOW))
    longer = {"what": "changed", "t0": NOW - 2.0 + 1e-6}
    assert resolver.take(sent.sighting("a", 1, 5, NOW + 60, vehicle=9, **longer)) == "changed"
    assert resolver_of(gallery).take(sent.sighting("a", 1, 5, NOW + 30, vehicle=9, **longer)) == "changed"  # late
    ((at, first, last),) = sql(place, "SELECT seen, first_time, last_time FROM sightings")
    assert (at, last - first) == (NOW + 60, pytest.approx(62.0))
    assert sql(place, "SELECT vehicle FROM box_sightings") == [(9,)] and gallery.size()[0] == 1


def test_a_change_without_its_sighting_is_taken_for_one(gallery: Gallery, place: DatabaseAddress) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    late, change = sent.sighting("a", 1, 5, NOW), sent.sighting("a", 1, 5, NOW, what="changed")
    assert (resolver.take(change), resolver.take(late)) == ("new", "changed")
    assert len(given(place)) == len(sql(place, "SELECT * FROM identities")) == 1


def test_a_vehicle_that_a_box_removed_is_gone_here_where_nothing_else_is_left_of_it(
    gallery: Gallery, place: DatabaseAddress
) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    for box in ("a", "b"):
        for vehicle in (1, 2):
            resolver.take(sent.sighting(box, vehicle, vehicle, NOW + vehicle))
    resolver.take(sent.sighting("a", 3, 3, NOW + 9))
    assert gallery.size()[0] == 3
    removal = sent.removal("a", 3, fingerprint="bbbbbbbb")  # of whatever model
    assert (resolver.take(removal), resolver.take(removal)) == ("removed", "again")
    assert resolver.take(sent.removal("a", 1)) == "removed" and gallery.size()[0] == 2
    assert given(place).keys() == {("b", 1), ("a", 2), ("b", 2)}
    assert resolver.take(sent.sighting("a", 3, 3, NOW + 9, what="changed")) == "removed"  # it does not come back
    assert resolver.take(sent.sighting("c", 1, 3, NOW + 30)) == "new"
    with gallery.reading() as store:
        waiting = {(one.box, one.sighting): one.vehicle for one in inbox_of(store).identities(99)}
    assert waiting["a", 3] is None and waiting["a", 1] is None and waiting["b", 1] is not None


def test_a_removal_by_a_box_names_all_messages_of_its_vehicle_whatever_became_of_them(gallery: Gallery) -> None:
    sent, resolver = Sent(), resolver_of(gallery, new_below=-0.9, retention=3600.0)
    taken = [
        sent.sighting("a", 1, 1, NOW, vehicle=7),
        sent.sighting("a", 2, 2, NOW + 100, vehicle=7),
        sent.sighting("a", 3, 1, NOW - 7200, vehicle=7),
        sent.sighting("a", 4, 1, NOW, vehicle=7, fingerprint="bbbbbbbb"),
        sent.sighting("a", 5, 1, NOW, vehicle=7, schema=2),
        sent.sighting("a", 1, 1, NOW + 3600, vehicle=9),  # of another gallery
        sent.sighting("a", 6, 1, NOW + 200, vehicle=7),
        sent.moved("a", 2, 9),
        sent.moved("a", 2, 7),
        sent.sighting("a", 8, 2, NOW + 300, vehicle=8),
        sent.sighting("b", 2, 2, NOW + 400, vehicle=7),
        sent.removal("a", 7),
        sent.sighting("a", 2, 2, NOW + 100, vehicle=7, what="changed"),
    ]
    assert [resolver.take(each) for each in taken] == [
        "new", "unknown", "late", "aside", "aside", "aside", "known", "changed", "changed", "new", "known", "removed", "removed"
    ]  # fmt: skip
    assert gallery.size()[0] == 1 and resolver.take(taken[1]) == "again"
    with gallery.reading() as store:
        waiting = {(one.box, one.sighting): one.messages for one in inbox_of(store).removals(99)}
    assert waiting == {
        ("a", 1): (1, 6), ("a", 2): (2, 8, 9, 13), ("a", 3): (3,), ("a", 4): (4,), ("a", 5): (5,), ("a", 6): (7,)
    }  # fmt: skip


def test_the_messages_of_a_purged_sighting_go_with_the_vehicle_that_it_has_at_its_box_then(gallery: Gallery) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    assert resolver.take(sent.sighting("a", 1, 1, NOW - 7200, vehicle=7)) == "new"
    purge(gallery, NOW - 3600)
    assert resolver.take(sent.sighting("a", 1, 1, NOW - 7200, vehicle=8, what="changed")) == "removed"
    for vehicle, messages in ((7, []), (8, [(1, 2)])):
        assert resolver.take(sent.removal("a", vehicle)) == "removed"
        with gallery.reading() as store:
            assert [one.messages for one in inbox_of(store).removals(99)] == messages


def test_what_does_not_fit_is_put_aside_said_once_and_stops_nothing(
    gallery: Gallery, place: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    unfit = [
        sent.sighting("a", 1, 1, NOW, fingerprint="bbbbbbbb"),
        sent.sighting("a", 2, 1, NOW, fingerprint="bbbbbbbb"),
        sent.sighting("b", 1, 1, NOW, schema=2),
        sent.sighting("c", 1, 1, NOW, prototypes=["AAAA"]),
        sent.sighting("c", 2, 1, NOW, prototypes=[]),
        sent.sighting("c", 3, 1, NOW, t1=NOW - 3.0),
        sent.sighting("d" * 65, 1, 1, NOW),
        sent.sighting("e", 1, 1, NOW, camera="a\nb"),
    ]
    assert {resolver.take(each) for each in unfit} == {"aside"}
    assert resolver.take(sent.sighting("a", 3, 1, NOW)) == "new" and resolver_of(gallery).read.number == 9
    said = [each.getMessage() for each in caplog.records if "put aside" in each.getMessage()]
    assert len(said) == 7 and sum("box a " in each for each in said) == 1


def test_a_number_that_means_two_sightings_is_noticed(
    gallery: Gallery, place: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    assert resolver.take(sent.sighting("a", 1, 1, NOW)) == "new"
    assert resolver.take(sent.sighting("a", 1, 2, NOW + 3600)) == "aside"
    assert "start it again" in caplog.text and gallery.size()[0] == 1


def test_two_cameras_of_one_name_are_two_and_topology_knows_them_by_their_boxes(
    gallery: Gallery, place: DatabaseAddress
) -> None:
    pair = CameraPair(cameras=("a/gate", "b/gate"), least_s=20.0)
    sent, resolver = Sent(), resolver_of(gallery, topology=Topology(Layout(pair=(pair,))))
    found = [resolver.take(sent.sighting(box, 1, 1, NOW + late)) for box, late in (("a", 0), ("b", 10), ("c", 11))]
    assert found == ["new", "new", "known"]  # nobody is at b so soon
    assert sql(place, "SELECT DISTINCT camera FROM sightings ORDER BY 1") == [("a/gate",), ("b/gate",), ("c/gate",)]


def test_one_box_sees_two_vehicles_at_one_moment_and_they_are_two(gallery: Gallery) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    same = {"prototypes": Sent().sighting("a", 1, 1, NOW).message.prototypes}  # type: ignore[union-attr]
    assert resolver.take(sent.sighting("a", 1, 1, NOW, **same)) == "new"
    assert resolver.take(sent.sighting("a", 2, 2, NOW + 1, **same)) == "new"  # however alike
    assert resolver.take(sent.sighting("b", 1, 1, NOW + 9, **same)) == "known"


def test_positions_follow_what_people_edit_meanwhile(gallery: Gallery, place: DatabaseAddress) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    resolver.take(sent.sighting("a", 1, 1, NOW))
    resolver.take(sent.sighting("b", 1, 2, NOW + 100))
    one, two = (given(place)[box, 1] for box in "ab")
    with opened(place, dim=DIM) as other:
        edits.merge(other, one, [two])
        other.rename(one, "Taxi")
    looks_like_one = sent.sighting("b", 2, 1, NOW + 101)  # when the merged vehicle was in view of b with another track
    assert resolver.take(looks_like_one) == "new"
    with opened(place, dim=DIM) as other:
        edits.undo(other, edits_of(other, "merge"))
    assert resolver.take(sent.sighting("b", 3, 2, NOW + 200)) == "known" and given(place)["b", 3] == two


def edits_of(gallery: Gallery, verb: str) -> int:
    return max(change.id for change in gallery.changes(verbs=(verb,)))


def test_a_sighting_older_than_the_gallery_keeps_is_passed_over_and_the_retention_is_the_regions(
    gallery: Gallery,
) -> None:
    sent, resolver = Sent(), resolver_of(gallery, retention=3600.0)
    assert gallery.retention() == 3600.0
    assert resolver.take(sent.sighting("a", 1, 1, NOW - 7200)) == "late" and gallery.size()[0] == 0
    assert resolver.take(sent.sighting("a", 1, 1, NOW, t0=NOW - 7202, what="changed")) == "new"
    assert resolver_of(gallery, retention=3600.0) and [one.verb for one in gallery.changes()].count("retain") == 1


def test_without_a_retention_nothing_is_too_old(gallery: Gallery) -> None:
    assert resolver_of(gallery).take(Sent().sighting("a", 1, 1, 1e6)) == "new"


def test_between_the_thresholds_a_vehicle_is_left_unknown_and_its_box_hears_nothing(
    gallery: Gallery, place: DatabaseAddress
) -> None:
    sent, resolver = Sent(), resolver_of(gallery, new_below=-0.9)
    resolver.take(sent.sighting("a", 1, 1, NOW))
    assert resolver.take(sent.sighting("b", 1, 2, NOW)) == "unknown"
    assert gallery.size()[0] == 1 and given(place).keys() == {("a", 1)}


def test_what_cameras_apart_have_shown_is_learnt_and_kept(gallery: Gallery) -> None:
    sent, resolver = Sent(), resolver_of(gallery, topology=Topology(Layout(unlisted="never")))
    for number in range(20):
        for box in ("a", "b"):
            resolver.take(sent.sighting(box, number + 1, 1 + 2 * number + (box == "b"), NOW + 5 * number))
    resolver.keep()
    again = resolver_of(gallery)
    levels = again._identifier.rule.levels(10.0)
    assert levels.keys() == {("a/gate", "b/gate")}  # strangers within a camera are not known as such here
    assert gallery.size()[0] == 40


def test_one_that_lost_its_lease_writes_nothing_more(gallery: Gallery, place: DatabaseAddress) -> None:
    sent, old = Sent(), resolver_of(gallery)
    old.take(sent.sighting("a", 1, 1, NOW))
    sql(place, "UPDATE lease SET until = now()")
    new, before = resolver_of(gallery, "two"), rows(place)
    for write in (
        lambda: old.take(sent.sighting("a", 2, 2, NOW)),
        old.keep,
        lambda: old.keep_heard({}),
        lambda: old.purge(1.0),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert rows(place) == before and new.take(sent.sighting("a", 2, 2, NOW)) == "new"


def test_counts_say_what_is_doubtful_and_where_a_box_disagrees(gallery: Gallery) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    one, other = looks(1, 0), looks(2, 0)
    other = 0.3 * one + 0.91**0.5 * (other - (other @ one) * one) / (1 - (other @ one) ** 2) ** 0.5
    features = {1: one, 2: one, 3: other, 4: (one + other) / 2.6**0.5}
    found, doubtful = [], []
    for id_, feature in features.items():
        shown = [b64encode(feature.astype("<f2").tobytes()).decode()]
        found.append(resolver.take(sent.sighting("a", id_, 7, NOW + 9 * id_, prototypes=shown)))
        doubtful.append(resolver._counts.doubtful)
    assert found == ["new", "known", "new", "known"] and doubtful[3] == doubtful[2] + 1
    assert doubtful[1] == 0 and resolver._counts.conflicts >= 1


def test_what_a_box_keeps_apart_stays_apart_whatever_other_boxes_see(gallery: Gallery, place: DatabaseAddress) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    twins = [sent.sighting("a", number, 1, NOW + 10 * number, vehicle=number) for number in (1, 2)]
    assert [resolver.take(each) for each in twins] == ["new", "new"]
    again = sent.sighting("a", 3, 1, NOW + 30, vehicle=2)  # the second one, says the box
    assert resolver.take(again) == "known" and given(place)["a", 3] == given(place)["a", 2]
    assert resolver.take(sent.sighting("b", 1, 1, NOW + 40)) == "known"  # to box b they are one
    assert gallery.size()[0] == 2


def test_a_sighting_of_the_future_is_put_aside_and_one_of_long_ago_taken(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    assert resolver.take(sent.sighting("a", 1, 1, 4.1e9)) == "aside" and "set the clock of the box" in caplog.text
    assert resolver.take(sent.sighting("b", 1, 1, 7.0)) == "new"  # a clock that nobody has set yet
    assert resolver.take(sent.sighting("c", 1, 1, NOW + 3600.0)) == "known"


@pytest.mark.parametrize("kept", ["", "then", "then 7", "then seven 8.0"])
def test_how_far_the_log_was_read_is_nothing_where_it_cannot_be_read(
    gallery: Gallery, place: DatabaseAddress, kept: str
) -> None:
    sent = Sent()
    assert resolver_of(gallery).take(first := sent.sighting("a", 1, 1, NOW)) == "new"
    sql(place, f"UPDATE settings SET value = '{kept}' WHERE key = 'log'")
    again = resolver_of(gallery)
    assert again.read.number == 0 and again.take(first) == "again" and again.read == first.position


_ODD = """
CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.sighting = 3 THEN RAISE EXCEPTION 'odd' USING ERRCODE = 'syntax_error'; END IF;
    IF new.sighting = 4 THEN RAISE EXCEPTION 'odd' USING ERRCODE = 'undefined_column'; END IF;
    IF new.sighting = 5 THEN RAISE EXCEPTION 'odd' USING ERRCODE = 'datatype_mismatch'; END IF;
    RETURN new;
END $$;
CREATE TRIGGER odd BEFORE INSERT ON box_sightings FOR EACH ROW EXECUTE FUNCTION odd()
"""


@pytest.mark.parametrize("id_", [2, 3, 4, 5])
def test_a_message_at_which_the_program_fails_is_passed_over_and_the_next_one_taken(
    gallery: Gallery, place: DatabaseAddress, id_: int, caplog: pytest.LogCaptureFixture
) -> None:
    sent, resolver = Sent(), resolver_of(gallery)
    sql(place, "ALTER TABLE box_sightings ADD CHECK (sighting <> 2)")  # what it does not take is refused with BadInput
    sql(place, _ODD)  # and an error of the program's own is raised as it is
    assert resolver.take(sent.sighting("a", 1, 1, NOW)) == "new"
    before = rows(place)
    odd = sent.sighting("a", id_, id_, NOW + 9)
    with pytest.raises(Failed, match="message 2 of the log, of box a") as failed:
        resolver.take(odd)
    assert rows(place) == before and resolver_of(gallery).read.number == 1
    with pytest.raises(Failed):  # where another one had failed
        resolver_of(gallery, failed=replace(odd.position, number=1)).take(odd)
    with pytest.raises(PassedOver, match="message 2 of the log, of box a"):
        resolver_of(gallery, failed=failed.value.position).take(odd)
    assert rows(place) == before and "message 2 of the log" in caplog.text and "Traceback" in caplog.text
    other = resolver_of(gallery)
    assert other.read.number == 2 and other.take(sent.sighting("a", 6, 6, NOW + 18)) == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_no_message_is_passed_over_for_what_its_machine_lacks(
    gallery: Gallery, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    sent, place = Sent().sighting("a", 1, 1, NOW), None
    with monkeypatch.context() as patch:
        patch.setattr(Identifier, "observe", fails)
        for _ in range(3):
            with pytest.raises(Failed, match=type(error).__name__) as failed:
                resolver_of(gallery, failed=place).take(sent)
            place = failed.value.position
    assert resolver_of(gallery, failed=place).take(sent) == "new"
