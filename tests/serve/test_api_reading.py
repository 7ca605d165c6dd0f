"""What the API reads: documents, pages of lists, ETags, HEAD, the methods of a path, problem documents, the export."""

import base64
import json
from dataclasses import asdict
from typing import Any

import httpx
import numpy as np
import pytest
from made_gallery import sighting
from made_site import API, CAMERAS, DAYS, IN_BOTH, MadeSite, Served, served_here

from vreid.models.picture import decoded
from vreid.runtime.gallery import open_gallery, read_gallery
from vreid.runtime.gallery.records import SORTS
from vreid.serve.cursor import cursor_of
from vreid.serve.problems import PROBLEMS


@pytest.fixture(scope="module")
def client(looked_at: Served) -> httpx.Client:
    return looked_at.client("admin")


def every(client: httpx.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    found, cursor = [], None
    while True:
        page = client.get(API + path, params=query | ({"cursor": cursor} if cursor else {})).raise_for_status().json()
        found += page["items"]
        if (cursor := page["next"]) is None:
            return found


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_pages_of_vehicles_are_together_all_vehicles_once(client: httpx.Client, looked_at: Served, limit: int) -> None:
    with read_gallery(looked_at.site.gallery) as gallery:
        ids = sorted(one.id for one in gallery.vehicles(thumbnails=False))
    assert sorted(one["id"] for one in every(client, "/vehicles", limit=limit)) == ids
    named = [one["named"] for one in every(client, "/vehicles", limit=limit)]
    assert named == sorted(named, reverse=True)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_every_sort_are_the_list_as_a_whole(client: httpx.Client, sort: str) -> None:
    assert every(client, "/vehicles", limit=2, sort=sort) == every(client, "/vehicles", limit=500, sort=sort)


@IN_BOTH
def test_no_vehicle_is_left_out_or_repeated_by_sightings_between_pages(served: Served) -> None:
    with read_gallery(served.site.gallery) as known:
        about = known.about
    feature = np.eye(1, about.dim, dtype=np.float32)[0]
    with served.client("look") as client, open_gallery(served.site.gallery, **asdict(about), write=True) as gallery:
        order = [one["id"] for one in every(client, "/vehicles", sort="last-seen")]
        found, query, number = list[int](), {"sort": "last-seen", "limit": "2"}, 0
        while number == 0 or "cursor" in query:
            page = client.get(f"{API}/vehicles", params=query).json()
            found += [one["id"] for one in page["items"]]
            for vehicle in (order[0], order[-1]):  # both come to the front, one of them before it was its turn
                number += 1
                gallery.add_sighting(vehicle, sighting(track=number, seen=DAYS[2] + 1e6 + number, feature=feature), 0.9)
            query = {name: value for name, value in (query | {"cursor": page["next"]}).items() if value is not None}
        assert found == order[:-1]


FORGED = [
    "7",
    "AAAA",
    "_",
    cursor_of("id", (7,)),
    cursor_of("created", (5.0, 7)),
    cursor_of("named-first", (1, 5.0, 7)) + "AA",
]


@pytest.mark.parametrize("cursor", [*FORGED, base64.urlsafe_b64encode(b'named-first ["1",5,7]').decode()])
def test_a_forged_cursor_is_a_problem(client: httpx.Client, cursor: str) -> None:
    answer = client.get(f"{API}/vehicles", params={"cursor": cursor})
    assert answer.status_code == 422 and "`next` of the part before" in answer.json()["detail"]
    assert client.get("/vehicles", params={"cursor": cursor}).status_code == 422


@pytest.mark.parametrize("limit", [13, 500])
def test_pages_of_sightings_are_together_all_of_them_by_time(
    client: httpx.Client, looked_at: Served, limit: int
) -> None:
    found = every(client, "/sightings", limit=limit)
    with read_gallery(looked_at.site.gallery) as gallery:
        assert len(found) == gallery.stats().sightings
    assert len({one["id"] for one in found}) == len(found)
    places = [(one["at"], one["id"]) for one in found]
    assert places == sorted(places, reverse=True)


def test_sightings_are_chosen_by_camera_day_name_and_vehicle(client: httpx.Client) -> None:
    chosen = every(client, "/sightings", camera="gate", since=DAYS[1], until=DAYS[2])
    assert chosen and {one["camera"] for one in chosen} == {"gate"}
    assert all(DAYS[1] <= one["at"] < DAYS[2] for one in chosen)
    vans = every(client, "/sightings", name="white*")
    assert {one["name"] for one in vans} == {"white van"}
    assert every(client, "/sightings", vehicle=vans[0]["vehicle"]) == vans


def test_a_vehicle_comes_with_its_sightings_and_what_was_done_to_it(client: httpx.Client) -> None:
    vehicle = every(client, "/vehicles", name="white van")[0]
    details = client.get(f"{API}/vehicles/{vehicle['id']}").json()
    assert details["vehicle"] == vehicle
    assert details["sightings"] == every(client, "/sightings", vehicle=vehicle["id"])
    assert "enrol" in {change["verb"] for change in details["changes"]}


@pytest.mark.parametrize("path", ["/vehicles", "/vehicles/1", "/vehicles/1/picture", "/health", "/sightings/1/picture"])
def test_what_the_caller_has_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first = client.get(API + path)
    tag = first.headers["etag"]
    again = client.get(API + path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert again.headers["etag"] == tag and again.headers["cache-control"] == first.headers["cache-control"]
    assert client.get(API + path, headers={"If-None-Match": '"other"'}).content == first.content


def test_head_is_get_without_the_body_also_of_streams(client: httpx.Client) -> None:
    for path in ("/vehicles", "/vehicles/1/picture", "/export", "/events"):
        head = client.head(API + path)
        assert (head.status_code, head.content) == (200, b""), path
        with client.stream("GET", API + path) as full:
            same = {name: value for name, value in full.headers.items() if name not in ("date", "transfer-encoding")}
        assert {name: head.headers.get(name) for name in same} == same, path


@pytest.mark.parametrize(
    "path, allow",
    [("/vehicles", "GET, HEAD, POST"), ("/vehicles/1", "DELETE, GET, HEAD, PATCH"), ("/merge", "POST")],
)
def test_another_method_learns_which_there_are(client: httpx.Client, path: str, allow: str) -> None:
    answer = client.put(API + path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    "path, status",
    [
        ("/vehicles/999", 404), ("/vehicles/0", 422), ("/vehicles/car", 422), ("/sightings/99999", 404), ("/no", 404),
        ("/sightings?cursor=x", 422), ("/vehicles?limit=0", 422), ("/vehicles?since=nan", 422), ("/cameras/no/picture", 404),
        ("/cameras/..%2f..%2fsite.toml/picture", 404), ("/cameras/../../etc/passwd", 404), ("/sightings/1/kept", 404),
    ],
)  # fmt: skip
def test_an_error_is_a_problem_document(client: httpx.Client, path: str, status: int) -> None:
    answer = client.get(API + path)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["title"]) == (status, status, PROBLEMS[status].title)
    assert problem["detail"] and set(problem) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "path, said",
    [
        ("/export?camra=gate", "there is no 'camra' in the query of this path; did you mean 'camera'?"),
        ("/cameras?foo=1", "there is no 'foo' in the query of this path; there are: none"),
        ("/doubtful?cursor=5", "there is no 'cursor' in the query of this path; there are: limit"),
        ("/sightings?since=today", "'since' in the query is not valid: input should be a valid number, unable to parse string as a "
         "number; give seconds since 1970, such as 1764500000"),
        ("/vehicles/car", "'vehicle' in the path is not valid: input should be a valid integer, unable to parse string as an "
         "integer; give the id of a vehicle"),
        ("/nothing", "there is nothing at this address; /api/v1/openapi.json lists all paths"),
        ("/merge", "this path takes POST, not GET; use one of these"),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(client: httpx.Client, path: str, said: str) -> None:
    assert client.get(API + path).json()["detail"] == said


def test_a_body_that_lacks_something_says_what(client: httpx.Client) -> None:
    answer = client.patch(f"{API}/vehicles/1", json={})
    assert (answer.status_code, answer.json()["detail"]) == (422, "'name' in the body is missing; send it")


@IN_BOTH
def test_a_vehicle_that_was_merged_says_where_it_is(served: Served) -> None:
    with served.client("admin") as client:
        for kept, other in ((7, 8), (6, 7)):
            client.post(f"{API}/merge", json={"vehicles": [kept, other]}).raise_for_status()
        answer = client.get(f"{API}/vehicles/8")
        assert (answer.status_code, answer.json()["detail"]) == (
            404,
            "vehicle 8 is a part of vehicle 6 now; use that one",
        )
        client.post(f"{API}/undo", json={}).raise_for_status()
        assert "vehicle 7 now" in client.get(f"{API}/vehicles/8").json()["detail"]
        client.delete(f"{API}/vehicles/7").raise_for_status()
        assert "there is no vehicle 8" in client.get(f"{API}/vehicles/8").json()["detail"]
    with served.client("gate") as client:
        assert "there is no vehicle 8" in client.get(f"{API}/vehicles/8").json()["detail"]


def test_an_export_has_every_sighting_as_the_list_has_it(client: httpx.Client) -> None:
    lines = [json.loads(line) for line in client.get(f"{API}/export").text.splitlines()]
    assert lines == every(client, "/sightings")
    chosen = client.get(f"{API}/export", params={"camera": "gate", "pictures": True}).text.splitlines()
    first = json.loads(chosen[0])
    assert {json.loads(line)["camera"] for line in chosen} == {"gate"}
    assert base64.b64decode(first["jpeg"]) == client.get(f"{API}/sightings/{first['id']}/picture").content


def test_an_export_of_a_damaged_gallery_is_refused_before_it_begins(served: Served) -> None:
    whole = served.site.gallery.read_bytes()
    served.site.gallery.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with served.client("look") as client:
        answer = client.get(f"{API}/export")
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/problem+json"


def darkened(picture: Any) -> Any:
    """What stands for blurring here: nothing of the picture is left."""
    return picture * 0


def test_with_a_blurring_function_no_other_picture_leaves_the_server(made_site: MadeSite) -> None:
    with served_here(made_site, blur=darkened) as server, server.client("look") as client:
        for path in ("/vehicles/1/picture", "/sightings/1/picture", "/cameras/gate/picture"):
            answer = client.get(API + path)
            assert answer.status_code == 200 and decoded(answer.content, made_site.folder).max() <= 2, path
        line = json.loads(client.get(f"{API}/export", params={"pictures": True}).text.splitlines()[0])
        assert decoded(base64.b64decode(line["jpeg"]), made_site.folder).max() <= 2
        found = client.get(f"{API}/sightings/1/similar").json()["vehicles"][0]  # searches see what was there
        assert found["vehicle"] == client.get(f"{API}/sightings/1").json()["vehicle"]


def test_cameras_and_health_without_a_run(client: httpx.Client) -> None:
    assert client.get(f"{API}/cameras").json() == sorted(CAMERAS)
    health = client.get(f"{API}/health").json()
    assert (health["running"], health["sightings"]) == (False, None)
    assert health["vehicles"] == len(every(client, "/vehicles"))


def test_a_supervisor_needs_no_token_and_learns_nothing(looked_at: Served) -> None:
    with looked_at.client() as nobody:
        assert nobody.get("/livez").json() == {"alive": True}
        assert nobody.get("/readyz").json() == {"ready": True}
