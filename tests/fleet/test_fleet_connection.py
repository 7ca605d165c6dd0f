"""What is said to a server before it is known to be the right one, and what people hear of an account that may not do something."""

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from made_box import box_in, settings, written
from real_nats import nats_in, self_signed

from vreid.cli.main import main
from vreid.fleet.link import CentreAway
from vreid.fleet.rights import of_box
from vreid.fleet.sender import Sender


@pytest.mark.parametrize("ca", [False, True])
def test_whoever_offers_no_tls_is_sent_nothing(tmp_path: Path, ca: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nats", reason="a fleet needs nats-py: pip install 'vreid[fleet]'")
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def between() -> None:
            peer, _ = listener.accept()
            with peer:
                about = {
                    "server_id": "x",
                    "version": "2.10.0",
                    "max_payload": 1 << 20,
                    "headers": True,
                    "auth_required": True,
                }
                peer.sendall(f"INFO {json.dumps(about)}\r\n".encode())
                with suppress(ConnectionResetError):
                    heard.append(peer.recv(4096))

        thread = threading.Thread(target=between)
        thread.start()
        address = f"{'nats' if ca else 'tls'}://operator:s3cret@127.0.0.1:{port}"
        authority = ["--ca", str(self_signed(tmp_path)[0])] if ca else []
        assert main(["fleet", "setup", address, *authority]) == 2
        thread.join(30)
    assert not any(heard) and "offers no TLS" in capsys.readouterr().err


def test_a_nats_py_that_cannot_be_checked_connects_nowhere_with_tls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nats = pytest.importorskip("nats.aio.client", reason="a fleet needs nats-py: pip install 'vreid[fleet]'")
    monkeypatch.delattr(nats.Client, "_connect_command")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert main(["fleet", "setup", f"tls://operator:s3cret@127.0.0.1:{listener.getsockname()[1]}"]) == 2
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    said = capsys.readouterr().err
    assert "it is sent nothing, since this nats-py" in said and "s3cret" not in said


def test_what_an_account_may_not_do_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = f'{{ user: "box", password: "b", {of_box("box 1", "north").as_config()} }}'
    lines = f'authorization {{ users: [{{ user: "op", password: "o" }}, {own}] }}'
    with nats_in(tmp_path, lines, account="op:o") as server, box_in(tmp_path / "g.db") as gallery:
        assert main(["fleet", "setup", server.url]) == 0
        log = tmp_path / "day.jsonl"
        as_box = server.url.replace("op:o@", "box:b@")
        written(gallery)
        with pytest.raises(CentreAway, match=r'may not do this \(permissions violation for publish to "v1\.south'):
            Sender(settings(server, server=as_box, region="south"), gallery).send_all()
        Sender(settings(server, server=as_box), gallery).send_all()
        assert main(["fleet", "record", "--server", server.url, "--out", str(log)]) == 0
        capsys.readouterr()
        for words in (
            ["setup", as_box],
            ["record", "--server", as_box, "--out", str(tmp_path / "other.jsonl")],
            ["replay", str(log), "--server", as_box, "--speed", "0", "--region", "south"],
        ):
            assert main(["fleet", *words]) == 2
            said = capsys.readouterr().err
            assert "the account may not do this (permissions violation" in said and "vreid fleet rights" in said, words
        assert main(["fleet", "setup", server.url.replace("op:o@", "op:x@")]) == 2
        assert "does not let this account in ('Authorization Violation')" in capsys.readouterr().err
