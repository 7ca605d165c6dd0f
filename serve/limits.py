"""What every request passes before anything else looks at it: the header Host, its size, how many there were; and the headers that
every answer gets. Plain ASGI, so that streams stay streams."""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from vreid.runtime.monitor import answers_to

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 16 * 10**6  # bytes; pictures have a bound of their own
_MOST_CALLERS = 10_000
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guarded:
    """The application behind those checks."""

    def __init__(self, app: App, hosts: frozenset[str], secure: bool, requests_a_minute: int) -> None:
        self._app, self._hosts = app, hosts
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))
        self._callers = Callers(requests_a_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", ())}
                more = [(name, value) for name, value in self._headers if name not in there]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not answers_to(hosts, self._hosts):
            detail = "this name is not served here; vreid serve --served-host NAME lets it pass"
            return await _problem(with_headers, 421, "Misdirected Request", detail)
        caller = (scope.get("client") or ("?",))[0]
        wait = self._callers.wait(caller, time.monotonic())
        if wait is not None and not scope["path"].startswith(("/static/", "/livez", "/readyz")):
            detail = f"too many requests; try again in {wait} s"
            return await _problem(with_headers, 429, "Too Many Requests", detail, [(b"retry-after", b"%d" % wait)])
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return await _problem(with_headers, 413, "Content Too Large", f"a request may have {MOST_BODY} bytes")
        await self._app(scope, _bounded(receive), with_headers)


class TooLarge(Exception):
    """A body without a length has become longer than a request may be."""


class Callers:
    """How much each caller may still send: a bucket that fills evenly, so that a page with many pictures passes."""

    def __init__(self, a_minute: int) -> None:
        self._rate, self._room = a_minute / 60, float(a_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._mutex = threading.Lock()

    def wait(self, caller: str, now: float) -> int | None:
        """None: it may go on; else the seconds after which it may."""
        with self._mutex:
            left, then = self._left.pop(caller, (self._room, now))
            left = min(self._room, left + (now - then) * self._rate)
            passes = left >= 1
            self._left[caller] = (left - passes, now)
            if len(self._left) > _MOST_CALLERS:
                self._left.popitem(last=False)
        return None if passes else max(1, round((1 - left) / self._rate))


def _bounded(receive: Receive) -> Receive:
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > MOST_BODY:
                raise TooLarge
        return message

    return counted


async def _problem(
    send: Send, status: int, title: str, detail: str, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    headers = [(b"content-type", b"application/problem+json"), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})
