"""Who may see and send what by the pages: sessions, forged forms, roles, cameras; and that messages cannot be made up."""

import html
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")
import httpx
from made_site import API, IN_BOTH, MadeSite, Served, served_here

from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.status import CameraStatus, StageStatus, Status

PLACES = (
    "/",
    "/sightings",
    "/vehicles",
    "/vehicles/1",
    "/find",
    "/doubtful",
    "/watch",
    "/health",
    "/settings",
    "/audit",
    "/docs",
)
FIELD = re.compile(r'name="csrf" value="([^"]+)"')


@contextmanager
def signed_in(server: Served, who: str) -> Iterator[httpx.Client]:
    """A browser's session of a role."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/sign-in", data={"token": server.site.given[who]})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        yield client


def csrf_of(client: httpx.Client, path: str = "/find") -> str:
    """What a form of this session has to hold."""
    found = FIELD.search(client.get(path).text)
    assert found is not None
    return found[1]


def changes(site: MadeSite) -> int:
    with read_gallery(site.gallery) as gallery:
        return gallery.stats().changes


def test_without_a_token_every_page_leads_to_the_sign_in_and_back(looked_at: Served) -> None:
    with looked_at.client() as client:
        for place in PLACES:
            answer = client.get(place)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in"), place
        assert client.get("/sightings?camera=gate").headers["location"] == "/sign-in?to=%2Fsightings%3Fcamera%3Dgate"
        token = looked_at.site.given["look"]
        answer = client.post("/sign-in", data={"token": token, "to": "/sightings?camera=gate"})
        assert answer.headers["location"] == "/sightings?camera=gate"
        for foreign in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
            assert client.post("/sign-in", data={"token": token, "to": foreign}).headers["location"] == "/"


def test_a_form_needs_the_token_of_its_session(served: Served) -> None:
    before = changes(served.site)
    with signed_in(served, "edit") as client, signed_in(served, "admin") as other:
        own = csrf_of(client)
        for given in ({}, {"csrf": ""}, {"csrf": csrf_of(other)}, {"csrf": own + "x"}):
            answer = client.post("/vehicles/1/name", data={"name": "forged", **given})
            assert answer.status_code == 403, given
        assert changes(served.site) == before
        foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert client.post("/vehicles/1/name", data={"name": "forged", "csrf": own}, headers=foreign).status_code == 403
        assert changes(served.site) == before
        answer = client.post("/vehicles/1/name", data={"name": "mine", "csrf": own})
        assert answer.status_code == 303
    assert changes(served.site) == before + 1


def test_without_tokens_a_form_needs_the_field_too(open_site: MadeSite) -> None:
    with served_here(open_site) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        before = changes(open_site)
        assert client.post("/vehicles/1/name", data={"name": "forged"}).status_code == 403
        assert changes(open_site) == before
        data = {"name": "mine", "csrf": csrf_of(client)}
        assert client.post("/vehicles/1/name", data=data).status_code == 303


@IN_BOTH
def test_roles_hold_for_forms_and_show_in_the_pages(served: Served) -> None:
    before = changes(served.site)
    with signed_in(served, "look") as client:
        csrf = csrf_of(client)
        for path, data in {
            "/vehicles/1/name": {"name": "x"},
            "/merge": {"vehicle": ["1", "2"]},
            "/vehicles/1/split": {"sighting": "1"},
            "/undo": {"change": "1"},
            "/doubtful/1": {"answer": "new"},
            "/calibrate": {},
            "/purge": {"before": "2026-01-01", "sure": "yes"},
            "/vehicles/1/remove": {"sure": "yes"},
        }.items():
            assert client.post(path, data={"csrf": csrf, **data}).status_code == 403, path
        for path in ("/vehicles/1/name", "/merge?vehicle=1", "/vehicles/1/split", "/enrol", "/audit"):
            assert client.get(path).status_code == 403, path
        for path in ("/vehicles/1", "/vehicles", "/doubtful", "/settings", "/find?sighting=1"):
            forms = set(re.findall(r'method="post" action="([^"]+)"', client.get(path).text))
            assert forms <= {"/sign-out", "/find"}, path
    with signed_in(served, "edit") as client:
        csrf = csrf_of(client)
        data = {"csrf": csrf, "before": "2026-01-01", "sure": "yes"}
        assert client.post("/purge", data=data).status_code == 403
        assert client.post("/vehicles/1/remove", data=data).status_code == 403
    assert changes(served.site) == before


def test_who_sees_one_camera_finds_no_other_one_on_any_page(served: Served) -> None:
    with signed_in(served, "gate") as client:
        for path in ("/", "/sightings", "/vehicles", "/vehicles/2", "/doubtful", "/settings", "/health", "/find"):
            answer = client.get(path)
            assert answer.status_code in (200, 404), path
            for hidden in ("bridge", "north yard"):
                assert hidden not in answer.text, path
        assert client.get("/live/bridge").status_code == 404
        assert client.get("/live/bridge/stream").status_code == 404
        assert "gate" in client.get("/sightings").text


@IN_BOTH
def test_only_what_is_for_good_is_confirmed(served: Served) -> None:
    with signed_in(served, "admin") as client:
        csrf = csrf_of(client)
        assert client.post("/purge", data={"csrf": csrf, "before": "2025-12-01"}).status_code == 422
        answer = client.post("/purge", data={"csrf": csrf, "before": "2025-12-01", "sure": "yes"})
        assert answer.status_code == 303
        assert "Purged 34 sightings before 2025-12-01" in client.get(answer.headers["location"]).text
        answer = client.post("/vehicles/4/remove", data={"csrf": csrf, "sure": "yes"})
        assert client.get("/vehicles/4").status_code == 404
        assert "Removed #4 for good" in client.get(answer.headers["location"]).text


def test_a_message_is_of_what_this_person_did_and_nothing_else(served: Served) -> None:
    with signed_in(served, "edit") as client, signed_in(served, "admin") as other:
        answer = client.post("/vehicles/1/name", data={"csrf": csrf_of(client), "name": "<b>mine</b>"})
        where = answer.headers["location"]
        assert "&lt;b&gt;mine&lt;/b&gt;" in client.get(where).text
        assert "<b>mine</b>" not in client.get(where).text
        assert 'class="notice"' in client.get(where).text
        assert 'class="notice"' not in other.get(where).text
        for made_up in ("/vehicles/1?done=1", "/vehicles/1?done=x", "/vehicles/1?done=99999", "/?done=-1"):
            assert 'class="notice"' not in client.get(made_up).text


def test_what_changes_nothing_and_what_was_not_done_now_has_no_message(served: Served) -> None:
    with signed_in(served, "edit") as client:
        csrf = csrf_of(client)
        first, again = (client.post("/vehicles/1/name", data={"csrf": csrf, "name": "mine"}) for _ in range(2))
        assert "done=" in first.headers["location"] and again.headers["location"] == "/vehicles/1"
        undo = {"csrf": csrf, "change": first.headers["location"].partition("done=")[2], "to": "/vehicles/1"}
        taken = client.get(client.post("/undo", data=undo).headers["location"]).text
        assert "Took back the rename" in taken


def test_who_sees_one_camera_enrols_and_is_not_led_to_a_page_that_is_hidden(served: Served) -> None:
    with signed_in(served, "gate") as client:
        pictures = [("pictures", ("a.jpg", served.site.crops()[0].read_bytes(), "image/jpeg"))]
        data = {"csrf": csrf_of(client), "name": "guest", "anyway": "true"}
        answer = client.post("/enrol", data=data, files=pictures)
        text = client.get(answer.headers["location"]).text
        assert "guest" in text.partition('class="notice"')[2]
        for place in re.findall(r'href="(/vehicles/\d+)"', text):
            assert client.get(place).status_code == 200, place


def test_the_address_of_a_merged_vehicle_leads_to_the_one_that_stays(served: Served) -> None:
    with served.client("edit") as client:
        client.post(f"{API}/merge", json={"vehicles": [7, 8]}).raise_for_status()
        answer = client.get("/vehicles/8", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/vehicles/7")
        for path, heading in (("/vehicles/999", "There is no such page"), ("/nothing", "There is no such page")):
            answer = client.get(path)
            assert answer.status_code == 404 and f"<h1>{heading}</h1>" in answer.text
        assert "<h1>That did not work</h1>" in client.get("/vehicles?cursor=7").text


def test_an_undo_leads_to_no_other_site(served: Served) -> None:
    with signed_in(served, "edit") as client:
        csrf = csrf_of(client)
        renamed = client.post("/vehicles/1/name", data={"csrf": csrf, "name": "mine"}).headers["location"]
        change = renamed.partition("done=")[2]
        data = {"csrf": csrf, "change": change, "to": "//evil.example/"}
        assert client.post("/undo", data=data).headers["location"].startswith("/vehicles?done=")


def test_an_undo_may_lead_to_what_can_be_no_vehicle(served: Served) -> None:
    with signed_in(served, "edit") as client:
        csrf = csrf_of(client)
        renamed = client.post("/vehicles/1/name", data={"csrf": csrf, "name": "mine"}).headers["location"]
        data = {"csrf": csrf, "change": renamed.partition("done=")[2], "to": f"/vehicles/{10**22}"}
        assert client.post("/undo", data=data).status_code == 303


def test_the_stream_of_a_camera_is_pictures_one_after_another(looked_at: Served) -> None:
    with looked_at.client("look") as client, client.stream("GET", "/live/north%20yard/stream") as answer:
        boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
        got = b""
        for part in answer.iter_raw():
            got += part
            if got.count(b"--" + boundary) == 2:
                break
    head, picture, following = got.split(b"--" + boundary)[0:3]
    assert head == b""
    assert picture.startswith(b"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8") and picture.endswith(b"\xff\xd9\r\n")
    assert following.startswith(b"\r\nContent-Type: image/jpeg\r\n\r\n"), (
        "a browser shows a picture at the head of the next"
    )


def test_a_day_and_its_filters_choose_the_sightings(looked_at: Served) -> None:
    def shown(query: str) -> list[str]:
        return re.findall(r'<li class="item" id="s(\d+)"', client.get(f"/sightings?{query}").text)

    with looked_at.client("look") as client:
        newest, first = shown(""), shown("day=2025-11-30")
        assert len(newest) == len(first) == 34 and not set(newest) & set(first)
        assert shown("day=2025-11-29") == []
        assert 0 < len(shown("camera=gate")) < 34
        assert 0 < len(shown("kind=bus")) < 34
        assert len(shown("plate=DEMO")) == len(shown("name=white")) == 2
        assert 0 < len(shown("zone=bays")) < 34
        assert shown("from=00:00&to=00:01") == []
        for wrong in ("day=soon", "cursor=x~y", f"cursor=1~{10**22}", f"cursor={10**22}~1", "cursor=1"):
            assert client.get(f"/sightings?{wrong}").status_code == 422, wrong
        assert client.get("/sightings?from=9&to=8").status_code == 422


@pytest.mark.parametrize("who", ["look", "edit", "admin"])
def test_every_page_is_whole_for_every_role(looked_at: Served, who: str) -> None:
    with looked_at.client(who) as client:
        for place in PLACES:
            answer = client.get(place)
            allowed = 403 if place == "/audit" and who != "admin" else 200
            assert answer.status_code == allowed, place
            assert answer.text.rstrip().endswith("</html>")
            assert ' style="' not in answer.text and "<script>" not in answer.text, (
                "the policy bars what stands in the page"
            )


def test_the_page_of_the_api_has_every_operation_of_its_document(looked_at: Served) -> None:
    with looked_at.client("look") as client:
        document = client.get("/api/v1/openapi.json").json()
        answer = client.get("/api/v1", follow_redirects=True)
        assert answer.url.path == "/docs" and answer.text.count('<th scope="row">') == sum(
            map(len, document["paths"].values())
        )
        text = html.unescape(answer.text)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                assert f'<th scope="row">{method.upper()} {path}</th><td>{operation["summary"]}</td>' in text
        row = re.findall(r"POST /api/v1/doubtful/\{sighting\}</th><td>[^<]*</td><td></td><td>([^<]*)</td>", answer.text)
        assert row == ["same, vehicle"]


def test_health_says_in_words_how_the_cameras_of_a_run_are(open_site: MadeSite) -> None:
    common = {"tracks": 7, "open_tracks": 1, "live": True}
    status = Status(
        started=1.7e9, seconds=100.0, ready=True, doubtful=3, vehicles=12,
        cameras={
            "gate": CameraStatus(500, 11, 2, age_s=0.3, alive=True, rate=12.5, **common),
            "bridge": CameraStatus(400, 0, 0, age_s=9.5, alive=False, rate=2.0, **common),
            "north yard": CameraStatus(0, 0, 0, age_s=math.inf, alive=True, fault="black", alarm=True, **common),
        },
        stages={"embed": StageStatus(40, 1.0, 0.0123, 0.02, 0.03)},
    )  # fmt: skip
    with served_here(open_site, status=lambda: status) as server, server.client() as client:
        text = client.get("/health").text
        rows = {row[0]: row[1] for row in re.findall(r'<a href="/live/[^"]+">([^<]+)</a></th>(.*?)</tr>', text, re.S)}
        assert set(rows) == {"gate", "bridge", "north yard"}
        cells = re.findall(r"<td>([^<]*)</td>", rows["gate"])
        assert cells == ["0.3 s ago", "12.5", "500", "11", "2", "1", "7"]
        assert "running" in rows["gate"] and "away" in rows["bridge"]
        assert "too many new vehicles" in rows["north yard"] and "picture black" in rows["north yard"]
        assert "none yet" in rows["north yard"]
        assert client.get("/api/v1/health").json()["frames_per_second"] == 14.5
        assert "<td>12.30</td>" in text, "the latency of a stage"
        assert "too many new vehicles" in client.get("/").text, "an alarm stands on the tile too"


def test_the_audit_shows_what_people_did_and_runs_on_request(open_site: MadeSite) -> None:
    with edit_gallery(open_site.gallery) as gallery:
        for number in range(60):
            gallery.rename(5, f"by anna {number}")
            with gallery.acting_as("run:gate"):
                gallery.rename(6, f"by a run {number}")

    def shown(path: str) -> list[str]:
        found.append(client.get(path).text)
        return re.findall(r"<td class=\"text\"><bdi>Named #\d &#39;by (\w+) \w* ?\d+&#39;", found[-1])

    found: list[str] = []
    with served_here(open_site) as server, server.client() as client:
        assert shown("/audit") == ["anna"] * 50
        following = re.findall(r'rel="next" href="([^"]+)"', found[-1])[0].replace("&amp;", "&")
        assert shown(following) == ["anna"] * 10
        assert 'rel="next"' not in found[-1]
        assert set(shown("/audit?runs=1")) == {"anna", "a"}


def test_a_page_for_a_wrong_token_or_a_damaged_file_of_tokens_is_a_page_with_its_headers(served: Served) -> None:
    with served.client() as client:
        for given in ("Bearer x", "Basic YTpi"):
            for place in ("/vehicles", "/sign-in"):
                answer = client.get(place, headers={"Authorization": given})
                assert answer.status_code == 401, (given, place)
                assert "not known here" in answer.text and answer.headers["x-frame-options"] == "DENY"
        served.site.tokens.path.write_text("{")
        answer = client.get("/vehicles", headers={"Authorization": "Bearer x"})
        assert answer.status_code in (409, 503)
        assert 'role="alert"' in answer.text and answer.headers["x-frame-options"] == "DENY"
