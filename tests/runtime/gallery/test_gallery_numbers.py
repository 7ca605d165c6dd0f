"""What sightings and vehicles are called outside of their gallery: by numbers that no other file gives, and no copy of it."""

import shutil
from pathlib import Path

import pytest
from made_gallery import opened, sighting, sql

from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery.edits import merge, split
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.outbox import Outbox, OutboxMessage


def begun(gallery: Gallery) -> Outbox:
    """The outbox, as a run begins with it."""
    with gallery.transaction() as store:
        found = store.outbox(make=True)
    assert found is not None
    return found


def written(path: Path, count: int = 2) -> list[OutboxMessage]:
    """A run that writes so many vehicles, each with a sighting; all messages that wait then."""
    with opened(path) as gallery:
        outbox = begun(gallery)
        for track in range(count):
            gallery.add_sighting(gallery.add_vehicle(), sighting(track, track=track), 0.5)
        return outbox.messages(99)


def ids_of(path: Path, numbers: list[int]) -> dict[int, int]:
    with opened(path, write=False) as gallery, gallery.reading() as store:
        outbox = store.outbox()
        assert outbox is not None
        return outbox.ids_of(numbers)


def numbers(messages: list[OutboxMessage]) -> list[int]:
    return [one.sighting_number for one in messages if one.sighting_number is not None]


def vehicles(messages: list[OutboxMessage]) -> list[int]:
    return [one.vehicle_number for one in messages]


def test_numbers_stay_over_runs_and_lead_back_to_the_sightings(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        old = gallery.add_sighting(gallery.add_vehicle(), sighting(9), 0.5)  # before there was an outbox
    first = written(path)
    both = written(path)
    assert numbers(both)[:2] == numbers(first) and vehicles(both)[:2] == vehicles(first)
    assert len({*numbers(both)}) == len({*vehicles(both)}) == 4 and all(0 < one < 1 << 53 for one in numbers(both))
    assert ids_of(path, numbers(both)) == dict(zip(numbers(both), [2, 3, 4, 5], strict=True))
    before = min(numbers(first)) - 1  # of the sighting that was written before
    strangers = [1, before - 1, max(numbers(both)) + 1, (1 << 63) - 1]
    assert ids_of(path, [before, *strangers]) == {before: old}


def test_a_gallery_that_is_made_anew_gives_other_numbers(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a.db"), written(tmp_path / "b.db")
    assert [each.sighting for each in one] == [each.sighting for each in other]
    assert not {*numbers(one)} & {*numbers(other)} and not {*vehicles(one)} & {*vehicles(other)}
    assert ids_of(tmp_path / "a.db", numbers(other)) == {}


def test_a_gallery_put_back_from_a_backup_keeps_its_numbers_and_gives_others_from_then_on(tmp_path: Path) -> None:
    path, backup = tmp_path / "g.db", tmp_path / "backup.db"
    before = written(path)
    shutil.copy(path, backup)
    lost = written(path)[2:]
    shutil.copy(backup, path)
    after = written(path)
    assert numbers(after)[:2] == numbers(before) and vehicles(after)[:2] == vehicles(before)
    assert [each.sighting for each in after[2:]] == [each.sighting for each in lost]
    assert not {*numbers(after)} & {*numbers(lost)} and not {*vehicles(after)} & {*vehicles(lost)}
    assert ids_of(path, numbers(lost)) == {}


def test_who_else_writes_after_a_backup_was_put_back_gives_no_number_again(tmp_path: Path) -> None:
    path, backup = tmp_path / "g.db", tmp_path / "backup.db"
    with opened(path) as gallery:
        outbox = begun(gallery)
        for track in range(2):
            gallery.add_sighting(gallery.add_vehicle(), sighting(track, track=track), 0.5)
        merge(gallery, 1, [2])
        with gallery.reading() as store:
            store.backup(backup)  # while the run goes on
        gallery.add_sighting(gallery.add_vehicle(), sighting(3, track=3), 0.5)
        lost = outbox.messages(99)[-1]
    shutil.copy(backup, path)
    with edit_gallery(path) as gallery:  # as `vreid gallery split` does, before there is another run
        split(gallery, 1, [2])
        gallery.remove(gallery.vehicles()[-1].id)
    with opened(path, write=False) as gallery, gallery.reading() as store:
        found = store.outbox()
        assert found is not None
        removed = found.messages(99)[-1]
    assert (removed.what, removed.vehicle) == ("removed", lost.vehicle)
    assert removed.vehicle_number != lost.vehicle_number


def test_runs_that_write_nothing_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    for _ in range(5):
        written(path, 0)
    written(path, 1)
    for _ in range(5):
        written(path, 0)
    assert sql(path, "SELECT count(*) FROM outbox_numbers") == [(3,)]


def test_a_removed_vehicle_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    of_vehicle = written(path)[0].vehicle_number
    with opened(path) as gallery:
        gallery.remove(1)
        assert begun(gallery).messages(9)[-1].vehicle_number == of_vehicle


@pytest.mark.parametrize("damaged", [False, True])
def test_a_repaired_gallery_is_known_by_its_numbers(tmp_path: Path, damaged: bool) -> None:
    path = tmp_path / "g.db"
    known = numbers(written(path))
    (root,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'sightings'")[0]
    (own,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'outbox_numbers'")[0]
    (page,) = sql(path, "PRAGMA page_size")[0]
    with path.open("r+b") as file:
        for number in (root, own)[: 1 + damaged]:
            file.seek((number - 1) * page)
            file.write(b"\xff" * page)
    repaired(path)
    after = written(path, 1)
    assert ids_of(path, known) == ({} if damaged else dict(zip(known, [1, 2], strict=True)))
    assert not {*known} & {*numbers(after)}
