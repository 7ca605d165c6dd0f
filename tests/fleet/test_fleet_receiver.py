"""What a centre says to a box, taken from a real NATS server: kept, acknowledged afterwards, and removed in every byte."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from made_box import box_in, identity, outbox_of, removal, said_to, settings, sizes, unheard, written
from made_gallery import enrolled, noise, opened, sighting
from made_outputs import until
from real_nats import NatsServer, Stored, make_streams, nats_in, stored_in

from vreid.fleet.receiver import Receiver
from vreid.fleet.rights import of_box
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import consumer_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.edits import merge
from vreid.runtime.gallery.identities import Identities
from vreid.runtime.gallery.index import vehicle_index
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, kept_name

BOX = "Kreuzung 7"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    (tmp_path / "box").mkdir()
    with box_in(tmp_path / "box" / "g.db") as gallery:
        yield gallery


@contextmanager
def sending(server: NatsServer, gallery: Gallery) -> Iterator[Sender]:
    """A live box's thread."""
    sender = Sender(settings(server, BOX), gallery)
    sender.start()
    try:
        yield sender
    finally:
        sender.close()


def sent(server: NatsServer) -> list[Stored]:
    """What the box has sent."""
    return [each for each in stored_in(server.url) if not each.subject.startswith("v1.identity.")]


def known(gallery: Gallery) -> Identities:
    with gallery.reading() as store:
        found = store.identities()
    assert found is not None
    return found


def texts(gallery: Gallery) -> dict[int, str]:
    return {sighting: one.text for sighting, one in known(gallery).of_sightings(range(1, 50)).items()}


def test_identities_are_kept_as_they_come_and_move_nothing(server: NatsServer, gallery: Gallery) -> None:
    other = gallery.add_vehicle("mine")
    ids = [written(gallery, track=track) for track in range(3)]
    last = gallery.add_sighting(other, sighting(4, track=9), 0.5)
    with sending(server, gallery) as sender:
        said_to(
            server.url,
            BOX,
            gallery.path,
            identity(ids[0], 12, "taxi"),
            identity(ids[1], 13),
            identity(last, 12, "taxi"),
        )
        assert until(lambda: len(texts(gallery)) == 3)
        said_to(server.url, BOX, gallery.path, identity(ids[0], 14, "bus"), identity(99, 5))  # 99 was purged here
        assert until(lambda: texts(gallery)[ids[0]] == "north:14 bus")
        merge(gallery, 1, [other])
        said_to(server.url, BOX, gallery.path, identity(last, 15))
        assert until(lambda: sender.status().received == 6 and unheard(server.url, BOX) == 0)
        assert until(lambda: sender.status().unanswered == 1 and sender.status().heard > 1e9)
        assert until(lambda: sizes(gallery).oldest is None)
    assert texts(gallery) == {ids[0]: "north:14 bus", ids[1]: "north:13 car 13", last: "north:15 car 15"}
    assert [one.vehicle for one in gallery.latest_sightings()] == [1] * 4
    assert {change.who for change in gallery.changes()} & {"centre"} == set()
    assert len(sent(server)) == 5


def test_who_has_said_nothing_was_not_heard(gallery: Gallery) -> None:
    class Nothing:
        """What nats-py gives where the server's time for a request was over before its own."""

        async def fetch(self, batch: int, timeout: float) -> list[object]:
            return []

    async def listened() -> int:
        return await Receiver(BOX, gallery)._take(None, Nothing(), 1.0)  # type: ignore[arg-type]

    assert asyncio.run(listened()) == 0 and known(gallery).sizes().heard is None


def test_what_was_said_while_the_box_was_off_is_taken_by_fleet_send_too(server: NatsServer, gallery: Gallery) -> None:
    ids = [written(gallery, track=track) for track in range(300)]
    Sender(settings(server, BOX), gallery).send_all()
    said_to(server.url, BOX, gallery.path, *(identity(each, 7, "taxi") for each in ids))
    assert Sender(settings(server, BOX), gallery).send_all().received == 300
    assert known(gallery).sizes().known == 300 and unheard(server.url, BOX) == 0
    assert known(gallery).of_vehicles([1])[1].text == "north:7 taxi"


def test_what_is_no_message_is_passed_over_and_said_and_what_a_replaced_resolver_says_changes_nothing(
    server: NatsServer, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    one = written(gallery)
    said_to(server.url, BOX, gallery.path, b"{", {**removal(one), "vehicle": 5}, identity(one, 5, "a\nb"))
    said_to(
        server.url,
        BOX,
        gallery.path,
        identity(one, 12, epoch=4),
        identity(one, 99, epoch=3),
    )
    Sender(settings(server, BOX), gallery).send_all()
    assert texts(gallery) == {one: "north:12 car 12"} and unheard(server.url, BOX) == 0
    said = [each.message for each in caplog.records]
    assert sum("is passed over" in each for each in said) == 3


def test_who_may_not_listen_sends_all_the_same(
    tmp_path: Path, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    barred = '{user: "box", password: "b", permissions: {publish: "v1.north.>", subscribe: "_INBOX.>"}}'
    (tmp_path / "n").mkdir()
    lines = (f'authorization {{ users: [{{user: "op", password: "o"}}, {barred}] }}',)
    with nats_in(tmp_path / "n", *lines, account="op:o") as server:
        make_streams(server.url)
        server.url = server.url.replace("op:o@", "box:b@")
        with sending(server, gallery) as sender:
            for track in range(20):
                gallery.add_sighting(1, sighting(1, track=track, picture=noise(1)[:0]), 0.5)
            assert until(lambda: sender.status().sent == 20 and sizes(gallery).oldest is None)
            assert until(lambda: any("cannot be received" in each.message for each in caplog.records))
            assert sender.status().alive


def test_the_rights_of_a_box_let_it_hear(tmp_path: Path, gallery: Gallery) -> None:
    (tmp_path / "n").mkdir()
    own = f'{{user: "box", password: "b", {of_box(BOX, "north").as_config()}}}'
    with nats_in(
        tmp_path / "n", f'authorization {{ users: [{{user: "op", password: "o"}}, {own}] }}', account="op:o"
    ) as server:
        make_streams(server.url)
        one, other = written(gallery, track=1), written(gallery, track=2)
        said_to(server.url, BOX, gallery.path, identity(one, 12), removal(other))
        done = Sender(settings(server, BOX, server=server.url.replace("op:o@", "box:b@")), gallery).send_all()
        assert (done.sent, done.received, unheard(server.url, BOX)) == (2, 2, 0)
    assert texts(gallery) == {one: "north:12 car 12"} and [each.id for each in gallery.sightings(1)] == [one]


@dataclass(frozen=True)
class Removed:
    """A sighting of a box, and what of it may be in no file afterwards."""

    id: int
    parts: dict[str, bytes]


def to_be_removed(gallery: Gallery, vehicle: int, seed: int) -> Removed:
    """A sighting whose picture is also that of its vehicle, with a kept picture, which stands for its vehicle."""
    seen = sighting(seed, camera="yard", plate=f"B-XY {seed}", seen=1000.0 + seed, track=seed, picture=noise(seed))
    gallery.add_prototype(vehicle, "yard", seen.feature)
    id_ = gallery.add_sighting(vehicle, seen, 0.9)
    kept = f"kept picture {seed}".encode() * 9
    KeptFolder(folder_of_gallery(gallery.path)).write(kept_name("yard", 1000.0 + seed, seed), kept)
    jpeg = gallery.sighting_picture(id_)
    assert jpeg is not None
    [stands] = [one.feature for one in gallery.prototypes(vehicle) if one.view == "yard"]
    return Removed(
        id_,
        {
            "picture": jpeg[-200:-140], "plate": f"B-XY {seed}".encode(), "kept picture": kept,
            "feature": seen.feature.astype("<f2").tobytes(), "prototype": stands.astype("<f4").tobytes(),
            "name at the centre": f"secret {seed}".encode(),
        },
    )  # fmt: skip


def left_of(removed: Removed, folder: Path) -> set[str]:
    """Which parts are still in a file of the box."""
    files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    return {name for name, part in removed.parts.items() if any(part in content for content in files)}


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_a_removal_is_carried_out_in_every_byte_and_not_sent_back(
    server: NatsServer, tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if index == "hnsw":
        pytest.importorskip("faiss")
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 10)
    folder = tmp_path / "box"
    folder.mkdir()
    with opened(folder / "g.db", index=index) as gallery:
        outbox_of(gallery)
        nobody, named = gallery.add_vehicle(None, noise(1)), gallery.add_vehicle("taxi", noise(2))
        gone = [to_be_removed(gallery, nobody, 1), to_be_removed(gallery, named, 2)]
        enrolled(gallery, 1200, 7)
        stays = to_be_removed(gallery, gallery.add_vehicle(), 3)
        gallery.search(np.ones((1, 8)), 3)  # the index is made, and its file
        with sending(server, gallery) as sender:
            assert until(lambda: sizes(gallery).oldest is None)
            said_to(
                server.url,
                BOX,
                gallery.path,
                *(identity(one.id, 5, f"secret {1 + place}") for place, one in enumerate(gone)),
            )
            assert until(lambda: len(texts(gallery)) == 2)
            before = {part for one in gone for part in left_of(one, folder)}
            assert before == {*gone[0].parts} and (index == "flat" or list(folder.glob("*.index")))
            said_to(server.url, BOX, gallery.path, *(removal(one.id) for one in gone), removal(77))
            assert until(lambda: sender.status().received == 5 and unheard(server.url, BOX) == 0)
            # the vehicle's own picture of one that somebody enrolled is that person's
            assert [left_of(one, folder) for one in gone] == [set(), {"picture"}]
            assert left_of(stays, folder) == {*stays.parts} - {"name at the centre"}
            assert not list(folder.glob("*.index"))
            assert until(lambda: sizes(gallery).oldest is None)
        assert gallery.find("taxi") == named and gallery.sightings(named) == [] and texts(gallery) == {}
        assert [change.verb for change in gallery.changes(vehicle=nobody)] == ["enrol", "remove sightings"]
        assert [(one.verb, one.who) for one in gallery.changes(1)] == [("remove sightings", "centre")]
        gallery.search(np.ones((1, 8)), 3)
        enrolled(gallery, 1200, 8)  # so that the index has moved on, and is written when it is closed
        gallery.search(np.ones((1, 8)), 3)
    assert [left_of(one, folder) for one in gone] == [set(), {"picture"}]
    assert not [one for one in sent(server) if b'"removed"' in one.body]


def test_a_removal_that_was_not_finished_is_when_it_comes_again(server: NatsServer, gallery: Gallery) -> None:
    """Killed when it was committed, and before it was overwritten and acknowledged."""
    gone = to_be_removed(gallery, 1, 1)
    with closing(sqlite3.connect(gallery.path)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        gallery.remove_sightings([gone.id])
    assert left_of(gone, gallery.path.parent)
    said_to(server.url, BOX, gallery.path, removal(gone.id))
    Sender(settings(server, BOX), gallery).send_all()
    assert left_of(gone, gallery.path.parent) == set()


def test_what_comes_again_from_a_log_that_was_put_back_is_older_and_what_is_new_is_newer(
    server: NatsServer, gallery: Gallery, tmp_path: Path
) -> None:
    one, other = written(gallery, track=1), written(gallery, track=2)
    first, *later = (identity(one, vehicle, epoch=9) for vehicle in (1, 2, 3))
    said_to(server.url, BOX, gallery.path, first)
    Sender(settings(server, BOX), gallery).send_all()
    server.stop()
    shutil.copytree(tmp_path / "jetstream", tmp_path / "backup")
    server.start()
    said_to(server.url, BOX, gallery.path, *later, *(identity(other, vehicle, epoch=9) for vehicle in range(4, 9)))
    Sender(settings(server, BOX), gallery).send_all()
    assert texts(gallery) == {one: "north:3 car 3", other: "north:8 car 8"}
    server.stop()
    shutil.rmtree(tmp_path / "jetstream")
    (tmp_path / "backup").rename(tmp_path / "jetstream")
    server.start()
    said_to(server.url, BOX, gallery.path, first, identity(other, 9, epoch=9))  # in the places of what was read
    Sender(settings(server, BOX), gallery).send_all()
    assert texts(gallery) == {one: "north:3 car 3", other: "north:9 car 9"}


def test_a_consumer_has_a_name_that_the_server_takes() -> None:
    assert consumer_of("crossing-7") == "box-crossing-7" and consumer_of(BOX) == "box-Kreuzung=207"
    assert len(consumer_of("門" * 64)) < 255 and consumer_of("門" * 64) != consumer_of("門" * 63 + "一")


def test_a_failure_that_nobody_expected_is_said_and_tried_again(
    server: NatsServer, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    written(gallery)
    state = "UPDATE meta SET value = json_set(value, '$.since', json(?)) WHERE key = 'identities'"
    with sending(server, gallery) as sender, closing(sqlite3.connect(gallery.path, isolation_level=None)) as file:
        assert until(lambda: sender.status().sent == 1)
        file.execute(state, ("{}",))  # what no version writes, and no statement takes
        written(gallery)
        assert until(lambda: "this program failed (" in caplog.text and not sender.status().alive)
        assert "Traceback" in caplog.text
        file.execute(state, ("0",))
        assert until(lambda: sender.status().alive and sender.status().sent == 2), sender.status()
