"""A server on its socket: uvicorn in a thread, with bounds on connections that send or read nothing."""

import asyncio
import logging
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vreid.models.errors import Refused
from vreid.serve.limits import App
from vreid.serve.service import Address

REQUEST_S = 20.0  # in which the headers of a request have to come
READ_S = 20.0  # in which some of an answer has to be read
_STOPPING_S = 5  # in which answers under way may end


class PromptProtocol(H11Protocol):
    """A connection on which no request comes, or whose answer is not read, is closed: uvicorn would wait for ever for the end of
    its headers, and 500 such connections let nobody else in; and an answer that goes on keeps its place among so many."""

    def connection_made(self, transport: Any) -> None:
        """Begin to look."""
        super().connection_made(transport)
        self._idle_since: object = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._look(first=True)

    def pause_writing(self) -> None:
        """More waits to be read than the system and this server keep."""
        super().pause_writing()
        self._giving_up = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Some of it was read."""
        super().resume_writing()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        super().connection_lost(exc)
        self._go_on()

    def _go_on(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()

    def _look(self, first: bool = False) -> None:
        """Close it if nothing has begun since the last look; an answer under way may take as long as it takes."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not first and self.cycle is self._idle_since:
            self.transport.close()
            return
        self._idle_since = self.cycle if idle else self
        self.loop.call_later(REQUEST_S, self._look)


class Server:
    """uvicorn in a thread of its own, as a context."""

    def __init__(self, app: App, address: Address, listening: socket.socket | None = None) -> None:
        """`listening`: the socket of `listening_at`, which is closed at the end; None: it is made here. Raises Refused for a port
        that is taken."""
        self._address = address
        settings = uvicorn.Config(
            app, address.host, address.port, http=PromptProtocol, log_level="warning", access_log=False, server_header=False,
            proxy_headers=address.behind_proxy, timeout_graceful_shutdown=_STOPPING_S, timeout_keep_alive=30,
            ssl_certfile=address.certificate, ssl_keyfile=address.key, limit_concurrency=500, h11_max_incomplete_event_size=1 << 16,
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_not_cancelled)
        self._server = uvicorn.Server(settings)
        self._socket = listening or listening_at(address)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="server", daemon=True)

    @property
    def url(self) -> str:
        """Where pages are found."""
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        scheme = "https" if self._address.certificate is not None else "http"
        return f"{scheme}://{host}:{self._socket.getsockname()[1]}/"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_STOPPING_S + 5)
        self._socket.close()


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Without the tracebacks of answers under way that are cancelled at the end."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def listening_at(address: Address) -> socket.socket:
    """A socket on which callers wait from now on. Raises Refused for a port that is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise Refused(
            f"cannot serve at {address.host}:{address.port} ({reason}); give another --host or --port"
        ) from error
    return listening
