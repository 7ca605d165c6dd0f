"""Who may do what over HTTP: tokens, roles, cameras, sessions, forged requests, the header Host; nothing refused is written."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from made_site import API, IN_BOTH, MadeSite, Served, content_of, served_here

from vreid.runtime.gallery import read_gallery
from vreid.serve.persons import cookie_of
from vreid.serve.rights import ROLES, SESSION_S, TokenFile
from vreid.serve.service import Address

BODIES: dict[str, Any] = {
    "/merge": {"vehicles": [1, 2]}, "/vehicles/{vehicle}/split": {"sightings": [1]}, "/undo": {}, "/purge": {"before": 1},
    "/doubtful/{sighting}": {"same": True}, "/vehicles/{vehicle}": {"name": "forged"}, "/search/feature": {"feature": [1.0]},
}  # fmt: skip
LEAST = {  # the least role of what not everybody with a token may do
    ("POST", "/vehicles"): "edit", ("PATCH", "/vehicles/{vehicle}"): "edit", ("DELETE", "/vehicles/{vehicle}"): "admin",
    ("POST", "/merge"): "edit", ("POST", "/vehicles/{vehicle}/split"): "edit", ("POST", "/undo"): "edit",
    ("POST", "/doubtful/{sighting}"): "edit", ("POST", "/calibrate"): "admin", ("POST", "/purge"): "admin",
    ("GET", "/changes"): "admin",
}  # fmt: skip


def operations(served: Served) -> list[tuple[str, str]]:
    """Every method and path of the API, without its prefix."""
    with served.client() as client:
        paths = client.get(f"{API}/openapi.json").json()["paths"]
    return [(verb.upper(), path.removeprefix(API)) for path, verbs in paths.items() for verb in verbs]


def sent(client: httpx.Client, verb: str, path: str, **settings: Any) -> httpx.Response:
    """A request that is valid as far as its role goes."""
    if verb != "GET" and path in BODIES:
        settings.setdefault("json", BODIES[path])
    if path == "/vehicles" and verb == "POST":
        settings.setdefault("files", {"pictures": ("a.jpg", b"none", "image/jpeg")})
    if path == "/search":
        settings.setdefault("files", {"picture": ("a.jpg", b"none", "image/jpeg")})
    filled = path.format(vehicle=1, sighting=1, camera="gate")
    with client.stream(verb, API + filled, **settings) as answer:
        return answer


def test_nobody_gets_anything_without_a_token_that_is_known(served: Served) -> None:
    before = content_of(served.site)
    wrong = ["Bearer vreid_wrong", "Bearer", "Basic YTpi", "Bearer " + served.site.given["admin"][:-1], "vreid"]
    with served.client() as client:
        for verb, path in operations(served):
            assert sent(client, verb, path).status_code == 401, (verb, path)
            for text in wrong:
                answer = sent(client, verb, path, headers={"Authorization": text})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (verb, path, text)
    assert content_of(served.site) == before


def test_a_role_may_do_what_it_may_and_no_more(served: Served) -> None:
    before = content_of(served.site)
    every = operations(served)
    assert set(LEAST) <= set(every)
    for place, role in enumerate(ROLES):
        with served.client(role) as client:
            for verb, path in every:
                refused = ROLES.index(LEAST.get((verb, path), "look")) > place
                if refused:
                    assert sent(client, verb, path).status_code == 403, (role, verb, path)
                elif verb == "GET":
                    assert sent(client, verb, path).status_code in (200, 404), (role, verb, path)
    assert content_of(served.site) == before


def test_a_revoked_token_and_its_session_are_of_no_use(served: Served) -> None:
    with served.client("look") as client, served.client() as browser:
        signed_in(browser, served.site.given["look"])
        assert client.get(f"{API}/vehicles").status_code == browser.get(f"{API}/vehicles").status_code == 200
        served.site.tokens.revoke("look")
        assert client.get(f"{API}/vehicles").status_code == browser.get(f"{API}/vehicles").status_code == 401
        served.site.tokens.add("look", "look")  # a new token of an old name does not let an old session in
        assert browser.get(f"{API}/vehicles").status_code == 401


def signed_in(client: httpx.Client, token: str, url: str = "") -> None:
    """A session cookie for a token."""
    answer = client.post(f"{url}/sign-in", data={"token": token})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()


def test_a_browser_has_a_session_at_each_of_two_servers_of_a_host(
    served: Served, filled: MadeSite, tmp_path: Path
) -> None:
    with served_here(filled.copy_to(tmp_path / "other").with_tokens()) as other, served.client() as browser:
        for server in (served, other):
            signed_in(browser, server.site.given["look"], server.url)
        for server in (served, other):
            assert browser.get(f"{server.url}{API}/vehicles").status_code == 200


def csrf_of(served: Served, client: httpx.Client) -> str:
    """What a page of this session holds."""
    assert served.service is not None
    person = served.service.tokens.person_of_session(client.cookies[cookie_of(served.service)])
    assert person is not None
    return served.service.tokens.csrf(person)


def test_a_session_writes_only_with_its_own_csrf_token(served: Served) -> None:
    before = content_of(served.site)
    with served.client() as client, served.client() as other:
        for one in (client, other):
            signed_in(one, served.site.given["edit"])
        own, foreign = csrf_of(served, client), csrf_of(served, other)
        assert own != foreign
        for headers in ({}, {"X-CSRF-Token": foreign}, {"X-CSRF-Token": own + "x"}, {"Authorization": ""}):
            assert rename(client, headers).status_code == 403, headers
        for more in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://["},
        ):
            assert rename(client, {"X-CSRF-Token": own, **more}).status_code == 403, more
        assert content_of(served.site) == before
        answer = rename(client, {"X-CSRF-Token": own, "Origin": served.url, "Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 200
    with read_gallery(served.site.gallery) as gallery:
        assert gallery.changes(1)[0].who == "edit"


def rename(client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    """An edit as a page sends it."""
    return client.patch(f"{API}/vehicles/5", json={"name": "named by a page"}, headers=headers)


def test_without_any_token_pages_of_other_sites_still_write_nothing(open_site: MadeSite) -> None:
    before = content_of(open_site)
    with served_here(open_site) as server, server.client() as client:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert rename(client, headers).status_code == 403
        simple = {"Content-Type": "text/plain"}  # what a form of another site can send
        assert client.post(f"{API}/undo", content="{}", headers=simple).status_code == 415
        assert content_of(open_site) == before
        assert rename(client, {}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"])
def test_another_name_in_the_header_host_is_not_served(looked_at: Served, host: str) -> None:
    with looked_at.client("admin") as client:
        for path in (f"{API}/vehicles", "/livez", "/", "/static/htmx.min.js"):
            assert client.get(path, headers={"Host": host}).status_code in (400, 421), path


def test_every_answer_has_the_headers_that_bind_browsers(looked_at: Served) -> None:
    with looked_at.client("look") as client:
        for path in (f"{API}/vehicles", f"{API}/vehicles/1/picture", f"{API}/no", "/livez", "/sign-in", "/static/no"):
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "access-control-allow-origin" not in headers and "server" not in headers


@pytest.fixture
def gate(served: Served) -> Iterator[httpx.Client]:
    """Who may edit, and sees the camera gate alone."""
    with served.client("gate") as client:
        yield client


def test_a_token_of_one_camera_learns_of_no_other(gate: httpx.Client, served: Served) -> None:
    with served.client("admin") as admin:
        every = admin.get(f"{API}/sightings", params={"limit": 500}).json()["items"]
        at_gate = {one["id"] for one in every if one["camera"] == "gate"}
        elsewhere = [one for one in every if one["camera"] != "gate"]
    seen = gate.get(f"{API}/sightings", params={"limit": 500}).json()["items"]
    assert {one["id"] for one in seen} == at_gate
    assert gate.get(f"{API}/cameras").json() == ["gate"]
    hidden = elsewhere[0]["id"]
    for path in (*(f"/sightings/{hidden}{part}" for part in ("", "/picture", "/kept", "/similar")), "/cameras/bridge/picture",
                 "/sightings?camera=bridge", "/export?camera=bridge"):  # fmt: skip
        assert gate.get(API + path).status_code == 404, path
    assert gate.get(f"{API}/cameras/gate/picture").status_code == 200
    texts = [gate.get(API + path).text for path in ("/vehicles?limit=500", "/export", "/doubtful", "/health")]
    found = gate.get(f"{API}/sightings/{min(at_gate)}/similar", params={"k": 100}).json()["vehicles"]
    mine = {one["vehicle"] for one in seen}
    assert {one["vehicle"] for one in found} <= mine
    assert "bridge" not in " ".join([*texts, json.dumps(found)]) and "north yard" not in " ".join(
        [*texts, json.dumps(found)]
    )
    for vehicle in gate.get(f"{API}/vehicles", params={"limit": 500}).json()["items"]:
        own = [one for one in seen if one["vehicle"] == vehicle["id"]]
        assert (vehicle["sightings"], vehicle["last_at"]) == (len(own), max(one["at"] for one in own))
        details = gate.get(f"{API}/vehicles/{vehicle['id']}").json()
        assert details["changes"] == [] and {one["camera"] for one in details["sightings"]} == {"gate"}
    unseen = {one["vehicle"] for one in every} - mine
    for number in unseen:
        assert (
            gate.get(f"{API}/vehicles/{number}").status_code
            == gate.get(f"{API}/vehicles/{number}/picture").status_code
            == 404
        )


@IN_BOTH
def test_a_token_of_one_camera_changes_only_what_it_has_seen(gate: httpx.Client, served: Served) -> None:
    with read_gallery(served.site.gallery) as gallery:
        every = gallery.latest_sightings(limit=1000)
        mine = {one.vehicle for one in every if one.camera == "gate"}
        hidden = next(one for one in every if one.camera != "gate")
    with served.client("edit") as client:  # a vehicle that no camera has seen
        pictures = [("pictures", (path.name, path.read_bytes(), "image/jpeg")) for path in served.site.crops()[:1]]
        unseen = client.post(f"{API}/vehicles", files=pictures, data={"anyway": "true"}).json()["done"]["id"]
        change = client.patch(f"{API}/vehicles/{min(mine)}", json={"name": "of the office"})
        assert change.status_code == 200
    with read_gallery(served.site.gallery) as gallery:
        others_change = gallery.changes(1)[0].id
    before = content_of(served.site)
    for verb, path, body in (
        ("PATCH", f"/vehicles/{unseen}", {"name": "mine"}), ("POST", "/merge", {"vehicles": [min(mine), unseen]}),
        ("POST", f"/vehicles/{min(mine)}/split", {"sightings": [hidden.id]}), ("POST", f"/doubtful/{hidden.id}", {"same": True}),
        ("POST", "/undo", {}), ("POST", "/undo", {"change": others_change}),
    ):  # fmt: skip
        assert gate.request(verb, API + path, json=body).status_code == 404, (verb, path)
    assert content_of(served.site) == before
    assert gate.patch(f"{API}/vehicles/{min(mine)}", json={"name": "of the gate"}).status_code == 200
    with read_gallery(served.site.gallery) as gallery:
        own = gallery.changes(1)[0]
    assert own.who == "gate" and gate.post(f"{API}/undo", json={"change": own.id}).status_code == 200
    assert gate.patch(f"{API}/vehicles/{min(mine)}", json={"name": "of the gate"}).status_code == 200
    with served.client("edit") as client:
        assert client.patch(f"{API}/vehicles/{unseen}", json={"name": "of the office too"}).status_code == 200
    taken = gate.post(f"{API}/undo", json={})  # the last one of its own
    assert taken.json()["done"]["undone"] == own.id + 2 and gate.post(f"{API}/undo", json={}).status_code == 404


@IN_BOTH
def test_every_edit_is_in_the_audit_with_who_did_it(served: Served) -> None:
    crop = served.site.crops()[0].read_bytes()
    with served.client("edit") as client, served.client("admin") as admin:
        enrolled = client.post(f"{API}/vehicles", files={"pictures": ("a.jpg", crop)}, data={"anyway": "true"})
        assert enrolled.status_code == 201
        assert client.patch(f"{API}/vehicles/5", json={"name": "five"}).status_code == 200
        assert client.post(f"{API}/merge", json={"vehicles": [5, 6]}).status_code == 200
        assert client.post(f"{API}/undo", json={}).status_code == 200
        sightings = client.get(f"{API}/vehicles/5").json()["sightings"]
        assert client.post(f"{API}/vehicles/5/split", json={"sightings": [sightings[0]["id"]]}).status_code == 200
        doubt = client.get(f"{API}/doubtful").json()[0]["sighting"]["id"]
        assert client.post(f"{API}/doubtful/{doubt}", json={"same": True}).status_code == 200
        assert admin.delete(f"{API}/vehicles/{enrolled.json()['done']['id']}").status_code == 200
        rows = admin.get(f"{API}/changes").json()["items"]
    rows_said = [(row["verb"], row["who"]) for row in reversed(rows) if row["who"] in ("edit", "admin")]
    wanted = [(verb, "edit") for verb in ("enrol", "rename", "merge", "undo", "split", "confirm")]
    assert rows_said == [*wanted, ("remove", "admin")]


def test_a_caller_who_floods_has_to_wait_and_probes_are_not(made_site: MadeSite) -> None:
    with served_here(made_site, requests_a_minute=30) as server, server.client("look") as client:
        answers = [client.get(f"{API}/cameras") for _ in range(40)]
        assert answers[0].status_code == 200 and answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[-1].headers["content-type"] == "application/problem+json"
        assert client.get("/livez").status_code == 200


def test_where_others_reach_it_nobody_is_let_in_when_the_last_token_goes(made_site: MadeSite) -> None:
    with served_here(made_site, address=Address(port=0, behind_proxy=True)) as server, server.client() as client:
        for token in made_site.tokens.tokens():
            made_site.tokens.revoke(token.name)
        assert client.get(f"{API}/vehicles").status_code == 401
        made_site.tokens.path.unlink()
        assert client.get(f"{API}/vehicles").status_code == 401


def test_tokens_are_kept_as_hashes_in_a_file_that_only_their_user_reads(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "g.db.tokens")
    text = file.add("office", "edit", ["gate"])
    content = file.path.read_text()
    assert text not in content and hashlib.sha256(text.encode()).hexdigest() in content
    assert file.path.stat().st_mode & 0o777 == 0o600
    person = TokenFile(file.path).person_of(text)
    assert person is not None and (person.name, person.role, person.cameras) == ("office", "edit", ("gate",))
    assert file.person_of(text + "x") is None


def test_a_session_ends_and_cannot_be_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TokenFile(tmp_path / "g.db.tokens")
    person = file.person_of(file.add("office", "look"))
    assert person is not None
    cookie = file.session(person)
    assert file.person_of_session(cookie) is not None
    body, _, signature = cookie.partition(".")
    for forged in (f"{body}.{signature[:-2]}", f"{body}x.{signature}", body, ".", "é.é", "W10.", signature):
        assert file.person_of_session(forged) is None, forged
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_S + 1)
    assert file.person_of_session(cookie) is None
