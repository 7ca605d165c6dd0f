"""An account with a box's rights over a real NATS server: enough for a box, and no other's identities, nor a centre's words."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from made_box import box_in, outbox_of, settings, written
from made_centre import box_of, centre_file, resolving, seen
from made_gallery import sql
from made_outputs import until
from real_nats import NatsServer, nats_in, pictures_in, with_client
from real_postgres import Server

from vreid.cli.main import main
from vreid.fleet import picture_store
from vreid.fleet.link import joined
from vreid.fleet.messages import as_bytes, message_of, read_message
from vreid.fleet.rights import of_box, of_centre
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import consumer_of, identities_of, subject_of, token_of
from vreid.models.errors import Refused
from vreid.runtime.gallery import edit_gallery

BOXES = ("a", "b 門.*")
WORD = "word/@7"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server with the accounts of an operator, a centre and two boxes, and what vreid fleet setup makes."""
    rights = {"centre": of_centre(), **{box: of_box(box, "north") for box in BOXES}}
    users = [
        f"{{ user: {json.dumps(name, ensure_ascii=False)}, password: {json.dumps(WORD)}, {of.as_config()} }}"
        for name, of in rights.items()
    ]
    users.append('{ user: "operator", password: "word" }')
    with nats_in(tmp_path, f"authorization {{ users: [ {', '.join(users)} ] }}") as server:
        assert main(["fleet", "setup", address(server, "operator")]) == 0
        yield server


def address(server: NatsServer, user: str) -> str:
    word = "word" if user == "operator" else quote(WORD, safe="")  # which the kit's client does not decode
    return f"nats://{token_of(user)}:{word}@127.0.0.1:{server.port}"


@asynccontextmanager
async def client_of(server: NatsServer, user: str) -> AsyncIterator[Any]:
    inbox = f"_INBOX.{token_of(user)}" if user in BOXES else "_INBOX"
    async with joined(address(server, user), user, inbox=inbox) as client:
        yield client


async def identities(client: Any, box: str, count: int) -> list[bytes]:
    """What a box reads of its identities, as docs/fleet.md says."""
    stream = client.jetstream(timeout=20)
    found = await stream.pull_subscribe(identities_of(box), durable=consumer_of(box), stream="SIGHTINGS")
    messages = await found.fetch(count, timeout=20)
    for message in messages:
        await message.ack_sync(timeout=20)
    return [message.data for message in messages]


async def refused(work: Awaitable[Any]) -> bool:
    try:
        await work
    except Exception:  # noqa: BLE001  the server answers nothing at all, or with an error
        return True
    return False


@pytest.mark.parametrize("box", BOXES)
def test_a_box_sends_its_sightings_and_pictures_and_reads_what_is_for_it(
    server: NatsServer, tmp_path: Path, box: str
) -> None:
    with box_in(tmp_path / "g.db") as gallery:
        for track in range(5):
            written(gallery, track=track)
        done = Sender(settings(server, box, server=address(server, box)), gallery).send_all()
        assert (done.sent, done.sent_pictures) == (5, 5)
    stored = pictures_in(address(server, "operator"))
    assert all(sha256(jpeg).hexdigest() == name for name, jpeg in stored.items()) and len(stored) == 5

    async def hear() -> list[bytes]:
        async with client_of(server, "centre") as centre, client_of(server, box) as client:
            for each in BOXES:
                await centre.jetstream().publish(identities_of(each), f"for {each}".encode())
            return await identities(client, box, 1)

    assert asyncio.run(hear()) == [f"for {box}".encode()]


def test_a_box_reads_nothing_of_others_and_does_not_speak_for_a_centre(server: NatsServer) -> None:
    other, own = BOXES[1], consumer_of("a")
    create = f"$JS.API.CONSUMER.CREATE.SIGHTINGS.{own}.{identities_of('a')}"

    async def attempts() -> list[str]:
        async with client_of(server, "a") as box, client_of(server, "centre") as centre:
            await centre.jetstream().publish(identities_of(other), b"for the other")
            stream = box.jetstream(timeout=0.3)
            await picture_store.put(stream, b"a picture")
            content = f"{picture_store.CONTENT}.{sha256(b'a picture').hexdigest()}"

            async def another_filter(**config: Any) -> None:
                wanted = {"name": own, "durable_name": own, "ack_policy": "explicit", **config}
                body = json.dumps({"stream_name": "SIGHTINGS", "config": wanted}).encode()
                answer = json.loads((await box.request(create, body, timeout=5)).data)
                assert "error" in answer, answer
                raise PermissionError

            tried = {
                "identity": stream.publish(identities_of(other), b"forged"),
                "identity of its own": stream.publish(identities_of("a"), b"forged"),
                "another region": stream.publish("v1.south.a.gate", b""),
                "in another's name": stream.publish(subject_of("north", other, "gate"), b"forged"),
                "another's identities": stream.pull_subscribe(identities_of(other), durable=own, stream="SIGHTINGS"),
                "everything": stream.pull_subscribe("", durable=own, stream="SIGHTINGS"),
                "by a filter in the request": another_filter(filter_subject=identities_of(other)),
                "by several filters": another_filter(filter_subjects=[identities_of(other)]),
                "into another's identities": another_filter(
                    filter_subject=identities_of("a"), deliver_subject=identities_of(other)
                ),
                "a message by its number": stream.get_msg("SIGHTINGS", 1),
                "directly": stream.get_msg("SIGHTINGS", 1, direct=True),
                "directly by its subject": stream.get_last_msg("SIGHTINGS", identities_of(other), direct=True),
                "a picture": stream.get_msg(picture_store.STREAM, 1),
                "a picture directly": stream.get_last_msg(picture_store.STREAM, content, direct=True),
                "another picture in its place": stream.publish(content, b"another"),
                "to erase pictures": stream.publish(f"{picture_store.ABOUT}.x", b"", headers={"Nats-Rollup": "all"}),
                "to erase messages": stream.publish("v1.north.a.gate", b"", headers={"Nats-Rollup": "all"}),
                "to erase one": stream.delete_msg("SIGHTINGS", 1),
                "to purge": stream.purge_stream("SIGHTINGS"),
                "to remove it": stream.delete_stream("SIGHTINGS"),
            }
            let = [what for what, work in tried.items() if not await refused(work)]
            for subject in ("_INBOX.>", "v1.>", "$JS.>", f"_INBOX.{token_of(other)}.>"):
                await box.subscribe(subject)
            await box.flush()
            await centre.jetstream().publish("v1.identity.x", b"to nobody")
            await box.flush()
            let += [
                f"hears {each.subject}"
                for each in box._subs.values()
                if each.delivered and "_INBOX.a" not in each.subject
            ]
            return let

    assert asyncio.run(attempts()) == []


@pytest.mark.parametrize("other", [identities_of(BOXES[1]), subject_of("north", BOXES[1], "gate")])
def test_an_answer_of_the_server_is_the_most_that_a_box_can_have_sent_for_another(
    server: NatsServer, other: str
) -> None:
    """A request's answer goes to any subject that the request names. What is stored so is no identity message, which a box reads
    as such, but for one of its own, which keeps its own subject; and no sighting of another box."""
    from vreid.fleet.messages import IdentityMessage

    async def forge() -> None:
        async with client_of(server, "a") as box, client_of(server, "centre") as centre:
            own = {
                "schema": 1,
                "what": "identity",
                "region": "r",
                "epoch": 1,
                "number": 1,
                "sighting": 1,
                "vehicle": 1,
                "name": None,
            }
            for _ in range(2):
                await centre.jetstream().publish(identities_of("a"), json.dumps(own).encode())
            await identities(box, "a", 1)
            for request in ("STREAM.NAMES", f"CONSUMER.INFO.SIGHTINGS.{consumer_of('a')}"):
                await box.publish(f"$JS.API.{request}", b"", reply=other)
            await box.publish(f"$JS.API.CONSUMER.MSG.NEXT.SIGHTINGS.{consumer_of('a')}", b"1", reply=other)
            await box.publish("v1.north.a.gate", b"", reply=other)
            await picture_store.put(box.jetstream(), json.dumps(own).encode())
            await box.flush()

    asyncio.run(forge())

    async def stored(client: Any) -> list[tuple[str, bytes]]:
        stream = client.jetstream()
        state = (await stream.stream_info("SIGHTINGS")).state
        found = [await stream.get_msg("SIGHTINGS", number) for number in range(1, state.last_seq + 1)]
        return [(each.subject, each.data) for each in found]

    reached = [body for subject, body in with_client(address(server, "operator"), stored) if subject == other]
    assert reached
    for body in reached:
        with pytest.raises(ValueError, match="validation error"):
            IdentityMessage.model_validate_json(body)
        with pytest.raises(Refused, match="not a message of a box"):
            read_message(body)


def test_a_centre_may_erase_a_message_and_not_the_stream(server: NatsServer) -> None:
    async def attempts() -> tuple[bool, list[bool]]:
        async with client_of(server, "a") as box, client_of(server, "centre") as centre:
            await box.jetstream().publish("v1.north.a.gate", b"x")
            stream = centre.jetstream(timeout=0.3)
            erased = await stream.delete_msg("SIGHTINGS", 1)
            barred = (
                stream.publish("v1.north.a.gate", b""),
                stream.delete_stream("SIGHTINGS"),
                stream.purge_stream("SIGHTINGS"),
                stream.update_stream(name="SIGHTINGS", subjects=["v1.*.*.*"]),
            )
            return erased, [await refused(each) for each in barred]

    assert asyncio.run(attempts()) == (True, [True] * 4)


def test_a_real_centre_and_a_real_box_need_no_more(server: NatsServer, tmp_path: Path, postgres: Server) -> None:
    """Sightings, pictures, identities and a removal go their ways, each with its own account."""
    place, centre_at = postgres.new_place("rights"), SimpleNamespace(url=address(server, "centre"))
    for box in BOXES:
        with (
            resolving(centre_file(tmp_path, centre_at, place)) as centre,
            box_of(tmp_path / f"{len(box)}.db") as gallery,
        ):  # type: ignore[arg-type]
            seen(gallery, [1, 2, 3], len(box))
            sender = Sender(settings(server, box, server=address(server, box)), gallery)
            assert until(lambda sender=sender: sender.send_all().received >= 3)
            counts = centre.status()["north"].counts
            assert until(lambda centre=centre: centre.status()["north"].counts.pictures > 0), counts
            if box == BOXES[1]:
                with edit_gallery(place) as shared:
                    shared.remove(1)
                assert until(lambda centre=centre: centre.status()["north"].counts.erased > 0)
                before = gallery.stats().sightings
                assert until(lambda sender=sender: sender.send_all().received >= 4)
                assert gallery.stats().sightings == before - 1


def test_what_a_box_sends_in_anothers_name_is_put_aside(
    server: NatsServer, tmp_path: Path, postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Its account lets it send by its own subject only, and the centre takes what says another name there for nothing."""
    place, centre_at = postgres.new_place("rights_name"), SimpleNamespace(url=address(server, "centre"))
    with box_of(tmp_path / "g.db") as gallery:
        seen(gallery, [1, 2], 1)
        gallery.remove(1)
        waiting = [message_of(one, BOXES[1], "aaaaaaaa") for one in outbox_of(gallery).messages(9)]

    async def send() -> None:
        async with client_of(server, "a") as box:
            for message in waiting:
                camera = getattr(message, "camera", "")
                await box.jetstream().publish(subject_of("north", "a", camera), as_bytes(message))

    with resolving(centre_file(tmp_path, centre_at, place)) as centre:  # type: ignore[arg-type]
        asyncio.run(send())
        assert until(lambda: centre.status()["north"].counts.aside == len(waiting) > 1)
    assert sql(place, "SELECT count(*) FROM received") == sql(place, "SELECT count(*) FROM vehicles") == [(0,)]
    assert "messages of box a are put aside: it came by the subject of another box" in caplog.text


def test_the_verb_prints_the_rights_as_the_server_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "rights", "crossing 7", "--region", "north"]) == 0
    assert capsys.readouterr().out.strip() == of_box("crossing 7", "north").as_config()
    assert main(["fleet", "rights", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["publish"] == list(of_centre().publish)
    assert main(["fleet", "rights", "crossing 7"]) == 2 and "--region" in capsys.readouterr().err
    assert main(["fleet", "rights", "x", "--region", "identity"]) == 2
