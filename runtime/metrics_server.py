"""Pages for programs over HTTP, of whatever answers for their paths: metrics for Prometheus, states in JSON."""

import socket
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vreid.models.errors import Refused
from vreid.runtime.network_address import answers_to, plain_host
from vreid.runtime.sinks.jsonl import json_text

_CLIENT_S = 5.0  # a reader that says nothing for so long is left
Answer = tuple[int, bytes, str]  # status, body, and its kind
Answers = Callable[[str, str], Answer | None]  # path and header Accept -> the answer, None: there is no such path


class MetricsServer:
    """Serves until `close`, in threads of its own."""

    def __init__(self, answers: Answers, address: str, hosts: Sequence[str] = ()) -> None:
        """`address` is [HOST:]PORT, this machine only by default; port 0 is a free one. Raises Refused.

        A request is answered whose header Host is loopback, an IP address, the HOST of `address` or one of `hosts`, so that
        no web page can read it through a browser by a name of its own (DNS rebinding); others get 421.
        """
        host, port = host_and_port(address)
        names = frozenset(plain_host(name) for name in (*hosts, host))
        if "" in names:
            raise Refused(
                "a host of the metrics (--metrics-host, or hosts of [metrics]) is empty or has a port; write the name only, such as"
                " gate.local"
            )
        try:
            self._server = _server_kind(host)((host, port), _handler(answers, names))
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise Refused(
                f"cannot serve metrics at {where} ({error.strerror}); give --metrics, or listen of [metrics], another address"
            ) from error
        self.host, self.port = str(self._server.server_address[0]), int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port and end the thread. May be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MetricsPage:
    """The page that a scrape gets, of a collector's families and of this process."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def answer(self, accept: str = "") -> Answer:
        """By the header Accept."""
        encode, kind = choose_encoder(accept)
        return 200, encode(self._registry), kind


def json_answer(code: int, value: dict[str, Any]) -> Answer:
    """One JSON document."""
    return code, (json_text(value) + "\n").encode(), "application/json"


def _handler(answers: Answers, names: Collection[str]) -> type[BaseHTTPRequestHandler]:
    """The kind of handler that answers: the library makes one a request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_S
        server_version, sys_version = "vreid", ""

        def do_GET(self) -> None:
            """Whatever the path is answered with."""
            if not answers_to(self.headers.get_all("Host", []), names):
                reason = (
                    "this name is not served here; hosts of [metrics], or vreid run --metrics-host NAME, lets it pass"
                )
                self._answer(*json_answer(421, {"reason": reason}))
                return
            found = answers(self.path.partition("?")[0], self.headers.get("Accept", ""))
            self._answer(*(found or json_answer(404, {"reason": "there are /metrics, /healthz, /livez and /readyz"})))

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """A scrape every few seconds is not worth a line."""

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _server_kind(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        allow_reuse_port = False  # a taken port is to be noticed

        def server_bind(self) -> None:
            """Without the library's look-up of this machine's name, which waits where there is no resolver."""
            TCPServer.server_bind(self)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A reader that left in the middle is not an error of the run."""
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    return Server


def host_and_port(address: str) -> tuple[str, int]:
    """[HOST:]PORT, an IPv6 host in brackets."""
    host, _, port = address.strip().rpartition(":")
    if not (port.isdecimal() and len(port) <= 5 and int(port) < 65536) or (":" in host and not host.startswith("[")):
        raise Refused(f"'{address}' is not an address to serve metrics at; write a port, such as 9100, or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
