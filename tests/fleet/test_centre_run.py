"""`vreid centre run` and `show`: a process that resolves, one that waits, what they say, and their ends."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from made_box import number_of
from made_centre import (
    DIM,
    box_of,
    centre_file,
    centre_process,
    resolving,
    said_in,
    seen,
    settings_of,
    settled,
)
from made_gallery import opened, sql, written
from made_outputs import free_port, until
from real_nats import NatsServer
from real_postgres import Server

from vreid.cli.main import main
from vreid.fleet.centre import region
from vreid.fleet.centre.metrics import CentreMonitor
from vreid.fleet.sender import Sender
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("centre_run")


def shown(file: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, object]:
    capfd.readouterr()
    code = main(["centre", "show", str(file), "--json"])
    found: dict[str, object] = json.loads(capfd.readouterr().out)["regions"][0]
    assert code == int(found["fault"] is not None)
    return found


def test_one_process_resolves_and_another_takes_over_when_it_ends(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    file = centre_file(tmp_path, server, place)
    file.write_text(file.read_text().replace("[[region]]", f"[metrics]\nlisten = {port}\n[[region]]"))
    first = centre_process(file)
    try:
        assert until(lambda: shown(file, capfd)["epoch"] is not None)
        with box_of(tmp_path / "g.db") as gallery:
            seen(gallery, range(5), 1)
            Sender(settings_of(server.url), gallery).send_all()
        assert settled(place, 5)
        assert until(lambda: len(shown(file, capfd)["boxes"]) == 1)  # type: ignore[arg-type]
        assert until(lambda: shown(file, capfd)["waiting"] == {"identities": 0, "pictures": 0, "removals": 0})
        found = shown(file, capfd)
        epoch = int(str(found["epoch"]))
        assert found["behind"] == 0 and str(first.pid) in str(found["holder"]) and found["fault"] is None
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
            metrics = page.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as page:
            health = json.loads(page.read())
        file.write_text(file.read_text().replace(str(port), str(free_port())))
        second = centre_process(file)
        try:
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 0
            assert until(lambda: str(second.pid) in str(shown(file, capfd)["holder"]))
            assert int(str(shown(file, capfd)["epoch"])) > epoch
            assert main(["centre", "show", str(file)]) == 0
            assert "box 0" in capfd.readouterr().out
        finally:
            second.send_signal(signal.SIGINT)
            assert second.wait(30) == 0
    finally:
        first.kill()
        first.wait(30)
    assert 'vreid_centre_messages_total{outcome="new",region="north"} 5.0' in metrics
    (line,) = [line for line in metrics.splitlines() if line.startswith('vreid_centre_epoch{region="north"}')]
    assert float(line.rpartition(" ")[2]) == epoch
    assert 'vreid_centre_clock_ahead_seconds{box="box 0",region="north"}' in metrics
    assert health["regions"]["north"] == {"epoch": epoch, "fault": None, "wrong_clocks": []}
    assert shown(file, capfd)["holder"] is None


def test_servers_that_are_away_are_said_and_waited_for(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, capfd: pytest.CaptureFixture[str]
) -> None:
    file = centre_file(tmp_path, server, place)
    server.stop()
    process = centre_process(file)
    try:
        assert until(lambda: "cannot be reached" in said_in(file))
        assert main(["centre", "show", str(file)]) == 1
        said = capfd.readouterr()
        assert "cannot be reached" in said.err and f"127.0.0.1:{server.port}" in said.err and "nobody" in said.out
        server.start()
        assert until(lambda: shown(file, capfd)["epoch"] is not None)
        epoch = shown(file, capfd)["epoch"]
        assert until(lambda: f"region north is resolved here, in epoch {epoch}; 0 wait" in said_in(file))
        second = centre_process(file)
        assert until(lambda: "another process resolves it, and this one waits" in said_in(file))
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_who_has_done_something_is_soon_tried_again(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = region.pauses, list[tuple[Any, ...]]()

    def noted(*words: Any) -> Iterator[float]:
        begun.append(words)
        return real(*words)

    monkeypatch.setattr(region, "pauses", noted)
    with resolving(centre_file(tmp_path, server, place)) as centre, box_of(tmp_path / "g.db") as gallery:
        for count in range(1, 4):
            seen(gallery, [count], count)
            Sender(settings_of(server.url), gallery).send_all()
            assert until(lambda count=count: centre.status()["north"].counts.new == count), centre.status()
            server.stop()
            assert until(lambda: centre.status()["north"].fault is not None)
            server.start()
            assert until(lambda: centre.status()["north"].fault is None)
    assert len(begun) == 4  # and not once for each attempt


def test_a_region_goes_on_behind_a_message_that_its_database_does_not_take(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    with resolving(centre_file(tmp_path, server, place)) as centre, box_of(tmp_path / "g.db") as gallery:
        seen(gallery, range(3), 1)
        sql(place, f"ALTER TABLE box_sightings ADD CHECK (sighting <> {number_of(gallery.path, 2)})")
        Sender(settings_of(server.url), gallery).send_all()
        assert until(lambda: centre.status()["north"].counts.new == 2), centre.status()
        assert centre.status()["north"].counts.aside == 1
    said = [each.getMessage() for each in caplog.records]
    failed, over = (
        [number for number, each in enumerate(said) if words in each]
        for words in ("this program failed at message", "please report this")
    )
    assert len(failed) == len(over) == 1 and failed < over


def test_regions_are_compared_while_the_centre_runs_and_what_nobody_has_answered_is_counted(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, postgres: Server
) -> None:
    south = postgres.new_place("centre_run_south")
    file = centre_file(
        tmp_path, server, place, "reconcile_s = 0.5", f'[[region]]\nname = "south"\ngallery = "{written(south)}"'
    )
    with resolving(file) as centre:
        for region, begin in ((place, 1.79e9), (south, 1.79e9 + 1000)):
            with opened(region, dim=DIM) as gallery:
                seen(gallery, range(5), int(begin), begin)
        assert until(lambda: centre.status()["north"].waiting.get("proposals") == 5), centre.status()
        assert until(lambda: centre.status()["south"].waiting.get("proposals") == 0), centre.status()
        with (
            closing(CentreMonitor(centre.status, "127.0.0.1:0")) as monitor,
            urllib.request.urlopen(f"http://127.0.0.1:{monitor.port}/metrics", timeout=30) as answer,
        ):
            page = answer.read().decode()
    assert 'vreid_centre_waiting{region="north",what="proposals"} 5.0' in page


def test_a_region_that_is_away_keeps_no_others_from_being_compared(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress, postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    away, west = postgres.place("away", database="not_there_yet"), postgres.new_place("west")
    more = "".join(
        f'[[region]]\nname = "{name}"\ngallery = "{written(at)}"\n' for name, at in (("p", away), ("q", west))
    )
    file = centre_file(tmp_path, server, place, "reconcile_s = 0.2", more)
    with caplog.at_level("INFO", "vreid"), resolving(file) as centre:
        assert until(lambda: centre.status()["q"].epoch is not None), centre.status()
        for region, begin in ((place, 1.79e9), (west, 1.79e9 + 1000)):
            with opened(region, dim=DIM) as gallery:
                seen(gallery, range(3), int(begin), begin)
        assert until(lambda: centre.status()["north"].waiting.get("proposals") == 3), centre.status()
        assert until(lambda: centre.status()["north"].not_compared.get("p", 0) >= 3)
        assert centre.status()["north"].not_compared.keys() == {"p"} and centre.status()["q"].not_compared == {}
        said = [
            each.getMessage() for each in caplog.records if "north and p could not be compared" in each.getMessage()
        ]
        assert len(said) == 1 and ": region p: " in said[0] and "not_there_yet" in said[0]
        assert main(["centre", "reconcile", str(file)]) == 1
        sql(place, "CREATE DATABASE not_there_yet")
        assert until(lambda: "north and p are compared again" in caplog.text)
