"""A log that is put back from a backup, or made anew, while boxes and centre have a backlog: what was not read is read."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_centre import Truth, box_of, centre_file, given, resolving, seen, settings_of, settled, truth_of
from made_outputs import until
from real_nats import STREAM, NatsServer, make_streams, stored_in, with_client
from real_postgres import Server

from vreid.cli.main import main
from vreid.fleet.centre import log
from vreid.fleet.sender import Sender
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("centre_log")


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with box_of(tmp_path / "g.db") as gallery:
        yield gallery


def sent(gallery: Gallery, server: NatsServer, *vehicles: int) -> Truth:
    """The box sees these and sends."""
    done = truth_of("box 0", gallery, seen(gallery, vehicles, 1))
    Sender(settings_of(server.url), gallery).send_all()
    return done


def put_back(server: NatsServer, folder: Path, backup: Path) -> None:
    """The server's files become those of the backup, or the other way round where there is no backup yet."""
    there = backup.exists()
    server.stop()
    if there:
        shutil.rmtree(folder / "jetstream")
    shutil.copytree(*(backup, folder / "jetstream") if there else (folder / "jetstream", backup))
    server.start()


def test_what_took_numbers_that_were_read_is_read_from_a_log_that_was_put_back(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    file = centre_file(tmp_path, server, place)
    truth = sent(gallery, server, 1, 2, 3)
    with resolving(file):
        assert settled(place, 3)
    put_back(server, tmp_path, tmp_path / "backup")
    truth |= sent(gallery, server, 4, 5, 6)
    with resolving(file):
        assert settled(place, 6)
    read = max(each.place for each in stored_in(server.url) if each.subject.startswith("v1.north"))
    words = ["fleet", "record", "--server", server.url, "--out", str(tmp_path / "log.jsonl")]
    assert main(words) == main(words) == 0
    put_back(server, tmp_path, tmp_path / "backup")
    assert main(words) == 2  # the stream does not have so many messages
    truth |= sent(gallery, server, *range(7, 17))
    assert main(words) == 2  # it has another one of the last number
    numbers = [each.place for each in stored_in(server.url)][-10:]
    assert numbers[0] <= read < numbers[-1]
    with resolving(file) as centre:
        assert settled(place, len(truth))
        assert until(lambda: centre.status()["north"].counts.new == 10)
        caplog.clear()
    with resolving(file) as centre:  # which knows now where it is in this log
        truth |= sent(gallery, server, 20)
        assert settled(place, len(truth))
        assert centre.status()["north"].counts.again == 0
    assert given(place).keys() == truth.keys() and "another one than before" not in caplog.text


def test_a_log_made_anew_and_played_back_is_read_with_what_boxes_have_sent_meanwhile(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    file, recorded = centre_file(tmp_path, server, place), str(tmp_path / "log.jsonl")
    truth = sent(gallery, server, 1, 2, 3)
    with resolving(file):
        assert settled(place, 3)
    truth |= sent(gallery, server, 4, 5, 6)
    assert main(["fleet", "record", "--server", server.url, "--out", recorded]) == 0

    async def remove(client: Any) -> None:
        await client.jetstream().delete_stream(STREAM)
        await client.jetstream().delete_object_store("vreid-pictures")

    with_client(server.url, remove)
    make_streams(server.url)
    truth |= sent(gallery, server, 7, 8)  # which have numbers that were read in the old log
    assert main(["fleet", "replay", recorded, "--server", server.url, "--speed", "0"]) == 0
    with resolving(file) as centre:
        assert settled(place, len(truth))
        assert until(lambda: centre.status()["north"].counts.again == 3)
        assert centre.status()["north"].counts.new == 5
    assert given(place).keys() == truth.keys() and "another one than before" in caplog.text


@pytest.mark.parametrize(("clock_s", "again"), [(0.0, 0), (600.0, 2)])
def test_a_log_whose_last_read_message_was_erased_is_read_on_from_its_time(
    tmp_path: Path,
    server: NatsServer,
    place: DatabaseAddress,
    gallery: Gallery,
    clock_s: float,
    again: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(log, "_CLOCK_S", clock_s)
    file = centre_file(tmp_path, server, place)
    truth = sent(gallery, server, 1, 2, 3)
    with resolving(file):
        assert settled(place, 3)

    async def erase(client: Any) -> None:
        assert await client.jetstream().delete_msg(STREAM, 3)

    with_client(server.url, erase)
    truth |= sent(gallery, server, 4)
    with resolving(file) as centre:
        assert settled(place, 4)
        assert until(lambda: centre.status()["north"].counts.new == 1)
        assert centre.status()["north"].counts.again == again
    assert given(place).keys() == truth.keys() and "another one than before" not in caplog.text
