"""What every request passes before anything else looks at it: the header Host, its size and pace, how many there were; and the
headers that every answer gets. Plain ASGI, so that streams stay streams."""

import asyncio
import contextlib
import ipaddress
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from vreid.runtime.network_address import answers_to
from vreid.serve.problems import MEDIA_TYPE, document

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 16 * 10**6  # bytes; pictures have a bound of their own
MOST_FORM = 10**5  # bytes of a form without files, which is parsed before anybody is known; 500 sightings take 10,000
_FORM = b"application/x-www-form-urlencoded"
BODY_S = 20.0  # in which a body may begin; and then it has to come at
SLOWEST = 20_000  # bytes a second, all in all
_DRAINED_S = 2.0
_MOST_CALLERS = 10_000
_PROBES = ("/livez", "/readyz")
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
            return await _problem(with_headers, 421, detail)
        wait = None
        if scope["path"] not in _PROBES and not scope["path"].startswith("/static/"):
            wait = self._callers.wait(_caller(scope), time.monotonic())
        if wait is not None:
            detail = f"too many requests; try again in {wait} s"
            return await _problem(with_headers, 429, detail, [(b"retry-after", b"%d" % wait)])
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        most = _most_of(scope)
        if not length.isdigit() or int(length) > most:
            detail = f"a request may have {most} bytes"
            await _drained(receive)
            return await _problem(with_headers, 413, detail, [(b"connection", b"close")])
        if scope["method"] == "HEAD":
            await _without_body(self._app, scope, receive, with_headers)
        else:
            await self._app(scope, _bounded(receive, most), with_headers)


class TooLarge(HTTPException):
    """A body without a length has become longer than a request may be."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"a request may have {most} bytes", {"Connection": "close"})


class TooSlow(HTTPException):
    """A body does not come, or too slowly."""

    def __init__(self) -> None:
        super().__init__(408, f"the body of a request has to come within {BODY_S:.0f} s", {"Connection": "close"})


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


def _caller(scope: Scope) -> str:
    """The address of who sends it; of IPv6 the network, in which one household has all addresses."""
    text = (scope.get("client") or ("?",))[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return str(text)
    return str(ipaddress.ip_network((text, 64), strict=False)) if address.version == 6 else str(text)


def _most_of(scope: Scope) -> int:
    """Bytes that its body may have."""
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return MOST_FORM if any(kind.partition(b";")[0].strip().lower() == _FORM for kind in kinds) else MOST_BODY


def _bounded(receive: Receive, most: int) -> Receive:
    """A body of `most` bytes at most, and that comes in time: whoever stalls is not waited for."""
    got, began, over = 0, time.monotonic(), False

    async def counted() -> Message:
        nonlocal got, over
        if over:
            return await receive()  # that the caller has left
        try:
            message = await asyncio.wait_for(receive(), BODY_S + got / SLOWEST - (time.monotonic() - began))
        except asyncio.TimeoutError:
            raise TooSlow from None
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            over = not message.get("more_body", False)
            if got > most:
                await _drained(receive)
                raise TooLarge(most)
        return message

    return counted


async def _drained(receive: Receive) -> None:
    """Pass over some more of a body that is refused: a caller whose connection breaks while it sends sees no answer."""
    got, until = 0, time.monotonic() + _DRAINED_S
    with contextlib.suppress(asyncio.TimeoutError):
        while got < 4 * MOST_BODY:
            message = await asyncio.wait_for(receive(), until - time.monotonic())
            got += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return


async def _without_body(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """HEAD is GET without the body (RFC 9110, section 9.3.2); what would go on is ended when its headers are known."""
    begun = asyncio.Event()

    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.start" and not begun.is_set():
            begun.set()
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    answering = asyncio.ensure_future(app({**scope, "method": "GET"}, receive, headers_only))
    waiting = asyncio.ensure_future(begun.wait())
    await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not begun.is_set():
        return await answering
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering


async def _problem(send: Send, status: int, detail: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    body = json.dumps(document(status, detail)).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
