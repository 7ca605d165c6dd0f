"""Server and box killed again and again amid load: the stream holds each message once, and the box every answer."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from made_box import (
    box_in,
    edge_process,
    identity,
    number_of,
    numbers_of,
    outbox_of,
    removal,
    said_to,
    settings,
    sizes,
    unheard,
)
from made_gallery import sql
from made_outputs import until
from real_nats import make_streams, nats_in, stored_in

from vreid.fleet.messages import SightingMessage, read_message
from vreid.fleet.sender import Sender


def ids_until(edge: "subprocess.Popen[str]", count: int) -> list[int]:
    """The next `count` sightings that the process has committed."""
    assert edge.stdout is not None
    lines = [edge.stdout.readline() for _ in range(count)]
    assert all(lines), "the box ended by itself"
    return [int(line) for line in lines]


@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_what_was_written_is_in_the_stream_once_whoever_is_killed(tmp_path: Path, rounds: int) -> None:
    path, moments, committed = tmp_path / "g.db", random.Random(25), list[int]()
    with box_in(path):
        pass
    with nats_in(tmp_path) as server:
        make_streams(server.url, window_s=3600)
        edge = edge_process(path, server, "box 1")
        try:
            for number in range(rounds):
                committed += ids_until(edge, moments.randint(20, 60))
                time.sleep(moments.random() / 2)
                if number % 2:
                    server.stop(signal.SIGKILL)
                    committed += ids_until(edge, 20)  # it goes on
                    server.start()
                else:
                    edge.kill()
                    assert edge.stdout is not None
                    committed += [int(line) for line in edge.stdout if line.endswith("\n")]
                    edge.wait(30)
                    edge = edge_process(path, server, "box 1")
        finally:
            edge.kill()
            edge.wait(30)
        with box_in(path) as gallery:
            Sender(settings(server), gallery).send_all()
            assert sizes(gallery).oldest is None and outbox_of(gallery).messages(1) == []
        stored = stored_in(server.url)
    numbers, messages = numbers_of(stored, "box 1"), [read_message(each.body) for each in stored]
    assert len(numbers) == len(stored) == len(set(numbers)) and numbers == sorted(numbers)
    assert [message.seq for message in messages] == numbers
    sightings = [message.sighting for message in messages if isinstance(message, SightingMessage)]
    there = [row[0] for row in sql(path, "SELECT id FROM sightings ORDER BY id")]
    assert (
        sightings == [number_of(path, id_) for id_ in there]
        and len({*sightings}) == len(there)
        and set(committed) <= set(there)
        and len(committed) > 20 * rounds
    )


@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_what_a_centre_has_said_is_carried_out_whenever_the_box_is_killed(tmp_path: Path, rounds: int) -> None:
    (tmp_path / "box").mkdir()
    path, moments = tmp_path / "box" / "g.db", random.Random(26)
    expected, gone = dict[int, int](), set[int]()
    with box_in(path):
        pass
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        edge = edge_process(path, server, "box 1")
        try:
            for _ in range(rounds):
                new = ids_until(edge, moments.randint(20, 40))
                for vehicle in (7, 8):  # the second replaces the first
                    expected |= {each: 100 * each + vehicle for each in new}
                    said_to(
                        server.url, "box 1", path, *(identity(each, expected[each], f"known {each};") for each in new)
                    )
                removed = moments.sample(new, 5)
                said_to(server.url, "box 1", path, *map(removal, removed))
                gone |= {*removed}
                time.sleep(moments.random() / 2)
                edge.kill()
                edge.communicate(timeout=30)
                edge = edge_process(path, server, "box 1")
        finally:
            edge.kill()
            edge.communicate(timeout=30)
        with box_in(path) as gallery:
            sender = Sender(settings(server), gallery)
            sender.start()
            assert until(lambda: unheard(server.url, "box 1") == 0 and sizes(gallery).oldest is None)
            sender.close()
            with gallery.reading() as store:
                known = store.identities()
                assert known is not None
                kept = {each: one.vehicle for each, one in known.of_sightings(expected).items()}
            assert kept == {each: vehicle for each, vehicle in expected.items() if each not in gone}
            assert not {each.id for each in gallery.sightings(1)} & gone
            gallery.compact()  # SQLite may leave a copy of a row in a page that it has split, which secure_delete does not reach
        files = [file.read_bytes() for file in path.parent.iterdir()]
        assert not [each for each in gone if any(f"known {each};".encode() in content for content in files)]
        sent = [read_message(each.body) for each in stored_in(server.url) if each.number.startswith("box 1:")]
        assert len(sent) >= len(kept) and all(isinstance(each, SightingMessage) for each in sent)
