"""Uploads that are hostile, damaged, too large or too slow: refused with the right status, and nothing of them is kept."""

import queue
import socket
import struct
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from made_site import API, IN_BOTH, MadeSite, Served, content_of, served_here

from vreid.runtime.gallery import read_gallery
from vreid.serve import limits, listening
from vreid.serve.turns import MOST
from vreid.serve.uploads import MOST_BYTES, MOST_PIXELS, MOST_SCANS

PICTURE = np.random.default_rng(3).integers(0, 255, (96, 128, 3)).astype(np.uint8)
JPG, PNG, WEBP = (cv2.imencode(ending, PICTURE)[1].tobytes() for ending in (".jpg", ".png", ".webp"))
EMPTY_FIELD = b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n\r\n--x--\r\n'
HTML = b"<html><script>alert(document.cookie)</script></html>"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG of 8 bits of grey that says these sides and holds these bytes, compressed."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def sized_jpeg(width: int, height: int, jpeg: bytes = JPG, frame: bytes = b"\xff\xc0") -> bytes:
    """A JPEG whose header says other sides."""
    at = jpeg.index(frame) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def webp_canvas(width: int, height: int, flags: int = 0) -> bytes:
    """A WebP with an extended header of these sides; flag 2: an animation."""
    body = bytes([flags, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    parts = b"WEBP" + b"VP8X" + struct.pack("<I", len(body)) + body + WEBP[12:]
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def many_scans(more: int = MOST_SCANS + 1) -> bytes:
    """A progressive JPEG whose last scan is repeated: each goes over all pixels."""
    whole = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * more + b"\xff\xd9"


HOSTILE: dict[str, tuple[Callable[[], bytes], int]] = {
    "a PNG that says 60,000 x 60,000": (lambda: png(60_000, 60_000, bytes(1000)), 413),
    "a small PNG that unpacks to 300 MB": (lambda: png(64, 64, bytes(300 * 10**6)), 413),
    "a PNG that is one row of 100 million pixels": (lambda: png(10**8, 1, bytes(10**6)), 413),
    "a JPEG that says 65,000 x 65,000": (lambda: sized_jpeg(65_000, 65_000), 413),
    "a WebP that says 16,000 x 16,000": (lambda: webp_canvas(16_000, 16_000), 413),
    "a JPEG of too many scans": (many_scans, 413),
    "a JPEG of 6,000 x 6,000 and 30 scans": (lambda: sized_jpeg(6000, 6000, many_scans(20), b"\xff\xc2"), 413),
    "a JPEG of restarts": (lambda: JPG[:-2] + b"\xff\xd0" * 10**6 + b"\xff\xd9", 413),
    "a JPEG of empty segments": (lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * 10**6, 413),
    "more bytes than a picture may have": (lambda: JPG + bytes(MOST_BYTES), 413),
    "FF to the end": (lambda: b"\xff\xd8" + b"\xff" * 10**7, 415),
    "a JPEG and a page": (lambda: JPG + HTML, 415),
    "a JPEG and an archive": (lambda: JPG + b"PK\x03\x04" + bytes(50), 415),
    "a PNG and a page": (lambda: PNG + HTML, 415),
    "a WebP and a page": (lambda: WEBP + HTML, 415),
    "a GIF and a page": (lambda: b"GIF89a" + HTML, 415),
    "an archive and a JPEG": (lambda: b"PK\x03\x04" + JPG, 415),
    "a GIF": (lambda: b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", 415),
    "an SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', 415),
    "an animated WebP": (lambda: webp_canvas(128, 96, flags=2), 415),
    "an animated PNG": (lambda: PNG[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + PNG[33:], 415),
    "a page": (lambda: HTML, 415),
    "nothing": (lambda: b"", 422),
    "half of a JPEG": (lambda: JPG[: len(JPG) // 2], 422),
    "half of a PNG": (lambda: PNG[: len(PNG) // 2], 422),
    "half of a WebP": (lambda: WEBP[: len(WEBP) // 2], 422),
    "a PNG with other bytes in it": (lambda: PNG[:200] + b"vreid" + PNG[205:], 422),
}  # fmt: skip


@pytest.fixture(scope="module")
def site(looked_at: Served) -> Served:
    return looked_at


@pytest.fixture
def spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the server keeps what it has not read yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_picture_is_refused_and_nothing_is_written(site: Served, spooled: Path, name: str) -> None:
    make, status = HOSTILE[name]
    content, before = make(), content_of(site.site)
    with site.client("edit") as client:
        for path, field in (("/search", "picture"), ("/vehicles", "pictures")):
            for kind in ("image/jpeg", "text/html"):  # what the part says of itself changes nothing
                answer = client.post(API + path, files={field: ("../../x.svg", content, kind)}, data={"anyway": "true"})
                assert answer.status_code == status, (path, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
                assert "x.svg" not in answer.text
    assert content_of(site.site) == before and not any(spooled.iterdir())


def test_the_largest_picture_that_is_let_in_is_read(site: Served) -> None:
    side = int(MOST_PIXELS**0.5)
    content = png(side, side, bytes((side + 1) * side))
    with site.client("look") as client:
        assert client.post(f"{API}/search", files={"picture": content}).status_code == 200
        assert client.post(f"{API}/search", files={"picture": png(side + 2, side, b"")}).status_code == 413


def test_of_a_query_picture_nothing_is_kept(site: Served, spooled: Path) -> None:
    before = content_of(site.site)
    with site.client("look") as client:
        for crop in site.site.crops()[:4]:
            answer = client.post(f"{API}/search", files={"picture": (crop.name, crop.read_bytes())}).raise_for_status()
            assert answer.json()["vehicles"]
    assert content_of(site.site) == before and not any(spooled.iterdir())


def test_of_an_enrolled_picture_only_a_small_one_made_anew_is_kept(served: Served) -> None:
    crop = cv2.imread(str(served.site.crops()[0]))
    plain = cv2.imencode(".jpg", crop)[1].tobytes()
    commented = plain[:2] + b"\xff\xfe" + struct.pack(">H", len(HTML) + 2) + HTML + plain[2:]  # a page as a comment
    with served.client("edit") as client:
        answer = client.post(f"{API}/vehicles", files={"pictures": commented}, data={"anyway": "true"})
        assert answer.status_code == 201
        shown = client.get(f"{API}/vehicles/{answer.json()['done']['id']}/picture")
    assert b"script" not in shown.content and shown.headers["content-type"] == "image/jpeg"
    assert b"<script" not in served.site.gallery.read_bytes()


@pytest.mark.parametrize(
    "verb, path, kind, body, status",
    [
        ("POST", "/merge", "text/plain", b'{"vehicles": [1, 2]}', 415),
        ("POST", "/merge", "application/xml", b"<merge/>", 415),
        ("POST", "/merge", "application/json", b"{", 400),
        ("POST", "/merge", "application/json", b"[" * 100_000, 400),
        ("POST", "/merge", "application/json", b'{"vehicles": [1, ' + b"9" * 5000 + b"]}", 400),
        ("POST", "/merge", "application/json", b'{"vehicles": [1, NaN]}', 422),
        ("POST", "/merge", "application/json", b'{"vehicles": ["1", "2"]}', 422),
        ("POST", "/merge", "application/json", b'{"vehicles": [1, 2], "more": 1}', 422),
        ("POST", "/merge", "application/json", b"", 422),
        ("PATCH", "/vehicles/1", "application/json", b'{"name": "a", "name": "b"}', 422),
        ("PATCH", "/vehicles/1", "application/json", b'{"name": "a\\u0000b"}', 422),
        ("PATCH", "/vehicles/1", "application/json", b'{"name": "\\ud800"}', 422),
        ("POST", "/search", "application/json", b"{}", 415),
        ("POST", "/search", "multipart/form-data", b"--x", 400),
        ("POST", "/search", "multipart/form-data; boundary=x", b"--x\r\n\r\n", 400),
        ("POST", "/search", "multipart/form-data; boundary=x", b"--x--\r\n", 422),
        ("POST", "/search", "multipart/form-data; boundary=x", EMPTY_FIELD, 422),
    ],
)  # fmt: skip
def test_a_body_of_another_kind_or_form_is_refused(
    site: Served, verb: str, path: str, kind: str, body: bytes, status: int
) -> None:
    before = content_of(site.site)
    with site.client("edit") as client:
        answer = client.request(verb, API + path, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert content_of(site.site) == before


@pytest.mark.parametrize(
    "header, status", [("Content-Encoding: gzip", 415), ('If-Match: "x"', 412), ("If-Match: *", 412)]
)
def test_a_header_that_is_not_supported_is_not_ignored(site: Served, header: str, status: int) -> None:
    before, (name, _, value) = content_of(site.site), header.partition(": ")
    with site.client("edit") as client:
        answer = client.patch(f"{API}/vehicles/1", json={"name": "a"}, headers={name: value})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert content_of(site.site) == before


def blocks(count: int, size: int = 1 << 20) -> Iterator[bytes]:
    """A body without a length: one file of a form, which does not end."""
    yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    for _ in range(count):
        yield bytes(size)


def test_a_body_without_a_length_ends_at_the_limit(site: Served) -> None:
    before = content_of(site.site)
    with site.client("edit") as client:
        for path, kind in (("/search", "multipart/form-data; boundary=x"), ("/merge", "application/json")):
            answer = client.post(API + path, content=blocks(40), headers={"Content-Type": kind})
            assert answer.status_code == 413, answer.text
        whole, kind = bytes(limits.MOST_BODY + 1), "application/json"
        assert client.post(f"{API}/merge", content=whole, headers={"Content-Type": kind}).status_code == 413
        assert client.get(f"{API}/cameras").status_code == 200
    assert content_of(site.site) == before


def test_a_form_without_files_may_have_far_fewer_bytes(site: Served) -> None:
    """Forms are parsed before anybody is known, and one of ampersands alone takes seconds for each 10 MB."""
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    with site.client() as client:
        for content in (b"&" * (limits.MOST_FORM + 1), blocks(1, 2 * limits.MOST_FORM)):
            answer = client.post("/sign-in", content=content, headers=kind)
            assert answer.status_code == 413 and str(limits.MOST_FORM) in answer.text
        fields = {"token": "x" * 200, "to": "/" + "x" * 1999}
        assert client.post("/sign-in", data=fields).status_code == 401


def stalled(served: Served, path: str, token: str) -> socket.socket:
    """A request that has begun, and whose body does not come."""
    url = httpx.URL(served.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=60)
    head = (
        f"POST {API}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 100000\r\n"
    )
    connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")
    return connection


def test_uploads_that_stall_hold_up_nobody_and_end(made_site: MadeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 2.0)
    with served_here(made_site) as server:
        waiting = [stalled(server, "/search", made_site.given["look"]) for _ in range(100)]
        with server.client("look") as client:
            crop = made_site.crops()[0].read_bytes()
            for _ in range(3):
                assert client.post(f"{API}/search", files={"picture": crop}).status_code == 200
                assert client.get(f"{API}/vehicles").status_code == 200
        for connection in waiting:
            with connection:
                assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_connections_on_which_no_request_comes_are_closed(made_site: MadeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_S", 0.5)
    with served_here(made_site) as server:
        url = httpx.URL(server.url)
        waiting = [socket.create_connection((url.host, url.port or 80), timeout=60) for _ in range(100)]
        for connection in waiting[1:]:
            connection.sendall(b"GET /api/v1/vehicles HTTP/1.1\r\nHost: loc")  # and not a byte more
        with server.client("look") as client, client.stream("GET", f"{API}/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            for connection in waiting:
                with connection:
                    assert connection.recv(1000) == b""
            assert next(lines).startswith("id: ")  # an answer that goes on is none of them


@IN_BOTH
def test_enrolling_checks_pictures_as_the_command_line_does(served: Served) -> None:
    small = cv2.imencode(".png", PICTURE[:20, :20])[1].tobytes()
    grey = cv2.imencode(".png", np.full((90, 90, 3), 90, np.uint8))[1].tobytes()
    crop = served.site.crops()[0].read_bytes()
    before = content_of(served.site)
    with served.client("edit") as client:
        for content, word in ((small, "too small"), (grey, "blurred")):
            files = [("pictures", crop), ("pictures", content)]
            answer = client.post(f"{API}/vehicles", files=files, data={"name": "new one"})
            assert (
                answer.status_code == 422 and "picture 2" in answer.json()["detail"] and word in answer.json()["detail"]
            )
            assert "anyway=true" in answer.json()["detail"]
        assert content_of(served.site) == before
        files = [("pictures", crop), ("pictures", grey)]
        answer = client.post(f"{API}/vehicles", files=files, data={"name": "new one", "kind": "car", "anyway": "true"})
        assert answer.status_code == 201 and "blurred" in answer.json()["faults"][0]
        assert answer.json()["alike"][0]["score"] > 0.9  # the crop is of a vehicle that is known
        vehicle = client.get(f"{API}/vehicles/{answer.json()['done']['id']}").json()["vehicle"]
    assert (vehicle["name"], vehicle["kind"], vehicle["named"]) == ("new one", "car", True)


@IN_BOTH
def test_edits_of_many_at_once_are_all_done(served: Served) -> None:
    with read_gallery(served.site.gallery) as gallery:
        ids = [one.id for one in gallery.vehicles(thumbnails=False)]
    answers: list[int] = []

    def rename(vehicle: int) -> None:
        with served.client("edit") as client:
            answers.append(client.patch(f"{API}/vehicles/{vehicle}", json={"name": f"number {vehicle}"}).status_code)

    threads = [threading.Thread(target=rename, args=(vehicle,)) for vehicle in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * len(ids)
    with read_gallery(served.site.gallery) as gallery:
        assert {one.name for one in gallery.vehicles(thumbnails=False)} == {f"number {vehicle}" for vehicle in ids}


def test_while_decoding_takes_long_only_so_many_pictures_wait_and_reading_goes_on(served: Served) -> None:
    assert served.service is not None
    decoding, refused = served.service.searcher.decoding, threading.Semaphore(0)
    codes = queue.SimpleQueue[int]()

    def search(client: httpx.Client) -> None:
        answer = client.post(f"{API}/search", files={"picture": ("a.jpg", JPG, "image/jpeg")}, timeout=120)
        codes.put(answer.status_code)
        if answer.status_code == 503:
            assert answer.headers["retry-after"] == "2"
            refused.release()

    with served.client("look") as client, ThreadPoolExecutor(60) as threads, decoding, decoding:  # two large pictures
        for _ in range(60):
            threads.submit(search, client)
        for _ in range(60 - (MOST - 2)):
            assert refused.acquire(timeout=120)
        assert client.get(f"{API}/vehicles/5").status_code == 200
    assert Counter(codes.get() for _ in range(60)) == {200: MOST - 2, 503: 60 - (MOST - 2)}
