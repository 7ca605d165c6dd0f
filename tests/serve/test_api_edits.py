"""Writes that are repeated under their key, the events that they bring about, and the limits of who follows those."""

import json
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from made_site import API, IN_BOTH, MadeSite, Served, served_here

from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.gallery.edit_socket import EditServer
from vreid.runtime.gallery.requests import Request
from vreid.runtime.records import FinishedTrack
from vreid.serve import events, gallery_access
from vreid.serve.live import PictureFolder
from vreid.serve.streams import MOST_FOLLOWERS, Bound
from vreid.serve.turns import MOST


def audit(site: MadeSite) -> list[tuple[str, int | None]]:
    with read_gallery(site.gallery) as gallery:
        return [(change.verb, change.vehicle) for change in gallery.changes()]


def requests_of(served: Served) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """A request of each kind of edit, that can be done."""
    with read_gallery(served.site.gallery) as gallery:
        sighting = gallery.latest_sightings(limit=1)[0]
    crop = served.site.crops()[0].read_bytes()
    enrol = {"files": {"pictures": ("a.jpg", crop)}, "data": {"name": "new", "anyway": "true"}}
    return {
        "rename": ("PATCH", "/vehicles/5", {"json": {"name": "five"}}),
        "enrol": ("POST", "/vehicles", enrol),
        "split": ("POST", f"/vehicles/{sighting.vehicle}/split", {"json": {"sightings": [sighting.id]}}),
        "merge": ("POST", "/merge", {"json": {"vehicles": [5, 6]}}),
        "undo": ("POST", "/undo", {"json": {}}),
        "remove": ("DELETE", "/vehicles/8", {}),
        "purge": ("POST", "/purge", {"json": {"before": 1.0}}),
    }


@pytest.mark.parametrize("kind", ["rename", "enrol", "split", "merge", "undo", "remove", "purge"])
def test_an_edit_that_is_sent_again_is_done_once(served: Served, kind: str) -> None:
    verb, path, body = requests_of(served)[kind]
    with served.client("admin") as client:
        if kind == "undo":
            client.patch(f"{API}/vehicles/5", json={"name": "five"}).raise_for_status()
        key = {"Idempotency-Key": "one-and-only"}
        first = client.request(verb, API + path, headers=key, **body)
        assert first.is_success, first.text
        done = audit(served.site)
        with read_gallery(served.site.gallery) as gallery:
            vehicles = gallery.vehicles()
        again = client.request(verb, API + path, headers=key, **body)
        wanted = first.json()["done"] | ({"name": None} if kind == "remove" else {})  # no name of what is gone is kept
        assert (again.status_code, again.json()["done"]) == (first.status_code, wanted)
        assert audit(served.site) == done
        with read_gallery(served.site.gallery) as gallery:
            assert gallery.vehicles() == vehicles
        other = client.patch(f"{API}/vehicles/7", json={"name": "another request"}, headers=key)
        assert other.status_code == 422 and other.headers["content-type"] == "application/problem+json"
        assert audit(served.site) == done


@IN_BOTH
def test_keys_are_of_one_token_and_outlive_the_server(made_site: MadeSite) -> None:
    key, body = {"Idempotency-Key": "1"}, {"name": "five"}
    with served_here(made_site) as server, server.client("edit") as one, server.client("admin") as other:
        assert one.patch(f"{API}/vehicles/5", json=body, headers=key).status_code == 200
        assert other.patch(f"{API}/vehicles/6", json={"name": "six"}, headers=key).status_code == 200
    done = audit(made_site)
    with served_here(made_site) as server, server.client("edit") as one:
        assert one.patch(f"{API}/vehicles/5", json=body, headers=key).json()["done"]["name"] == "five"
        assert one.patch(f"{API}/vehicles/5", json={"name": "5"}, headers=key).status_code == 422
    assert audit(made_site) == done


def test_who_sees_one_camera_gets_the_first_answer_again_although_the_edit_hid_what_it_changed(served: Served) -> None:
    with read_gallery(served.site.gallery) as gallery:
        every = gallery.latest_sightings(limit=1000)
    one, other = sorted({seen.vehicle for seen in every if seen.camera == "gate"})[:2]
    with served.client("gate") as client:
        merge = {"json": {"vehicles": [one, other]}, "headers": {"Idempotency-Key": "once"}}
        first, again = (client.post(f"{API}/merge", **merge) for _ in range(2))
        assert first.status_code == 200 and first.json()["done"]["merged"] == [other]
        assert (again.status_code, again.json()) == (200, first.json())
        assert client.post(f"{API}/merge", json=merge["json"]).status_code == 404


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "é"])
def test_a_key_that_is_none_is_refused(looked_at: Served, key: str) -> None:
    before = audit(looked_at.site)
    with looked_at.client("edit") as client:
        headers = [("Idempotency-Key", key.encode())]
        assert client.patch(f"{API}/vehicles/5", json={"name": "five"}, headers=headers).status_code == 422
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert client.patch(f"{API}/vehicles/5", json={"name": "five"}, headers=twice).status_code == 422
    assert audit(looked_at.site) == before


@IN_BOTH
def test_what_contradicts_what_is_there_is_a_conflict(served: Served) -> None:
    with served.client("admin") as client:
        for verb, path, body, status in (
            ("PATCH", "/vehicles/5", {"name": "WHITE VAN"}, 409), ("PATCH", "/vehicles/999", {"name": "x"}, 404),
            ("POST", "/merge", {"vehicles": [5, 999]}, 404), ("POST", "/merge", {"vehicles": [5, 5]}, 422),
            ("POST", "/vehicles/5/split", {"sightings": [99999]}, 404), ("POST", "/calibrate", None, 409),
            ("POST", "/doubtful/99999", {"same": True}, 404), ("POST", "/undo", {"change": 99999}, 404),
            ("POST", "/undo", {"change": 1}, 409), ("DELETE", "/vehicles/999", None, 404),
        ):  # fmt: skip
            answer = client.request(verb, API + path, json=body)
            assert answer.status_code == status, (path, answer.text)


def test_while_another_program_holds_the_gallery_a_write_is_refused_and_reading_goes_on(served: Served) -> None:
    with edit_gallery(served.site.gallery), served.client("edit") as client:
        answer = client.patch(f"{API}/vehicles/5", json={"name": "five"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert client.get(f"{API}/vehicles/5").json()["vehicle"]["name"] != "five"


def test_while_the_run_that_writes_is_slow_only_so_many_edits_wait_and_reading_goes_on(served: Served) -> None:
    goes_on, refused = threading.Event(), threading.Semaphore(0)
    codes = queue.SimpleQueue[int]()

    def slow(request: Request, who: str) -> dict[str, Any]:
        assert goes_on.wait(120)
        with gallery.acting_as(who):
            return request.apply(gallery).result

    def edit(number: int) -> None:
        answer = client.patch(f"{API}/vehicles/{number % 8 + 1}", json={"name": f"name {number}"}, timeout=120)
        codes.put(answer.status_code)
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "2"
            refused.release()

    writer, client = edit_gallery(served.site.gallery), served.client("edit")
    with writer as gallery, EditServer(gallery, slow), client, ThreadPoolExecutor(60) as threads:
        for number in range(60):
            threads.submit(edit, number)
        for _ in range(60 - MOST):
            assert refused.acquire(timeout=120)
        with served.client("look") as reader:
            assert reader.get(f"{API}/vehicles/5").status_code == 200
        goes_on.set()
    assert Counter(codes.get() for _ in range(60)) == {200: MOST, 503: 60 - MOST}


def test_a_run_that_hangs_is_not_waited_for_as_long_as_by_the_command_line(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_access, "EDIT_S", 0.5)
    over = threading.Event()

    def hangs(request: Request, who: str) -> dict[str, Any]:
        assert over.wait(120)
        return {}

    writer, client = edit_gallery(served.site.gallery), served.client("edit")
    with writer as gallery, EditServer(gallery, hangs), client:
        answer = client.patch(f"{API}/vehicles/5", json={"name": "five"})
        over.set()
    assert answer.status_code == 503 and "did not answer" in answer.json()["detail"]


def following(client: httpx.Client, last: str | None = None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(event, id, document) as they come, after the first sign of the stream."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", f"{API}/events", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
                continue
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null"))
            fields = {}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.02)


@IN_BOTH
def test_events_come_as_the_gallery_changes_and_go_on_where_a_client_was(served: Served, soon: None) -> None:
    with served.client("admin") as client, served.client("edit") as editor:
        stream = following(client)
        _, begun, _ = next(stream)
        editor.patch(f"{API}/vehicles/5", json={"name": "five"}).raise_for_status()
        kind, first, change = next(stream)
        assert (kind, change["verb"], change["who"], change["detail"]["to"]) == ("change", "rename", "edit", "five")
        editor.patch(f"{API}/vehicles/6", json={"name": "six"}).raise_for_status()
        assert next(stream)[2]["detail"]["to"] == "six"
        stream.close()
        for last, names in ((begun, ["five", "six"]), (first, ["six"])):
            again = following(client, last)
            next(again)
            assert [next(again)[2]["detail"]["to"] for _ in names] == names
            again.close()


def test_a_sighting_of_an_earlier_time_that_is_written_later_is_an_event(served: Served, soon: None) -> None:
    with served.client("look") as client:
        stream = following(client)
        next(stream)
        with edit_gallery(served.site.gallery) as gallery:
            like = gallery.sightings(1)[0]
            feature, crop = np.eye(1, gallery.about.dim, dtype=np.float32)[0], np.zeros((8, 8, 3), np.uint8)
            late = FinishedTrack(like.camera, 77, 1, 2, 0.0, 1.0, 2, feature, 3, 0.8, crop, like.at - 86400.0)
            written = gallery.add_sighting(1, late, 0.9, "slow")
        kind, _, document = next(stream)
        assert (kind, document["id"], document["run"]) == ("sighting", written, "slow")
        stream.close()


@IN_BOTH
def test_a_client_that_was_away_gets_all_that_was_written_meanwhile_once(
    served: Served, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PART", 7)
    with read_gallery(served.site.gallery) as gallery:
        sightings = sorted(one.id for one in gallery.latest_sightings(limit=1000))
        changes = [one.id for one in gallery.changes()]
    with served.client("look") as client:
        stream = following(client, "0-0")
        next(stream)
        found = [next(stream) for _ in (*sightings, *changes)]
        assert [one["id"] for kind, _, one in found if kind == "sighting"] == sightings
        assert [one["id"] for kind, _, one in found if kind == "change"] == changes
        again = following(client, found[9][1])  # where the connection broke
        next(again)
        rest = [next(again)[::2] for _ in found[10:]]
        assert sorted(rest, key=str) == sorted((one[::2] for one in found[10:]), key=str)
        for one in (stream, again):
            one.close()


def test_a_client_that_is_too_far_behind_learns_which_ids_it_misses(
    served: Served, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_BEHIND", 5)
    with read_gallery(served.site.gallery) as gallery:
        last, change = max(one.id for one in gallery.latest_sightings(limit=1000)), gallery.changes(1)[0].id
    with served.client("look") as client, served.client("gate") as gate:
        stream, limited = following(client, "2-0"), following(gate, "2-0")
        missed = [next(stream)[::2] for _ in range(3)][1:]
        assert missed == [
            ("missed", {"of": "sightings", "after": 2, "until": last - 5}),
            ("missed", {"of": "changes", "after": 0, "until": change - 5}),
        ]
        assert [next(stream)[2]["id"] for _ in range(5)] == [*range(last - 4, last + 1)]
        next(limited)
        assert [next(limited)[0] for _ in range(2)] == ["missed", "sighting"]
        for one in (stream, limited):
            one.close()


def test_a_client_that_is_ahead_of_a_backup_begins_anew(served: Served, soon: None) -> None:
    with read_gallery(served.site.gallery) as gallery:
        last, change = max(one.id for one in gallery.latest_sightings(limit=1000)), gallery.changes(1)[0].id
    with served.client("edit") as client, served.client("gate") as gate:
        stream, limited = following(client, f"{last + 5}-{change + 7}"), following(gate, f"{last + 5}-{change + 7}")
        assert [next(stream)[::2] for _ in range(3)][1:] == [
            ("missed", {"of": "sightings", "after": 0, "until": last}),
            ("missed", {"of": "changes", "after": 0, "until": change}),
        ]
        client.patch(f"{API}/vehicles/5", json={"name": "five"}).raise_for_status()
        kind, place, row = next(stream)
        assert (kind, place, row["detail"]["to"]) == ("change", f"{last}-{row['id']}", "five")
        assert [next(limited)[2] for _ in range(2)][1] == {"of": "sightings", "after": 0, "until": last}
        for one in (stream, limited):
            one.close()


def test_a_stream_ends_with_its_token_and_those_of_one_camera_see_no_audit(served: Served, soon: None) -> None:
    with served.client("gate") as client, served.client("edit") as editor:
        stream = following(client, "0-0")
        next(stream)
        seen = [next(stream) for _ in range(5)]
        assert {kind for kind, _, _ in seen} == {"sighting"} and {one["camera"] for _, _, one in seen} == {"gate"}
        editor.patch(f"{API}/vehicles/5", json={"name": "five"}).raise_for_status()
        served.site.tokens.revoke("gate")
        assert {kind for kind, _, _ in stream} <= {"sighting"}  # and it ends


def test_only_so_many_follow_at_once(looked_at: Served) -> None:
    with looked_at.client("look", limits=httpx.Limits(max_connections=None)) as client:
        streams = [following(client) for _ in range(MOST_FOLLOWERS)]
        for stream in streams:
            next(stream)
        assert client.get(f"{API}/events").status_code == 503
        for stream in streams:
            stream.close()
        left = threading.Event()
        for _ in range(600):
            with client.stream("GET", f"{API}/events") as answer:
                if answer.status_code == 200:
                    return
            left.wait(0.1)
        pytest.fail("nobody is let in when others have left")


def test_live_pictures_end_with_the_token_and_so_many_are_looked_at_at_once(
    made_site: MadeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PictureFolder, "every_s", 0.02)
    with served_here(made_site, viewers=Bound(1, "live pictures are looked at")) as server:
        with server.client("gate") as client, client.stream("GET", "/live/gate/stream") as answer:
            parts = answer.iter_raw()
            assert b"Content-Type: image/jpeg" in next(parts)
            with server.client("look") as other:
                assert other.get("/live/gate/stream").status_code == 503
            made_site.tokens.revoke("gate")
            made_site.tokens.add("gate", "edit", ["gate"])  # made anew, it is another one
            for _ in parts:  # and it ends
                pass
        assert server.service is not None and server.service.viewers.count == 0


def test_a_token_that_was_made_anew_does_not_go_on_with_the_events_of_the_old_one(served: Served, soon: None) -> None:
    with served.client("gate") as client:
        stream = following(client)
        next(stream)
        served.site.tokens.revoke("gate")
        served.site.tokens.add("gate", "edit", ["gate"])
        assert not [*stream]
