"""`vreid serve` over a gallery in PostgreSQL: writers of other machines, whose turn is waited for, and a server that goes away.
The main paths are tested where those of a file are (made_site.IN_BOTH)."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from made_gallery import sighting, sql, written
from made_outputs import until
from made_site import API, CAMERAS, MadeSite, Served, served_apart, served_here
from real_postgres import database_connection, postgres_server

from vreid.cli.main import main
from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.postgres import database

IN_DATABASE = pytest.mark.parametrize("made_site", ["database"], indirect=True)


@contextmanager
def writing(site: MadeSite) -> Iterator[Callable[[], int]]:
    """A process's part that writes sightings without a pause, as a centre's resolver does -> how many it has written."""
    over, done = threading.Event(), list[int]()
    with edit_gallery(site.gallery) as gallery:
        feature = np.eye(1, gallery.about.dim, dtype=np.float32)[0]

        def write() -> None:
            while not over.is_set():
                track = sighting(len(done), camera="another box/gate", feature=feature)
                done.append(gallery.add_sighting(1, track, 0.9, "centre"))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield lambda: len(done)
        finally:
            over.set()
            thread.join(60)


@IN_DATABASE
def test_edits_are_done_while_a_resolver_writes_without_a_pause(made_site: MadeSite) -> None:
    with served_here(made_site) as served, served.client("edit") as client, writing(made_site) as count:
        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(
                    lambda number: client.patch(f"{API}/vehicles/{number % 8 + 1}", json={"name": f"n{number}"}),
                    range(24),
                )
            )
        assert [answer.status_code for answer in answers] == [200] * 24
        before = count()
        assert until(lambda: count() > before)  # and the resolver has gone on
        cameras = client.get(f"{API}/cameras").json()
        assert {*CAMERAS, "another box/gate"} <= set(
            map(str, cameras["items"] if isinstance(cameras, dict) else cameras)
        )


@IN_DATABASE
def test_a_turn_that_is_held_for_a_moment_is_waited_for_and_one_held_long_is_503(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = served.site.place
    assert place is not None
    turn = f"SELECT pg_advisory_lock({database.turn_of(place.gallery)})"
    with served.client("edit") as client, database_connection(place) as other:
        other.execute(turn.encode())
        codes = list[int]()
        edit = threading.Thread(
            target=lambda: codes.append(client.patch(f"{API}/vehicles/5", json={"name": "five"}).status_code)
        )
        edit.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        assert until(lambda: sql(place, waiting)[0][0] > 0) and not codes
        other.execute(b"SELECT pg_advisory_unlock_all()")
        edit.join(60)
        assert codes == [200]
        monkeypatch.setattr(database, "LOCK_S", 1)
        other.execute(turn.encode())
        late = client.patch(f"{API}/vehicles/6", json={"name": "six"})
        assert (late.status_code, late.headers["retry-after"]) == (503, "2")
        assert "is being written by another program" in late.json()["detail"]
        assert client.get(f"{API}/vehicles/6").json()["vehicle"]["name"] != "six"
        page = client.get("/vehicles/6", headers={"Accept": "text/html"})
        assert page.status_code == 200


def test_a_server_that_goes_away_is_503_and_serving_goes_on_when_it_is_back(filled: MadeSite, tmp_path: Path) -> None:
    with postgres_server() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        server.start()
        site = filled.copy_to(tmp_path / "site").in_database(server.new_place("serve")).with_tokens()
        with served_here(site) as served, served.client("admin") as client:
            assert client.get("/readyz").status_code == 200
            server.kill()
            for answer in (
                client.get(f"{API}/vehicles"),
                client.get(f"{API}/sightings/1/similar"),
                client.patch(f"{API}/vehicles/5", json={"name": "five"}),
            ):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), answer.text
                assert (
                    "there is no connection to the gallery" in answer.json()["detail"] and "s3cret" not in answer.text
                )
            assert client.get("/readyz").status_code == 503 and client.get("/livez").status_code == 200
            server.start()
            assert client.patch(f"{API}/vehicles/5", json={"name": "five"}).status_code == 200
            assert client.get(f"{API}/vehicles/5").json()["vehicle"]["name"] == "five"
            assert client.get("/readyz").status_code == 200


@IN_DATABASE
def test_a_gallery_that_no_run_of_this_machine_writes_has_cameras_and_health(served: Served) -> None:
    with served.client("look") as client:
        health = client.get(f"{API}/health").json()
        assert health["running"] is False and health["vehicles"] > 0
        for page in ("/", "/sightings", "/vehicles", "/live", "/health"):
            answer = client.get(page, follow_redirects=True)
            assert answer.status_code in (200, 404), (page, answer.status_code)


@IN_DATABASE
def test_the_command_serves_the_address_and_shows_no_password(made_site: MadeSite) -> None:
    with served_apart(made_site) as served, served.client("look") as client:
        assert len(client.get(f"{API}/vehicles").json()["items"]) > 3
    log = made_site.folder.with_name(f"{made_site.folder.name}.log").read_text()
    assert "serving postgresql://" in log and "s3cret" not in log


@IN_DATABASE
def test_a_verb_of_files_is_refused_in_a_sentence(made_site: MadeSite, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "check", "--gallery", written(made_site.gallery)]) == 2
    assert "is for a gallery in a file" in capsys.readouterr().err
