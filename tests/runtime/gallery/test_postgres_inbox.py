"""What a gallery in PostgreSQL keeps of boxes: messages known again, whose sighting is which, and what boxes are to hear."""

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest
from made_gallery import opened, sighted, sighting, sql
from real_postgres import Server

from vreid.fleet.messages import picture_name
from vreid.runtime.gallery import Gallery, edits, read_gallery
from vreid.runtime.gallery.clean import CleanRule, cleaned
from vreid.runtime.gallery.inbox import Box, BoxSighting, Inbox
from vreid.runtime.gallery.maintenance import purge
from vreid.runtime.gallery_place import DatabaseAddress

NOVEMBER, JANUARY = (
    datetime(2025, 11, 20, tzinfo=timezone.utc).timestamp(),
    datetime(2026, 1, 9, tzinfo=timezone.utc).timestamp(),
)
BLACK, WHITE = b"\xff\xd8 black", b"\xff\xd8 white"


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("inbox")


@pytest.fixture
def gallery(place: DatabaseAddress) -> Gallery:
    return opened(place)


def inbox_of(gallery: Gallery) -> Inbox:
    with gallery.reading() as store:
        inbox = store.inbox()
    assert inbox is not None
    return inbox


def arrived(gallery: Gallery, vehicle: int, number: int, picture: str | None = None, **changes: object) -> int:
    """Sighting `number` of box a, of its vehicle 40 + `vehicle`, in message 100 + `number` at 1000 + `number`; its id here."""
    more = {"picture": np.empty((0, 0, 3), np.uint8)} if picture else {}
    seen = sighting(vehicle, **{"seen": JANUARY + number, **more, **changes})
    with gallery.transaction():
        inbox = inbox_of(gallery)
        assert inbox.receive("a", 100 + number, number, 1000 + number)
        here = sighted(gallery, vehicle, seen)
        inbox.keep_sighting(BoxSighting("a", number, 40 + vehicle, here, picture))
    return here


def heard(gallery: Gallery) -> dict[int, tuple[int | None, str | None]]:
    """What box a is to hear, which is then dropped: vehicle and name, by the sighting's number there."""
    inbox = inbox_of(gallery)
    waiting = inbox.identities(100)
    assert [one.id for one in waiting] == sorted({one.id for one in waiting})
    assert len({one.sighting for one in waiting}) == len(waiting)
    assert {one.box for one in waiting} <= {"a"}
    inbox.drop_identities([(one, 5000 + one.sighting) for one in waiting])
    assert inbox.identities(100) == []
    return {one.sighting: (one.vehicle, one.name) for one in waiting}


def test_a_message_is_known_again_by_its_number(gallery: Gallery) -> None:
    inbox = inbox_of(gallery)
    assert inbox.receive("a", 7, 3, 50)
    assert not inbox.receive("a", 7, 3, 50)
    assert not inbox.receive("a", 7, 3, 60)  # stored in the log twice
    assert inbox.receive("b", 7, 3, 61) and inbox.receive("a", 8, None, 62)
    assert not inbox.receive("a", 8, None, 62)
    with pytest.raises(KeyError), gallery.transaction():
        assert inbox.receive("a", 9, 3, 63)
        raise KeyError
    assert inbox.receive("a", 9, 3, 63)


def test_a_box_hears_of_a_new_sighting_once_and_as_it_is_now(gallery: Gallery) -> None:
    taxi = gallery.add_vehicle("taxi")
    here = arrived(gallery, taxi, 1)
    inbox = inbox_of(gallery)
    assert inbox.sighting("a", 1) == BoxSighting("a", 1, 41, here) and inbox.sighting("b", 1) is None
    gallery.rename(taxi, "cab")
    gallery.rename(taxi, "old cab")
    [identity] = inbox.identities(10)
    assert (identity.box, identity.sighting, identity.vehicle, identity.name) == ("a", 1, taxi, "old cab")
    assert inbox.waiting() == {"identities": 1, "pictures": 0, "removals": 0}
    gallery.rename(taxi, "cab")  # while it is being sent
    inbox.drop_identities([(identity, 4000)])
    assert heard(gallery) == {1: (taxi, "cab")}
    inbox.keep_sighting(BoxSighting("a", 1, 99, here))  # another vehicle there changes nothing here
    assert heard(gallery) == {} and inbox.sightings_of("a", 41) == []
    assert inbox.sightings_of("a", 99) == [BoxSighting("a", 1, 99, here)]


def test_boxes_hear_of_merges_splits_and_their_undoing(gallery: Gallery) -> None:
    taxi, van = gallery.add_vehicle("taxi"), gallery.add_vehicle("van")
    numbers = {number: arrived(gallery, taxi if number < 3 else van, number) for number in range(1, 5)}
    sighted(gallery, van, sighting(9))  # of no box
    assert heard(gallery) == {1: (taxi, "taxi"), 2: (taxi, "taxi"), 3: (van, "van"), 4: (van, "van")}
    edits.merge(gallery, taxi, [van])
    assert heard(gallery) == {3: (taxi, "taxi"), 4: (taxi, "taxi")}
    edits.undo(gallery)
    assert heard(gallery) == {3: (van, "van"), 4: (van, "van")}
    new = edits.split(gallery, van, [numbers[4]], "lorry").vehicle
    assert heard(gallery) == {4: (new, "lorry")}
    edits.undo(gallery)
    assert heard(gallery) == {4: (van, "van")}
    assert inbox_of(gallery).removals(10) == []


def test_a_removal_is_for_good_and_names_what_is_to_be_erased(gallery: Gallery) -> None:
    taxi, van = gallery.add_vehicle("taxi"), gallery.add_vehicle("van")
    shared, own = picture_name(BLACK), picture_name(WHITE)
    arrived(gallery, taxi, 1, own)
    arrived(gallery, taxi, 2, shared)
    kept = arrived(gallery, van, 3, shared)
    inbox = inbox_of(gallery)
    assert not inbox.receive("a", 101, 1, 1050)
    heard(gallery)
    gallery.remove(taxi)
    first, second = inbox.removals(10)
    assert (first.box, first.sighting, first.messages, first.pictures) == ("a", 1, (1001, 1050, 5001), (own,))
    assert (second.sighting, second.messages, second.pictures) == (2, (1002, 5002), ())
    assert inbox.sightings_of("a", 40 + taxi) == [] and {*inbox.missing_pictures(10, 0)} == {own, shared}
    assert inbox.waiting()["pictures"] == 1  # the other one only if it comes, to be deleted
    assert heard(gallery) == {1: (None, None), 2: (None, None)}
    inbox.drop_removals([first, second])
    gone = BoxSighting("a", 1, 40 + taxi, None, gone=True)
    assert inbox.removals(10) == [] and inbox.sighting("a", 1) == replace(gone, picture=own)  # which may come yet
    # one that comes late is known, and erased in its turn
    assert inbox.receive("a", 150, 1, 1150)
    inbox.keep_sighting(BoxSighting("a", 1, 40 + taxi, kept, own))
    assert inbox.sighting("a", 1) == replace(gone, picture=own) and own in inbox.missing_pictures(10, 0)
    [late] = inbox.removals(10)
    assert (late.messages, late.pictures) == ((1150,), (own,)) and late.id > second.id
    assert [(one.sighting, one.vehicle) for one in inbox.identities(10)] == [(1, None)]


def absent(gallery: Gallery, number: int, vehicle: int, picture: str | None = None) -> None:
    """Sighting `number` of box a, of its vehicle, in message 100 + `number` at 1000 + `number`, of which nothing is made."""
    with gallery.transaction():
        inbox = inbox_of(gallery)
        assert inbox.receive("a", 100 + number, number, 1000 + number)
        inbox.keep_sighting(BoxSighting("a", number, vehicle, None, picture))


def test_a_box_removes_what_was_left_unknown_purged_or_put_aside_too(gallery: Gallery) -> None:
    taxi, inbox, black, white = gallery.add_vehicle(), inbox_of(gallery), picture_name(BLACK), picture_name(WHITE)
    arrived(gallery, taxi, 1, white, seen=NOVEMBER)  # its picture never comes
    absent(gallery, 2, 41, black)
    inbox.put_aside(BoxSighting("a", 3, 41, None), 1003)
    inbox.put_aside(BoxSighting("a", 3, 41, None), 1004)
    inbox.put_aside(BoxSighting("a", 1, 99, None), 1005)  # of a number that is here: whose it is stays
    absent(gallery, 4, 42)
    purge(gallery, JANUARY)
    assert inbox.sighting("a", 2) == BoxSighting("a", 2, 41, None, black) and inbox.removals(10) == []
    assert heard(gallery) == {} and inbox.missing_pictures(10, 0) == []
    inbox.remove_absent("a", 41)
    waiting = inbox.removals(10)
    assert {one.sighting: (one.messages, one.pictures) for one in waiting} == {
        1: ((1001, 1005), (white,)), 2: ((1002,), (black,)), 3: ((1003, 1004), ()),
    }  # fmt: skip
    inbox.drop_removals(waiting)
    inbox.put_aside(BoxSighting("a", 3, 41, None), 1006)
    assert not inbox.receive("a", 102, 2, 1007)
    assert {one.sighting: one.messages for one in inbox.removals(10)} == {2: (1007,), 3: (1006,)}
    assert {*inbox.missing_pictures(10, 0)} == {black, white} and not inbox.put_picture(black, BLACK)  # it comes late
    assert inbox.missing_pictures(10, 0) == [white] and inbox.sighting("a", 4) == BoxSighting("a", 4, 42, None)
    assert heard(gallery) == {2: (None, None)}


def test_with_a_removal_here_all_messages_of_the_boxs_vehicle_are_erased_once(gallery: Gallery) -> None:
    taxi, van = gallery.add_vehicle(), gallery.add_vehicle()
    arrived(gallery, taxi, 1)
    arrived(gallery, taxi, 2, seen=NOVEMBER)
    absent(gallery, 3, 41)
    absent(gallery, 4, 42)
    last = arrived(gallery, van, 5)
    purge(gallery, JANUARY)
    heard(gallery)
    inbox = inbox_of(gallery)
    gallery.remove(taxi)
    waiting = inbox.removals(10)
    assert {one.sighting: one.messages for one in waiting} == {1: (1001, 5001), 2: (1002,), 3: (1003,)}
    assert heard(gallery) == {1: (None, None)}  # of what is not here its box decides
    inbox.drop_removals(waiting)
    inbox.keep_sighting(BoxSighting("a", 5, 41, last))
    gallery.remove(van)
    assert {one.sighting: one.messages for one in inbox.removals(10)} == {5: (1005, 5005)}
    assert not inbox.sighting("a", 3).gone and inbox.receive("a", 300, 3, 1300)  # type: ignore[union-attr]
    inbox.keep_sighting(BoxSighting("a", 3, 41, None))


def test_what_was_said_of_a_sighting_while_it_was_removed_is_erased_too(gallery: Gallery) -> None:
    taxi, inbox = gallery.add_vehicle("taxi"), inbox_of(gallery)
    arrived(gallery, taxi, 1)
    [said] = inbox.identities(10)
    gallery.remove(taxi)
    inbox.drop_removals(inbox.removals(10))  # before the log has acknowledged it
    inbox.drop_identities([(said, 2000)])
    assert [one.messages for one in inbox.removals(10)] == [(2000,)]
    assert heard(gallery) == {1: (None, None)}  # which names nobody, and stays in the log
    assert [one.messages for one in inbox.removals(10)] == [(2000,)]


def test_a_number_that_a_log_made_anew_gives_again_is_of_what_it_has_now(gallery: Gallery) -> None:
    taxi, inbox = gallery.add_vehicle("taxi"), inbox_of(gallery)
    arrived(gallery, taxi, 1)
    arrived(gallery, taxi, 2)
    first, second = inbox.identities(10)
    for identity, aside in ((first, 3), (second, 4)):
        inbox.drop_identities([(identity, 7)])
        inbox.put_aside(BoxSighting("a", aside, 41, None), 8)
    gallery.remove(taxi)
    waiting = inbox.removals(10)
    assert {one.sighting: one.messages for one in waiting} == {1: (1001,), 2: (7, 1002), 4: (8,)}
    inbox.drop_removals(waiting)
    inbox.drop_identities([(second, 7)])  # in one more log, after it was erased in this one
    assert [one.messages for one in inbox.removals(10)] == [(7,)]


def test_what_is_cleaned_away_is_removed_at_boxes_too(gallery: Gallery) -> None:
    arrived(gallery, gallery.add_vehicle(), 1)
    arrived(gallery, gallery.add_vehicle("taxi"), 2)
    heard(gallery)
    assert [one.id for one in cleaned(gallery, CleanRule(once=True))] == [1]
    assert heard(gallery) == {1: (None, None)}
    assert [one.sighting for one in inbox_of(gallery).removals(10)] == [1]


def test_a_sighting_that_is_removed_without_its_vehicle_is_removed_at_its_box_too(gallery: Gallery) -> None:
    taxi = gallery.add_vehicle("taxi")
    first, _ = arrived(gallery, taxi, 1), arrived(gallery, taxi, 2)
    heard(gallery)
    gallery.remove_sightings([first])
    assert heard(gallery) == {1: (None, None)}
    inbox = inbox_of(gallery)
    assert [one.sighting for one in inbox.removals(10)] == [1]
    assert [one.sighting for one in inbox.sightings_of("a", 40 + taxi)] == [2]


def test_a_purge_says_nothing_to_boxes_and_no_sighting_comes_again(gallery: Gallery, place: DatabaseAddress) -> None:
    """One of a month whose table is dropped, and one of a month of which younger ones stay."""
    vehicle = gallery.add_vehicle()
    arrived(gallery, vehicle, 1, seen=NOVEMBER)
    arrived(gallery, vehicle, 2, picture_name(BLACK), seen=JANUARY - 86400)
    heard(gallery)
    arrived(gallery, vehicle, 3)
    assert "sightings_2025_11" in str(sql(place, "SELECT DISTINCT tableoid::regclass::text FROM sightings"))
    assert purge(gallery, JANUARY).sightings == 2
    assert "sightings_2025_11" not in str(sql(place, "SELECT relname FROM pg_class"))
    inbox = inbox_of(gallery)
    for number in (1, 2):
        assert inbox.sighting("a", number) == BoxSighting(
            "a", number, 41, None, picture_name(BLACK) if number == 2 else None, True
        )
    assert heard(gallery) == {3: (vehicle, "vehicle-0001")} and inbox.removals(10) == []
    assert inbox.missing_pictures(10, 0) == [] and inbox.waiting()["pictures"] == 0
    purge(gallery, JANUARY + 100)  # and the vehicle with its last one
    assert gallery.vehicles() == [] and heard(gallery) == {} and inbox.removals(10) == []


def test_a_purge_drops_what_waits_about_purged_sightings(gallery: Gallery) -> None:
    arrived(gallery, gallery.add_vehicle(), 1)
    purge(gallery, JANUARY + 100)
    assert heard(gallery) == {} and inbox_of(gallery).waiting()["identities"] == 0


def test_a_sighting_that_goes_on_into_the_next_month_is_not_removed(gallery: Gallery) -> None:
    vehicle = gallery.add_vehicle()
    here = arrived(gallery, vehicle, 1, seen=NOVEMBER)
    heard(gallery)
    gallery.extend_sighting(vehicle, sighting(vehicle, seen=JANUARY, last_time=90.0), 0.9)
    inbox = inbox_of(gallery)
    assert [one.at for one in gallery.sightings(vehicle)] == [JANUARY]
    assert inbox.sighting("a", 1) == BoxSighting("a", 1, 41, here) and heard(gallery) == {} and inbox.removals(10) == []


def test_pictures_come_later_to_all_sightings_that_lack_them(gallery: Gallery) -> None:
    black, white = picture_name(BLACK), picture_name(WHITE)
    one, two, named = gallery.add_vehicle(), gallery.add_vehicle(), gallery.add_vehicle("taxi")
    numbers = [
        arrived(gallery, one, 2, black),
        arrived(gallery, one, 1, black),
        arrived(gallery, two, 3, white),
        arrived(gallery, two, 4),
    ]
    inbox = inbox_of(gallery)
    assert inbox.missing_pictures(10, 0) == [white, black] and inbox.missing_pictures(1, 0) == [white]
    assert inbox.missing_pictures(10, 4e9) == [] and inbox.waiting()["pictures"] == 2
    before = gallery.sighting_picture(numbers[3])
    assert inbox.put_picture(black, BLACK)
    assert not inbox.put_picture(picture_name(b"of no sighting"), b"of no sighting")
    assert inbox.missing_pictures(10, 0) == [white]
    assert [gallery.sighting_picture(number) for number in numbers] == [BLACK, BLACK, None, before]
    with gallery.reading() as store:
        rows = {row.id: row for row in store.vehicle_rows()}
    assert (rows[one].thumbnail, rows[one].pictured) == (BLACK, JANUARY + 1)
    assert rows[two].thumbnail is None and rows[named].thumbnail is None
    purge(gallery, JANUARY + 1.5)  # the vehicle's own goes at the age of the sighting that it is of
    with gallery.reading() as store:
        row = store.vehicle(one)
    assert row is not None and row.thumbnail is None and gallery.vehicle_picture(one) == BLACK


def test_boxes_are_known_by_their_last_message(gallery: Gallery, place: DatabaseAddress) -> None:
    inbox = inbox_of(gallery)
    inbox.heard("b", 5, 100.0, 0.25)
    inbox.heard("a", 3, 90.0, -61.0)
    inbox.heard("b", 9, 110.0, 0.5)
    with read_gallery(place) as reader:
        assert inbox_of(reader).boxes() == [Box("a", 3, 90.0, -61.0), Box("b", 9, 110.0, 0.5)]


def test_only_what_knows_messages_again_is_forgotten(gallery: Gallery) -> None:
    taxi, old = gallery.add_vehicle("taxi"), gallery.add_vehicle()
    arrived(gallery, old, 1, seen=NOVEMBER)
    arrived(gallery, taxi, 2)
    arrived(gallery, gallery.add_vehicle("van"), 3)
    purge(gallery, JANUARY)
    gallery.remove(3)
    inbox = inbox_of(gallery)
    assert inbox.forget_received(1e9) == 0
    assert inbox.forget_received(4e9) == 3  # two messages, and what was known of the purged sighting
    assert inbox.sighting("a", 1) is None and inbox.receive("a", 102, 2, 1002)
    [removal] = inbox.removals(10)  # its messages are still to be erased
    assert removal.messages == (1003,)
    inbox.drop_removals([removal])
    assert inbox.forget_received(4e9) == 2
    assert inbox.sighting("a", 3) == BoxSighting("a", 3, 43, None, gone=True)
    gallery.rename(taxi, "cab")
    assert heard(gallery) == {2: (taxi, "cab"), 3: (None, None)}
