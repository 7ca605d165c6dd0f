"""Pictures come from the object store into the gallery, checked; what is removed is overwritten in the log and the store too."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
from made_box import number_of
from made_centre import box_of, centre_file, given, resolving, seen, settings_of, settled
from made_gallery import noise, opened, sql
from made_outputs import until
from real_nats import NatsServer, make_streams, picture_messages, stored_in, with_client
from real_postgres import Server

from vreid.fleet.centre import pictures
from vreid.fleet.centre.objects import Objects
from vreid.fleet.messages import IdentityMessage, picture_name
from vreid.fleet.picture_store import PICTURES, about_of, content_of
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import identities_of
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("pictures")


def bytes_of(folder: Path) -> bytes:
    """All that lies in files of the server."""
    return b"".join(path.read_bytes() for path in sorted((folder / "jetstream").rglob("*")) if path.is_file())


async def put_in_chunks(client: Any, name: str, content: bytes, **about: object) -> None:
    """What a box with rights of its own could put there: chunks of an object, and what is said `about` it."""
    stream = client.jetstream()
    for begin in range(0, len(content), 100_000):
        await stream.publish(content_of(name), content[begin : begin + 100_000])
    await stream.publish(about_of(name), json.dumps({"nuid": name, "size": len(content), **about}).encode())


def test_pictures_come_into_the_gallery_and_leave_the_object_store(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    with resolving(centre_file(tmp_path, server, place)) as centre, box_of(tmp_path / "g.db") as gallery:
        done = seen(gallery, range(1, 7), 1)
        taken = {gallery.sighting_picture(id_) for id_ in done}
        Sender(settings_of(server.url), gallery).send_all()
        assert settled(place, 6) and until(lambda: centre.status()["north"].counts.pictures == len(taken))
        assert until(lambda: picture_messages(server.url) == 0)
    assert {bytes(row[0]) for row in sql(place, "SELECT thumbnail FROM sightings")} == taken


def test_pictures_that_do_not_come_hold_up_no_others(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_AT_ONCE", 2)
    with resolving(centre_file(tmp_path, server, place)) as centre, box_of(tmp_path / "g.db") as gallery:
        assert until(lambda: centre.status()["north"].waiting)  # the first look is over
        done = [*seen(gallery, range(1, 10), 1)]
        for id_ in done[:3] + done[-3:]:
            sql(gallery, "DELETE FROM outbox WHERE what = 'picture' AND sighting = ?", id_)
        Sender(settings_of(server.url), gallery).send_all()
        assert until(lambda: centre.status()["north"].counts.pictures == 3)
    lacking = sql(place, "SELECT thumbnail IS NULL FROM sightings ORDER BY seen")
    assert [one for (one,) in lacking] == [True] * 3 + [False] * 3 + [True] * 3


def test_more_old_pictures_than_are_looked_for_at_once_come_without_a_pause(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = centre_file(tmp_path, server, place)
    monkeypatch.setattr(pictures, "_AT_ONCE", 0)
    with resolving(file), box_of(tmp_path / "g.db") as gallery:
        seen(gallery, range(1, 31), 1)
        Sender(settings_of(server.url), gallery).send_all()
        assert settled(place, 30)
    monkeypatch.setattr(pictures, "_AT_ONCE", 1)
    monkeypatch.setattr(pictures, "_LATELY_S", 0.0)
    with resolving(file) as centre:
        assert until(lambda: centre.status()["north"].counts.pictures == 30)
        assert until(lambda: picture_messages(server.url) == 0)


def test_a_picture_that_is_not_what_it_says_is_not_taken(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    with box_of(tmp_path / "g.db") as gallery:
        done = seen(gallery, range(1, 4), 1)
        first, second, third = [gallery.sighting_picture(id_) or b"" for id_ in done]
        sender = Sender(settings_of(server.url), gallery)
        large = cv2.imencode(".jpg", noise(1).repeat(40, 0).repeat(40, 1))[1].tobytes()

        async def put(client: Any) -> None:
            await put_in_chunks(client, picture_name(first), second)  # another one
            await put_in_chunks(client, picture_name(third), large)

        with_client(server.url, put)
        with resolving(centre_file(tmp_path, server, place)) as centre:
            sender.send_all()
            assert until(lambda: centre.status()["north"].counts.bad_pictures == 2)
            assert until(lambda: centre.status()["north"].counts.pictures == 1)
            assert until(lambda: picture_messages(server.url) == 0)
    assert [row[0] is None for row in sql(place, "SELECT thumbnail FROM sightings ORDER BY id")] == [True, False, True]
    assert "is not what its name says" in caplog.text and "are the most" in caplog.text


def test_what_people_remove_is_overwritten_in_the_log_and_the_object_store(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    file = centre_file(tmp_path, server, place)
    with box_of(tmp_path / "g.db") as gallery:
        done = seen(gallery, range(1, 5), 1)
        Sender(settings_of(server.url), gallery).send_all()
        jpeg, second = gallery.sighting_picture(2), number_of(gallery.path, 2)
    assert jpeg is not None and jpeg in bytes_of(tmp_path)
    messages = {each.place: each.body for each in stored_in(server.url)}
    with resolving(file) as centre:
        assert settled(place, 4) and until(lambda: centre.status()["north"].counts.pictures == 4)
        assert until(lambda: centre.status()["north"].counts.identities == 4)
        with opened(place, dim=64) as here:
            here.remove(given(place)["box 0", second])
        assert until(lambda: centre.status()["north"].counts.erased == 1)
        assert until(lambda: centre.status()["north"].counts.identities == 5)
    left = {each.place: each.body for each in stored_in(server.url) if each.subject.startswith("v1.north")}
    assert left == {place: body for place, body in messages.items() if place != 2} and len(done) == 4
    assert jpeg not in bytes_of(tmp_path)
    assert messages[2].split(b'"prototypes":["')[1][:80] not in bytes_of(tmp_path)
    assert stored_in(server.url)[-1].body.count(b'"what":"removed"') == 1


def test_what_a_resolver_said_just_before_it_was_killed_is_erased_too(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    file = centre_file(tmp_path, server, place)
    with box_of(tmp_path / "g.db") as gallery:
        seen(gallery, range(1, 3), 1)
        Sender(settings_of(server.url), gallery).send_all()
    with resolving(file) as centre:
        assert until(lambda: centre.status()["north"].counts.identities == 2)
        assert until(lambda: sql(place, "SELECT name FROM boxes") == [("box 0",)])
    sighting, vehicle = next((sighting, vehicle) for (_, sighting), vehicle in given(place).items())
    about = {"schema": 1, "what": "identity", "region": "north", "epoch": 1, "number": 9, "sighting": sighting}
    said = IdentityMessage.model_validate({**about, "vehicle": 1, "name": "Ann's"})
    other = said.model_copy(update={"region": "south"})

    async def say(client: Any) -> None:
        for one in (said, other):
            await client.jetstream().publish(identities_of("box 0"), one.model_dump_json(by_alias=True).encode())

    with_client(server.url, say)
    with resolving(file) as centre:
        with opened(place, dim=64) as here:
            here.remove(vehicle)
        assert until(lambda: centre.status()["north"].counts.erased == 1)
    assert bytes_of(tmp_path).count(b"Ann's") == 1  # the other region's


def test_an_object_of_several_chunks_is_read_to_its_bound_and_erased(tmp_path: Path, server: NatsServer) -> None:
    large = noise(3).tobytes() * 50  # three chunks

    async def steps(client: Any) -> list[Any]:
        objects = Objects(client)
        await put_in_chunks(client, "large", large)
        found: list[Any] = [await objects.read("large", 10**6), await objects.read("large", 1000)]
        await objects.erase("large")
        await objects.erase("large")
        found += [
            await objects.read("large", 10),
            (await client.jetstream().stream_info(f"OBJ_{PICTURES}")).state.messages,
        ]
        return found

    whole, part, gone, messages = with_client(server.url, steps)
    assert whole == large and part == large[:1001] and (gone, messages) == (None, 0)
    assert large[:64] not in bytes_of(tmp_path)


@pytest.mark.parametrize("about", [{"nuid": "*"}, {"nuid": "other"}, {"size": None}, {"size": "1"}, {"size": -1}])
def test_what_a_box_says_of_a_picture_leads_to_no_other(server: NatsServer, about: dict[str, object]) -> None:
    async def steps(client: Any) -> tuple[list[bytes | None], bytes | None]:
        objects = Objects(client)
        await put_in_chunks(client, "other", b"of another box")
        await put_in_chunks(client, "own", b"its own", **about)
        read = [await objects.read("own", 1000)]
        await objects.erase("own")
        return [*read, await objects.read("own", 1000)], await objects.read("other", 1000)

    assert with_client(server.url, steps) == ([None, None], b"of another box")


def test_two_regions_may_erase_one_picture(server: NatsServer) -> None:
    async def both(client: Any) -> None:
        for number in range(20):
            await put_in_chunks(client, f"one{number}", b"x" * 300_000)
            await asyncio.gather(*(Objects(client).erase(f"one{number}") for _ in range(2)))

    make_streams(server.url)
    with_client(server.url, both)


def test_what_a_box_did_not_finish_is_erased(server: NatsServer) -> None:
    async def steps(client: Any) -> int:
        await client.jetstream().publish(content_of("torn"), b"killed before it said what this is")
        await Objects(client).erase("torn")
        return int((await client.jetstream().stream_info(f"OBJ_{PICTURES}")).state.messages)

    assert with_client(server.url, steps) == 0


def test_another_log_with_the_same_numbers_is_not_harmed(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    file = centre_file(tmp_path, server, place)
    with box_of(tmp_path / "g.db") as gallery:
        seen(gallery, range(1, 3), 1, time.time())
        Sender(settings_of(server.url), gallery).send_all()
        first = number_of(gallery.path, 1)
    with resolving(file):
        assert settled(place, 2)

    async def anew(client: Any) -> None:
        await client.jetstream().delete_stream("SIGHTINGS")
        await client.jetstream().delete_object_store(PICTURES)

    with_client(server.url, anew)
    make_streams(server.url)
    with box_of(tmp_path / "h.db") as gallery:
        seen(gallery, range(11, 14), 1)
        Sender(settings_of(server.url, "other"), gallery).send_all()
    with opened(place, dim=64) as here:
        here.remove(given(place)["box 0", first])
    with resolving(file) as centre:
        assert settled(place, 5) and until(lambda: centre.status()["north"].counts.erased == 1)
    assert len([each for each in stored_in(server.url) if each.subject.startswith("v1.north")]) == 3
