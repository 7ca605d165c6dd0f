"""The outbox of a gallery: one message a change of a sighting, numbers that are never given twice, and a bound."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from made_gallery import opened, sighting, sql

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, read_gallery
from vreid.runtime.gallery.clean import CleanRule, cleaned
from vreid.runtime.gallery.edits import merge, split, undo
from vreid.runtime.gallery.maintenance import backed_up, check_gallery, purge, repaired
from vreid.runtime.gallery.outbox import Outbox
from vreid.runtime.gallery.store import Store
from vreid.runtime.gallery.transfer import exported, imported


@pytest.fixture
def gallery(tmp_path: Path) -> Any:
    """An empty gallery with an outbox."""
    with opened(tmp_path / "g.db") as gallery:
        outbox_of(gallery, make=True)
        yield gallery


def outbox_of(gallery: Gallery, make: bool = False) -> Outbox:
    with gallery.transaction() if make else gallery.reading() as store:
        found = store.outbox(make)
    assert found is not None
    return found


def waiting(gallery: Gallery) -> list[tuple[str, int | None, int]]:
    return [(one.what, one.sighting, one.vehicle) for one in outbox_of(gallery).messages(1000)]


def drop_all(gallery: Gallery) -> None:
    outbox = outbox_of(gallery)
    with gallery.transaction():
        outbox.drop([one.seq for one in outbox.messages(1000)])
        outbox.drop([number for number, _ in outbox.pictures(1000)])


def test_a_store_without_an_outbox_has_none_and_one_that_cannot_have_one_says_so(store: Store) -> None:
    assert store.outbox() is None
    try:
        with store.transaction():
            made = store.outbox(make=True)
    except Refused as refused:
        assert "outbox" in str(refused)
        return
    assert made is not None and store.outbox() is not None and made.sizes().messages == 0


def test_each_change_of_a_sighting_is_a_message_in_its_order(gallery: Gallery) -> None:
    one, other = gallery.add_vehicle(), gallery.add_vehicle()
    first = gallery.add_sighting(one, sighting(1, track=1), 0.5)
    second = gallery.add_sighting(other, sighting(2, track=2), 0.5)
    gallery.extend_sighting(one, sighting(1, track=1, last_time=9.0), 0.5)
    gallery.rename(one, "taxi")  # which changes no sighting
    assert waiting(gallery) == [("sighting", first, one), ("sighting", second, other), ("changed", first, one)]
    numbers = [each.seq for each in outbox_of(gallery).messages(9)]
    assert numbers == sorted(set(numbers)) and abs(numbers[0] / 1e6 - time.time()) < 3600
    rows = [each.row for each in outbox_of(gallery).messages(9)]
    assert [row.last_time for row in rows if row is not None] == [9.0, 2.0, 9.0]  # as it is now


def test_merging_splitting_and_undoing_are_messages_of_the_sightings_that_moved(gallery: Gallery) -> None:
    one, other = gallery.add_vehicle(), gallery.add_vehicle()
    kept = [gallery.add_sighting(one, sighting(number, track=number), 0.5) for number in (1, 2)]
    moved = [gallery.add_sighting(other, sighting(number, track=number), 0.5) for number in (3, 4)]
    drop_all(gallery)
    merge(gallery, one, [other])
    assert waiting(gallery) == [("changed", each, one) for each in moved]
    drop_all(gallery)
    undo(gallery)
    assert waiting(gallery) == [("changed", each, other) for each in moved]
    drop_all(gallery)
    new = split(gallery, one, kept[1:])
    assert waiting(gallery) == [("changed", kept[1], new.vehicle)]


def test_what_is_removed_is_not_sent_but_that_it_was_is_and_a_purge_is_no_removal(gallery: Gallery) -> None:
    one, other = gallery.add_vehicle(), gallery.add_vehicle()
    gallery.add_sighting(one, sighting(1), 0.5)
    gallery.add_sighting(other, sighting(2, seen=1e9), 0.5)
    gallery.remove(one)
    assert waiting(gallery) == [("sighting", 2, other), ("removed", None, one)]
    assert [number for number, _ in outbox_of(gallery).pictures(9)] == []  # their messages still wait
    purge(gallery, 1.1e9)
    assert waiting(gallery) == [("removed", None, one)]
    unnamed = gallery.add_vehicle()
    gallery.add_sighting(unnamed, sighting(3), 0.5)
    assert [each.id for each in cleaned(gallery, CleanRule(once=True))] == [unnamed]
    assert waiting(gallery) == [("removed", None, one), ("removed", None, unnamed)]


def test_a_transaction_that_is_taken_back_leaves_no_message(gallery: Gallery) -> None:
    with pytest.raises(ZeroDivisionError), gallery.transaction():
        gallery.add_sighting(gallery.add_vehicle(), sighting(1), 0.5)
        assert len(waiting(gallery)) == 1
        raise ZeroDivisionError
    assert waiting(gallery) == [] and outbox_of(gallery).sizes().oldest is None


def test_pictures_follow_their_messages(gallery: Gallery) -> None:
    vehicle, outbox = gallery.add_vehicle(), outbox_of(gallery)
    sightings = [gallery.add_sighting(vehicle, sighting(number, track=number), 0.5) for number in range(3)]
    assert outbox.pictures(9) == []
    with gallery.transaction():
        outbox.drop([one.seq for one in outbox.messages(2)])
    assert [jpeg for _, jpeg in outbox.pictures(9)] == [gallery.sighting_picture(each) for each in sightings[:2]]
    sizes = outbox.sizes()
    assert (sizes.messages, sizes.pictures) == (1, 3) and sizes.oldest == outbox.pictures(1)[0][0]


def test_numbers_are_never_given_again_not_even_after_a_backup_was_put_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "g.db", tmp_path / "copy.db"
    used = []

    def write(count: int) -> None:
        with opened(path) as gallery:
            outbox_of(gallery, make=True)
            vehicle = gallery.add_vehicle()
            for number in range(count):
                gallery.add_sighting(vehicle, sighting(number, track=number), 0.5)
            used.extend(one.seq for one in outbox_of(gallery).messages(1000))
            drop_all(gallery)

    write(20)
    backed_up(path, copy)
    write(20)
    shutil.copyfile(copy, path)
    write(20)
    path.unlink()  # made anew
    write(20)
    assert len(used) == len(set(used)) == 80 and used == sorted(used)


def test_many_sightings_of_one_statement_get_numbers_of_their_own(gallery: Gallery) -> None:
    one, other = gallery.add_vehicle(), gallery.add_vehicle()
    with gallery.transaction():
        for number in range(300):
            gallery.add_sighting(other, sighting(number % 5, track=number), 0.5)
    drop_all(gallery)
    merge(gallery, one, [other])  # one UPDATE of all
    numbers = [each.seq for each in outbox_of(gallery).messages(1000)]
    assert len(set(numbers)) == 300 and numbers == sorted(numbers)


def test_beyond_its_room_the_oldest_pictures_go_first_and_then_the_oldest_messages(gallery: Gallery) -> None:
    vehicle, outbox = gallery.add_vehicle(), outbox_of(gallery)
    for number in range(10):
        gallery.add_sighting(vehicle, sighting(number, track=number), 0.5)
    every, sizes = [one.seq for one in outbox.messages(99)], outbox.sizes()
    with gallery.transaction():
        assert outbox.trim(sizes.bytes) == (0, 0)
        pictures, messages = outbox.trim(sizes.bytes * 3 // 4)
    assert 0 < pictures < 10 and messages == 0 and outbox.sizes().bytes <= sizes.bytes * 3 // 4
    with gallery.transaction():
        outbox.drop(every[:1])
        assert [number for number, _ in outbox.pictures(99)] == []  # the first picture is gone
        more = outbox.trim(4 * 640)
    left = outbox.sizes()
    assert more[0] == 10 - pictures and [one.seq for one in outbox.messages(99)] == every[10 - left.messages :]
    assert 0 < left.messages < 9 and left.pictures == 0 and left.bytes <= 4 * 640
    assert (left.dropped_pictures, left.dropped_messages) == (10, more[1])
    gallery.remove(vehicle)
    with gallery.transaction():
        assert outbox.trim(0) == (0, 0)  # who was removed is to go elsewhere too
    assert [one.what for one in outbox.messages(99)] == ["removed"]


@pytest.mark.parametrize("purged", [False, True])
def test_whose_a_sighting_was_last_is_sent_although_it_is_gone(gallery: Gallery, purged: bool) -> None:
    taxi, outbox = gallery.add_vehicle("taxi"), outbox_of(gallery)
    first, second = [gallery.add_sighting(taxi, sighting(number, track=number), 0.5) for number in (1, 2)]
    drop_all(gallery)
    gallery.extend_sighting(taxi, sighting(1, track=1, last_time=9.0), 0.5)
    van = split(gallery, taxi, [second], "van").vehicle
    with gallery.transaction():
        assert outbox.trim(1)[1] == 1  # what went on only
    assert waiting(gallery) == [("changed", second, van)]
    if purged:
        purge(gallery, 4e9)
    gallery.remove(van)
    assert waiting(gallery) == [("moved", second, van), ("removed", None, van)]
    assert [one.row for one in outbox.messages(9)] == [None, None] and outbox.sizes().bytes < 2000
    assert purged or first in [one.id for one in gallery.sightings(taxi)]


@pytest.mark.parametrize("undone", [False, True])
def test_who_was_merged_into_a_removed_vehicle_is_removed_elsewhere_too(gallery: Gallery, undone: bool) -> None:
    taxi, other, outbox = gallery.add_vehicle("taxi"), gallery.add_vehicle(), outbox_of(gallery)
    for vehicle in (taxi, other):
        gallery.add_sighting(vehicle, sighting(vehicle), 0.5)
    with gallery.transaction():
        outbox.drop([one.seq for one in outbox.messages(99)])  # all was sent
    merge(gallery, taxi, [other])
    if undone:
        undo(gallery)
    gallery.remove(taxi)  # before the merge was sent
    waiting = {one.vehicle for one in outbox.messages(99) if one.what == "removed"}
    assert waiting == ({taxi} if undone else {taxi, other})


def test_all_else_of_a_gallery_works_with_an_outbox(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        outbox_of(gallery, make=True)
        vehicle = gallery.add_vehicle("taxi")
        gallery.add_prototype(vehicle, "gate", sighting(1).feature)
        gallery.add_sighting(vehicle, sighting(1), 0.5)
    assert check_gallery(path) == [] and repaired(path) == []
    with read_gallery(path) as gallery:
        exported(gallery, tmp_path / "out.jsonl")
    backed_up(path, tmp_path / "copy.db")
    for each in (path, tmp_path / "copy.db"):
        with read_gallery(each) as gallery:
            assert len(waiting(gallery)) == 1
    with opened(tmp_path / "other.db") as gallery:
        outbox_of(gallery, make=True)
        imported(gallery, tmp_path / "out.jsonl")
        assert len(waiting(gallery)) == 1
    with edit_gallery(path) as gallery:
        gallery.compact()
        assert sql(path, "SELECT value FROM meta WHERE key = 'schema'") == [("4",)]


def test_what_is_removed_leaves_no_byte_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        outbox_of(gallery, make=True)
        vehicle = gallery.add_vehicle()
        seen = gallery.add_sighting(vehicle, sighting(1, plate="B-XY 123"), 0.5)
        picture = gallery.sighting_picture(seen)
        assert picture is not None
        gallery.remove(vehicle)
        gallery.wipe()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    assert picture[100:140] not in content and b"B-XY 123" not in content
