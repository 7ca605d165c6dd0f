"""`vreid.Client` against a real server: what it reads and writes, its errors, and what it does when a connection breaks."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_site import CAMERAS, DAYS, IN_BOTH, MadeSite, Served, served_here

import vreid
from vreid.models.errors import BadInput, NotFound, Refused, VreidError
from vreid.runtime.gallery import read_gallery
from vreid.serve.service import Address


@pytest.fixture
def client(served: Served) -> vreid.Client:
    return vreid.Client(served.url, served.site.given["admin"])


@IN_BOTH
def test_it_reads_what_the_server_has(client: vreid.Client, served: Served) -> None:
    assert client.get("/cameras") == sorted(CAMERAS)
    vehicles = list(client.vehicles(sort="id"))
    with read_gallery(served.site.gallery) as gallery:
        assert [one["id"] for one in vehicles] == [one.id for one in gallery.vehicles(thumbnails=False)]
        assert len(list(client.export())) == gallery.stats().sightings
    seen = list(client.sightings(camera=["gate", "bridge"], since=DAYS[1]))
    assert {one["camera"] for one in seen} == {"gate", "bridge"} and all(one["at"] >= DAYS[1] for one in seen)
    assert list(client.sightings(name="müller*"))
    assert client.picture(seen[0]["id"]).startswith(b"\xff\xd8")
    assert client.vehicle(seen[0]["vehicle"])["vehicle"]["id"] == seen[0]["vehicle"]
    assert [one["jpeg"] is None for one in client.export(camera="gate", pictures=True)] == [False] * len(
        list(client.sightings(camera="gate"))
    )


def test_a_list_may_end_early(client: vreid.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreid.serve.client._PART", 3)
    for every in (client.vehicles, client.sightings):
        ids = [one["id"] for one in every()]
        assert len({*ids}) == len(ids) > 7
        for limit in (0, 2, 3, 7):
            assert [one["id"] for one in every(limit=limit)] == ids[:limit]


def test_a_certificate_that_is_not_trusted_is_named(made_site: MadeSite, certificate: tuple[Path, Path]) -> None:
    with served_here(made_site, address=Address(port=0, certificate=certificate[0], key=certificate[1])) as server:
        token = made_site.given["look"]
        trusting = ssl.create_default_context(cafile=certificate[0])
        assert vreid.Client(server.url, token, tls=trusting).get("/cameras") == sorted(CAMERAS)
        stranger = vreid.Client(server.url, token)
        for read in (lambda: stranger.get("/cameras"), lambda: next(stranger.export())):
            with pytest.raises(VreidError, match=r"127.0.0.1 has a certificate that is not trusted here .*give tls="):
                read()


def test_a_picture_that_is_not_there_is_named(client: vreid.Client) -> None:
    with pytest.raises(BadInput, match=r"the picture no\.jpg cannot be read \(No such file"):
        client.search("no.jpg")


@IN_BOTH
def test_it_finds_a_vehicle_by_a_picture_and_by_a_sighting(client: vreid.Client, served: Served) -> None:
    crop = served.site.crops()[0]
    found = client.search(crop, k=3, camera="gate")
    assert len(found["vehicles"]) == 3 and found["threshold"]["origin"] == "manifest"
    assert client.search(crop.read_bytes(), k=3, camera="gate") == found
    seen = next(client.sightings())
    assert client.similar(seen["id"], k=1)["vehicles"][0]["vehicle"] == seen["vehicle"]


@IN_BOTH
def test_it_enrols_renames_merges_splits_judges_undoes_and_removes(client: vreid.Client, served: Served) -> None:
    new = client.enrol(served.site.crops()[:2], name="new van", kind="truck", anyway=True)["done"]["id"]
    assert client.rename(new, "old van")["done"]["name"] == "old van"
    client.merge(5, new)
    client.undo()
    assert client.vehicle(new)["vehicle"]["name"] == "old van"
    seen = [one["id"] for one in client.vehicle(5)["sightings"]]
    apart = client.split(5, seen[:1], "apart")["done"]["vehicle"]
    assert [one["id"] for one in client.vehicle(apart)["sightings"]] == seen[:1]
    doubt = client.get("/doubtful")[0]["sighting"]["id"]
    client.judge(doubt, same=True)
    assert doubt not in [one["sighting"]["id"] for one in client.get("/doubtful")]
    client.remove(new)
    with pytest.raises(NotFound):
        client.vehicle(new)


def test_an_error_of_the_server_has_the_class_of_its_status(client: vreid.Client, served: Served) -> None:
    with pytest.raises(NotFound, match=r"no vehicle .*999.*\(404\)"):
        client.rename(999, "nobody")
    with pytest.raises(BadInput, match=r"\(415\)"):
        client.search(b"<svg/>")
    with pytest.raises(BadInput, match=r"\(422\)"):
        client.merge(1)
    with pytest.raises(Refused, match=r"White Van.*\(409\)"):
        client.rename(5, "White Van")
    with pytest.raises(Refused, match=r"'admin'.*'look'.*\(403\)"):
        vreid.Client(served.url, served.site.given["look"]).remove(1)
    with pytest.raises(Refused, match=r"\(401\)"):
        vreid.Client(served.url).get("/health")
    for url in ("127.0.0.1:8080", "http://127.0.0.1:99999", "http://[", "http://a.example/api"):
        with pytest.raises(Refused, match="http://HOST:PORT"):
            vreid.Client(url)


@pytest.fixture
def breaking(served: Served) -> Iterator[str]:
    """The server behind a proxy that breaks off the first answer of every two, when the server has done its part."""
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = served.url.removeprefix("http://").split(":")

    def pass_on(connection: socket.socket, breaks: bool) -> None:
        with connection, socket.create_connection((host, int(port))) as server:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(1 << 16)
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            while len(body) < length:
                body += connection.recv(1 << 16)
            server.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            answer = b""
            while part := server.recv(1 << 16):
                answer += part
            connection.sendall(answer[: 20 if breaks else None])

    def serve() -> None:
        for number in range(1000):
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            pass_on(connection, number % 2 == 0)

    threading.Thread(target=serve, daemon=True).start()
    with listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_what_was_written_before_the_connection_broke_is_written_once(served: Served, breaking: str) -> None:
    client = vreid.Client(breaking, served.site.given["edit"])
    crops = [path.read_bytes() for path in served.site.crops()[:2]]
    with read_gallery(served.site.gallery) as gallery:
        before = len(gallery.vehicles(thumbnails=False))
        last = gallery.changes(1)[0].id
    new = client.enrol(crops, anyway=True)["done"]["id"]
    client.rename(new, "once")
    with read_gallery(served.site.gallery) as gallery:
        assert len(gallery.vehicles(thumbnails=False)) == before + 1
        assert [(one.verb, one.who) for one in gallery.changes() if one.id > last] == [
            ("enrol", "edit"),
            ("rename", "edit"),
        ]


def test_where_no_server_answers_it_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(VreidError, match="start vreid serve"):
        vreid.Client(f"http://127.0.0.1:{port}", patience=(0.0, 0.0)).get("/health")
