"""A server with a run in it, next to one, and what it refuses to be."""

import asyncio
import json
import os
import signal
import socket
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

from fastapi.responses import StreamingResponse

from tests.kit.live_run import run_during, until
from vreid.cli.main import main
from vreid.models.errors import Refused, WrongModel
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.gallery import login
from vreid.runtime.records import Frame
from vreid.runtime.session import Site
from vreid.serve import listening
from vreid.serve.limits import Receive, Scope, Send
from vreid.serve.listening import Server
from vreid.serve.rights import TokenFile
from vreid.serve.running import LiveView, Serving, refuse_open, serve_gallery
from vreid.serve.service import Address
from vreid.serve.streams import Bound, begun

if TYPE_CHECKING:
    from made_site import MadeSite

CITY = "synth://city?camera={}&seed=7&cameras=3&seconds=20&vehicles=12&fps=5&live=1"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def site_of(folder: Path, source: Callable[[int], str] = CITY.format) -> Path:
    cameras = "".join(f'[camera.cam{number}]\nuri = "{source(number)}"\n' for number in (1, 2))
    text = f'[gallery]\nfile = "g.db"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n{cameras}[[watch]]\nvehicle = "white van"\n'
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


def got(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.loads(answer.read())


def sent(url: str, method: str, document: object) -> Any:
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def answers(url: str) -> bool:
    with suppress(OSError):
        return bool(got(f"{url}/health")["running"])
    return False


def test_a_run_in_the_server_is_seen_and_its_vehicles_are_named(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api/v1"

    def steps() -> None:
        until(lambda: answers(api))
        until(lambda: len(got(f"{api}/vehicles")["items"]) > 0)
        vehicle = got(f"{api}/vehicles")["items"][0]["id"]
        assert sent(f"{api}/vehicles/{vehicle}", "PATCH", {"name": "white van"})["done"]["name"] == "white van"
        assert got(f"{api}/vehicles")["items"][0]["name"] == "white van"
        named = [change for change in got(f"{api}/changes")["items"] if change["verb"] == "rename"]
        assert [(change["who"], change["detail"]["to"]) for change in named] == [(login(), "white van")]
        with urllib.request.urlopen(f"{api}/cameras/cam1/picture", timeout=30) as answer:
            first = answer.read()
        assert first.startswith(b"\xff\xd8")
        until(lambda: urllib.request.urlopen(f"{api}/cameras/cam1/picture", timeout=30).read() != first)
        health = got(f"{api}/health")
        assert {camera["name"] for camera in health["cameras"]} == {"cam1", "cam2"}
        assert health["stages"]["embed"]["count"] > 0
        assert health["frames_per_second"] > 0

    run_during(steps, ["serve", str(site_of(tmp_path)), "--port", str(port)])
    with read_gallery(tmp_path / "g.db") as gallery:
        assert "white van" in {vehicle.name for vehicle in gallery.vehicles(thumbnails=False)}


def test_a_demo_whose_terminal_is_closed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    port = free_port()

    def steps() -> None:
        until(lambda: answers(f"http://127.0.0.1:{port}/api/v1"))
        (folder,) = tmp_path.iterdir()
        assert folder.name.startswith("vreid-demo-")
        with pytest.raises(WrongModel, match="of the model 'vreid-n'"):
            serve_gallery(folder / "demo.db", "vreid-s", None, Serving(Address(port=0), None, threading.Event(), print))

    run_during(steps, ["serve", "--demo", "--model", "vreid-n", "--port", str(port)], signal.SIGHUP)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_given_with_a_gallery_and_not_with_a_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--gallery", str(tmp_path / "g.db")]) == 2
    assert "--model that it was made with; vreid gallery list names it" in capsys.readouterr().err
    assert main(["serve", str(site_of(tmp_path)), "--model", "vreid-n"]) == 2
    assert "a site's file has its model; leave --model out" in capsys.readouterr().err


def test_events_tell_new_sightings_while_a_run_goes_on(tmp_path: Path) -> None:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api/v1"

    def steps() -> None:
        until(lambda: answers(api))
        with urllib.request.urlopen(f"{api}/events", timeout=60) as stream:
            for line in stream:
                if line.startswith(b"data: ") and b'"camera"' in line:
                    assert json.loads(line[6:])["camera"] in ("cam1", "cam2")
                    return

    run_during(steps, ["serve", str(site_of(tmp_path)), "--port", str(port)])


def test_a_camera_that_a_reload_renames_is_shown_by_its_new_name(tmp_path: Path) -> None:
    port, site = free_port(), site_of(tmp_path)
    address = f"http://127.0.0.1:{port}"

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(address + path, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def steps() -> None:
        until(lambda: answers(f"{address}/api/v1"))
        until(lambda: status("/api/v1/cameras/cam2/picture") == 200)
        with urllib.request.urlopen(f"{address}/live/cam2/stream", timeout=60) as stream:
            assert stream.read(1)
            site.write_text(site.read_text().replace("cam2", "renamed"))
            os.kill(os.getpid(), signal.SIGHUP)
            until(lambda: status("/api/v1/cameras/cam2/picture") == 404)
            until(lambda: status("/api/v1/cameras/renamed/picture") == 200)
            assert status("/live/cam2/stream") == 404
            assert stream.read()  # to its end
        with urllib.request.urlopen(f"{address}/settings", timeout=30) as answer:
            text = answer.read().decode()
        assert "renamed" in text and "cam2" not in text

    run_during(steps, ["serve", str(site), "--port", str(port)])


def test_a_site_over_files_is_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = site_of(tmp_path, lambda number: CITY.format(number).replace("&live=1", ""))
    assert main(["serve", str(site), "--port", "0"]) == 2
    assert f"first run vreid run {site}" in capsys.readouterr().err


def test_a_folder_of_pictures_that_is_not_there_yet_is_named(open_site: "MadeSite") -> None:
    said, stop = list[str](), threading.Event()
    stop.set()
    missing = open_site.folder / "missing"
    for folder in (missing, open_site.folder / "run"):
        serve_gallery(open_site.gallery, "vreid-s", folder, Serving(Address(port=0), None, stop, said.append))
    assert [f"there is no folder {missing} yet" in text for text in said] == [True, False, False]


def test_a_gallery_of_another_model_is_refused_with_the_command_that_makes_one_of_this(
    open_site: "MadeSite", colour_model: Path
) -> None:
    serving = Serving(Address(port=0), None, threading.Event(), print)
    with pytest.raises(WrongModel, match=r"'vreid-s' .* not of 'colour' .* vreid gallery reindex --gallery"):
        serve_gallery(open_site.gallery, str(colour_model), None, serving)


def test_a_gallery_is_searched_by_the_index_of_its_site(open_site: "MadeSite") -> None:
    site = Site(cameras=[], index="no such index")
    with pytest.raises(Refused, match="no such index"):
        serve_gallery(
            open_site.gallery, "vreid-s", None, Serving(Address(port=0), None, threading.Event(), print), site
        )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (Address("0.0.0.0"), "nobody is let in without a token"),
        (Address("127.0.0.1", behind_proxy=True), "nobody is let in without a token"),
        (Address("127.0.0.1", certificate=Path("a.pem")), "belong together"),
        (Address("127.0.0.1", certificate=Path("no.pem"), key=Path("no.pem")), "there is no file no.pem"),
    ],
)
def test_a_server_that_would_stand_open_is_refused(address: Address, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=sentence):
        refuse_open(address, TokenFile(tmp_path / "g.db.tokens"))


def test_a_token_is_not_enough_beyond_this_machine_without_tls(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "g.db.tokens")
    tokens.add("anna", "look")
    with pytest.raises(Refused, match="in the clear"):
        refuse_open(Address("0.0.0.0"), tokens)
    refuse_open(Address("0.0.0.0", behind_proxy=True), tokens)
    refuse_open(Address("127.0.0.1"), tokens)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        async def nothing(scope: object, receive: object, send: object) -> None:
            raise AssertionError

        with pytest.raises(Refused, match="give another --host or --port"):
            Server(nothing, Address("127.0.0.1", taken.getsockname()[1]))


def test_a_run_whose_port_is_taken_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(site_of(tmp_path)), "--port", str(taken.getsockname()[1])]) == 2
    assert "give another --host or --port" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]


def test_frames_are_kept_only_while_somebody_looks() -> None:
    view, images = LiveView(), [np.full((90, 160, 3), value, np.uint8) for value in (0, 100, 200)]
    view.show(Frame("gate", 0, 0.0, images[0]), {})
    assert view.cameras() == ["gate"]
    tile = view._tiles["gate"]
    tile.at = -1e9
    view.show(Frame("gate", 1, 1.0, images[1]), {})
    assert tile.frame is images[0], "nobody has looked yet"
    first = view.picture("gate")
    tile.at = -1e9
    view.show(Frame("gate", 2, 2.0, images[2]), {})
    assert tile.frame is images[2]
    assert first != view.picture("gate")
    assert view.picture("yard") is None


def test_whoever_does_not_read_an_answer_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "READ_S", 1.0)
    bound = Bound(1, "answers go on")

    async def endless() -> AsyncGenerator[bytes, None]:
        with bound.place():
            while True:
                yield bytes(1 << 20)
                await asyncio.sleep(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await StreamingResponse(await begun(endless()))(scope, receive, send)

    def requesting(server: Server) -> socket.socket:
        url = urllib.parse.urlsplit(server.url)
        client = socket.create_connection((url.hostname or "", url.port or 80), timeout=60)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client

    with Server(app, Address(port=0)) as server:
        with requesting(server):
            until(lambda: bound.count == 1)
            until(lambda: bound.count == 0)
        with requesting(server) as reads:
            got = 0
            while got < 50 << 20:
                part = reads.recv(1 << 20)
                assert part, "whoever reads is not sent away"
                got += len(part)
