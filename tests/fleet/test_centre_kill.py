"""A centre whose processes are killed, stopped past their lease, and shown the log again: nothing is lost, and nothing is twice."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_centre import (
    VEHICLES,
    Truth,
    box_of,
    came_true,
    centre_file,
    centre_process,
    edges,
    given,
    pairwise,
    resolving,
    said_in,
    seen,
    settings_of,
    settled,
    truth_of,
)
from made_gallery import sql
from made_outputs import until
from real_nats import NatsServer, make_streams, nats_in, stored_in, with_client
from real_postgres import Server, postgres_server

from vreid.fleet.centre.publisher import Publisher
from vreid.fleet.messages import IdentityMessage
from vreid.fleet.sender import Sender
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery_place import DatabaseAddress

TABLES = ("vehicles", "prototypes", "sightings", "box_sightings", "audit")

ROUNDS = int(os.environ.get("VREID_KILLS", "2"))  # 50 take some ten minutes for each victim


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_in(tmp_path) as server:
        make_streams(server.url, window_s=0.2)
        yield server


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("centre_kill")


def holder(place: DatabaseAddress) -> Any:
    return sql(place, "SELECT holder FROM lease")[0][0]


def waits_for(place: DatabaseAddress, process: "subprocess.Popen[bytes]") -> bool:
    return came_true(lambda: f":{process.pid}:" in (holder(place) or ""))


def at_rest(place: DatabaseAddress) -> dict[str, list[Any]]:
    """What the gallery holds when nothing waits any more; many pictures may have to come yet."""
    waiting = "SELECT count(*) FROM (SELECT 1 FROM box_sightings WHERE missing UNION ALL SELECT 1 FROM identities) w"
    while left := sql(place, waiting)[0][0]:
        assert came_true(lambda left=left: sql(place, waiting)[0][0] < left)
    return {table: sorted(sql(place, f"SELECT t::text FROM {table} t")) for table in TABLES}


def answered(url: str) -> dict[tuple[str, int], int | None]:
    """The last that the log says to each box of each sighting."""
    found = {}
    for each in stored_in(url):
        if each.subject.startswith("v1.identity."):
            message = IdentityMessage.model_validate_json(each.body)
            found[each.subject.removeprefix("v1.identity.").replace("%20", " "), message.sighting] = message.vehicle
    return found


def test_one_that_was_stopped_past_its_lease_is_refused_when_it_goes_on(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    file = centre_file(tmp_path, server, place)
    truth = edges(tmp_path, server, 2)
    processes = [centre_process(file)]
    try:
        assert came_true(lambda: sql(place, "SELECT to_regclass('lease')")[0][0] is not None)
        assert settled(place, len(truth))
        processes[0].send_signal(signal.SIGSTOP)
        with box_of(tmp_path / "late.db") as gallery:  # which the server gives to the old one, as long as it is there
            late = seen(gallery, range(VEHICLES), 9)
            Sender(settings_of(server.url, "late"), gallery).send_all()
            truth |= truth_of("late", gallery, late)
        processes.append(centre_process(file))
        assert waits_for(place, processes[1]) and settled(place, len(truth))
        tables, before = at_rest(place), said_in(file)
        processes[0].send_signal(signal.SIGCONT)
        # Which it meets first depends on where it stood: the newer epoch, or a connection that a server has ended meanwhile.
        assert came_true(lambda: said_in(file) != before)
        assert at_rest(place) == tables
        assert answered(server.url) == given(place) and waits_for(place, processes[1])
    finally:
        for process in processes:
            process.kill()
            process.wait(30)
    assert pairwise(given(place), truth) == (1.0, 1.0) and sql(place, "SELECT count(*) FROM vehicles") == [(VEHICLES,)]


def test_the_log_may_come_again_twice_also_after_the_server_forgot_its_numbers(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    truth = edges(tmp_path, server, 2)
    messages = stored_in(server.url)

    async def again(client: Any) -> None:
        stream = client.jetstream()
        for each in messages:
            await stream.publish(each.subject, each.body, headers={"Nats-Msg-Id": each.number})

    with resolving(centre_file(tmp_path, server, place)) as centre:
        assert settled(place, len(truth))
        tables = at_rest(place)
        assert answered(server.url) == given(place)
        for times in (1, 2):
            time.sleep(0.5)  # longer than the window
            with_client(server.url, again)
            assert until(lambda times=times: centre.status()["north"].counts.again == times * len(truth))
        identities = centre.status()["north"].counts.identities
    numbers = sql(place, "SELECT count(*) FILTER (WHERE seq > 0), count(*) FILTER (WHERE seq = 0) FROM received")
    assert at_rest(place) == tables and numbers == [(3 * len(truth), len(truth))]  # received, and sent
    assert len(stored_in(server.url)) == 3 * len(messages) + identities and identities == len(truth)


def test_the_lease_is_renewed_while_a_long_look_for_what_was_sent_last_goes_on(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ends = Publisher.note_last, list[float]()

    async def long(self: Publisher) -> None:
        while len({*ends}) < 3:  # as many boxes take it
            ends.append(sql(place, "SELECT extract(epoch FROM until)::float8 FROM lease")[0][0])
            await asyncio.sleep(0.05)
        await real(self)

    monkeypatch.setattr(Publisher, "note_last", long)
    with box_of(tmp_path / "g.db") as gallery, resolving(centre_file(tmp_path, server, place)) as centre:
        epoch = centre.status()["north"].epoch
        seen(gallery, range(3), 1)
        Sender(settings_of(server.url), gallery).send_all()
        assert until(lambda: centre.status()["north"].counts.identities == 3), centre.status()
        assert centre.status()["north"].epoch == epoch


def test_what_was_sent_and_not_written_down_is_looked_for_once(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    file = centre_file(tmp_path, server, place)
    written = "SELECT at FROM received WHERE seq = 0 ORDER BY at"
    with box_of(tmp_path / "g.db") as gallery:
        seen(gallery, range(3), 1)
        Sender(settings_of(server.url), gallery).send_all()
    with resolving(file) as centre:
        assert until(lambda: centre.status()["north"].counts.identities == 3)
        assert came_true(lambda: sql(place, "SELECT count(*) FROM boxes") == [(1,)])
    numbers = sql(place, written)
    for last in ("0", "999"):  # of a process that was killed before its first one; of a log that was made anew since
        sql(place, "DELETE FROM received WHERE seq = 0")
        sql(place, f"UPDATE settings SET value = '{last}' WHERE key = 'identities'")
        with resolving(file):
            assert came_true(lambda: sql(place, written) == numbers)
            assert came_true(lambda: said_last(place) == len(stored_in(server.url)))
    sql(place, "DELETE FROM received WHERE seq = 0")
    with resolving(file) as centre, box_of(tmp_path / "h.db") as gallery:
        seen(gallery, [9], 2)
        Sender(settings_of(server.url), gallery).send_all()
        assert until(lambda: centre.status()["north"].counts.identities == 1)
    assert len(sql(place, written)) == 1  # the earlier ones are not read again


def said_last(place: DatabaseAddress) -> int:
    """The last number of the log up to which is written down what was sent."""
    return int(sql(place, "SELECT value FROM settings WHERE key = 'identities'")[0][0])


class Load:
    """Two boxes that see the vehicles again and again, and send as they do."""

    def __init__(self, galleries: list[Gallery], url: str) -> None:
        self.galleries, self.truth, self.times = galleries, Truth(), 0
        self._began = time.time() - 86400.0
        self._owns: list[dict[int, int]] = [{} for _ in galleries]
        self.senders = [Sender(settings_of(url, f"box {number}"), gallery) for number, gallery in enumerate(galleries)]

    def more(self, count: int) -> None:
        """So many vehicles drive by both boxes."""
        vehicles = [1 + (self.times * count + number) % VEHICLES for number in range(count)]
        for number, gallery in enumerate(self.galleries):
            done = seen(gallery, vehicles, 10 * self.times + number, self._began, self._owns[number])
            self.truth |= truth_of(f"box {number}", gallery, done)
        self.times, self._began = self.times + 1, self._began + 3.0 * count + 60.0


@pytest.mark.parametrize("victim", ["resolver", "nats", "postgres"])
def test_whoever_is_killed_each_sighting_is_there_once_with_its_vehicle_and_its_answer(
    tmp_path: Path, server: NatsServer, victim: str
) -> None:
    moments = random.Random(25)
    with postgres_server() as database, box_of(tmp_path / "0.db") as one, box_of(tmp_path / "1.db") as other:
        database.start()
        place, load = database.new_place("killed"), Load([one, other], server.url)
        file = centre_file(tmp_path, server, place)
        with resolving(file):  # which makes the gallery
            pass
        process = centre_process(file)
        for sender in load.senders:
            sender.start()
        try:
            for _ in range(ROUNDS):
                load.more(VEHICLES // 2)
                assert settled(place, len(load.truth) - VEHICLES + moments.randint(1, VEHICLES - 1))
                time.sleep(moments.random() / 10)
                if victim == "resolver":
                    process.kill()
                    process.wait(30)
                    process = centre_process(file)
                elif victim == "nats":
                    server.stop(signal.SIGKILL)
                    load.more(VEHICLES // 2)
                    server.start()
                else:
                    database.kill()
                    load.more(VEHICLES // 2)
                    database.start()
            load.more(VEHICLES)
            assert settled(place, len(load.truth))
            assert at_rest(place) and answered(server.url) == given(place)
        finally:
            process.kill()
            process.wait(30)
            for sender in load.senders:
                sender.close()
        found = given(place)
        assert found.keys() == load.truth.keys() and pairwise(found, load.truth) == (1.0, 1.0)
        assert sql(place, "SELECT count(*), count(DISTINCT vehicle) FROM sightings") == [(len(load.truth), VEHICLES)]
