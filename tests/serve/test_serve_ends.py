"""A server that is ended while answers go on: these end properly, and nothing of it is in the log."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from urllib.parse import urlsplit

from made_site import API, Served


def test_answers_that_go_on_end_with_the_server(serve_apart: Callable[..., AbstractContextManager[Served]]) -> None:
    with serve_apart() as served, ExitStack() as opened:
        client = opened.enter_context(served.client("look"))
        streams = [
            opened.enter_context(client.stream("GET", path))
            for path in (f"{API}/events", "/live/gate/stream")
            for _ in "ab"
        ]
        parts = [each.iter_raw() for each in streams]
        assert all(next(each) for each in parts)
        assert served.process is not None
        served.process.terminate()
        for each in parts:
            list(each)  # which raises where an answer is broken off
        assert served.process.wait(60) == 0
        log = served.site.folder.with_name(f"{served.site.folder.name}.log").read_text()
        assert "Traceback" not in log and "Cancel" not in log


def test_an_upload_that_does_not_come_is_cancelled_without_a_traceback(
    serve_apart: Callable[..., AbstractContextManager[Served]],
) -> None:
    with serve_apart() as served:
        address = urlsplit(served.url)
        with socket.create_connection((address.hostname or "", address.port or 0)) as caller:
            head = f"Host: localhost\r\nAuthorization: Bearer {served.site.given['look']}\r\nExpect: 100-continue\r\n"
            kind = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n"
            caller.sendall(f"POST {API}/search HTTP/1.1\r\n{head}{kind}".encode())
            assert caller.recv(100).startswith(b"HTTP/1.1 100")  # its body is waited for
            assert served.process is not None
            served.process.terminate()
            assert served.process.wait(60) == 0
        log = served.site.folder.with_name(f"{served.site.folder.name}.log").read_text()
        assert "Cancel 1 running task" in log and "Traceback" not in log
