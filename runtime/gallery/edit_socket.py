"""Edits of a gallery while a run writes to it: through a socket next to its file, which only the same user may use.

The process that writes opens `EditServer`; anybody else calls `edited`, which writes by itself where nobody does. A request and its
answer are one JSON line each. An answer is sent when the edit is on the disk.
"""

import json
import logging
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vreid.models.errors import GalleryLocked, Refused, refused_as
from vreid.runtime.gallery import names
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.opening import edit_gallery
from vreid.runtime.gallery.requests import Edit, Once, Request, read_request
from vreid.runtime.gallery_place import GalleryPlace, path_of
from vreid.runtime.login import login

_LOG = logging.getLogger("vreid")
LONGEST = 1 << 22  # bytes of a request: one with 256 features of 2048 numbers and a picture
CONNECT_S = 30.0  # in which the writer takes a connection
PATIENCE_S = 600.0  # in which it answers; one that ends hangs up at once
REQUEST_S = 5.0  # in which a request has to arrive
Answer = Callable[[Request, str], dict[str, Any]]  # does what was requested by somebody; raises Refused


def socket_of(path: Path) -> Path:
    """Where the writer of the gallery at `path` listens."""
    path = path.resolve()
    return path.with_name(f"{path.name}-edit")


def edited(
    place: GalleryPlace, request: Edit, who: str | None = None, key: str | None = None, patience_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Do what is requested to the gallery at `place`, by the process that writes to it if there is one; returns the result.

    `who` stands in the audit; without it the name of this process's user does. With a `key` it is done once: the same request
    with the same key again, within a day, gives the same result and does nothing, also where the answer was lost with a process
    that was killed. Raises Refused as the edit does, KeyReused for another request with this key, and GalleryLocked where a
    process writes that takes no edits, or does not answer within `patience_s`.
    """
    who = _person(who or login())
    requested = request if key is None else Once(key=key, edit=request)
    try:
        with edit_gallery(place) as gallery:
            gallery.who = who
            return requested.apply(gallery).result
    except GalleryLocked as locked:
        return _sent(place, {"who": who, "edit": requested.model_dump(mode="json")}, locked, patience_s)


def _sent(place: GalleryPlace, message: dict[str, Any], locked: GalleryLocked, patience_s: float) -> dict[str, Any]:
    """The answer of the writer. Raises `locked` where none listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(min(CONNECT_S, patience_s))
        try:
            _connect(connection, socket_of(path_of(place)))
        except (FileNotFoundError, ConnectionRefusedError):
            raise locked from None
        except OSError as error:
            raise GalleryLocked(
                f"the process that writes to {place} takes no more requests now ({error}); nothing was done, try again"
            ) from error
        try:
            connection.settimeout(patience_s)
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = json.loads(_line_from(connection, patience_s))
        except (OSError, ValueError) as error:
            raise GalleryLocked(
                f"the process that writes to {place} did not answer ({error}); see 'vreid gallery audit' for whether it was done"
            ) from error
    if "refused" in answer:
        raise refused_as(str(answer.get("kind")), answer["refused"])
    return dict(answer["done"])


def _connect(connection: socket.socket, place: Path) -> None:
    """Tries again while more wait there than the system takes."""
    until = time.monotonic() + CONNECT_S
    with _address(place) as address:
        while True:
            try:
                return connection.connect(address)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)


class EditServer:
    """Takes edits for as long as it is open, and does one at a time. The gallery's writer opens it, so that there is one at
    most. Raises Refused where something else lies at its address."""

    def __init__(self, gallery: Gallery, answer: Answer) -> None:
        self._path, self._answer = socket_of(gallery.path), answer
        if self._path.exists() and not self._path.is_socket():
            raise Refused(f"{self._path} is not a socket, and a run takes edits there; move it away")
        self._path.unlink(missing_ok=True)  # of a writer that was killed
        self._turn = threading.Lock()
        take = self._take

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                take(self.request)

        with _address(self._path) as address:
            self._server = _Server(address, Handler)
        self._path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="edits", daemon=True)
        self._thread.start()

    def __enter__(self) -> "EditServer":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends when the edit under way has been answered."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)
        self._turn.acquire(timeout=CONNECT_S)  # and kept: nothing is done any more

    def _take(self, connection: socket.socket) -> None:
        with suppress(OSError):  # whoever asked has hung up
            answer = json.dumps(self._answered(connection)).encode()
            connection.settimeout(REQUEST_S)
            connection.sendall(answer + b"\n")

    def _answered(self, connection: socket.socket) -> dict[str, Any]:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, user, _ = struct.unpack("3i", peer)
        if user not in (os.getuid(), 0):
            return {"refused": f"this gallery is written by user {os.getuid()}; only that user may change it"}
        try:
            message = json.loads(_line_from(connection, REQUEST_S, LONGEST))
            request, who = read_request(message["edit"]), _person(str(message["who"]))
        except Refused as refused:
            return _refusal(refused)
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"refused": "this is not an edit of a gallery; use the same vreid on both sides"}
        with self._turn:
            if _has_left(connection):  # who no longer waits for it may ask again
                raise ConnectionAbortedError
            try:
                return {"done": self._answer(request, who)}
            except Refused as refused:
                return _refusal(refused)
            except Exception as error:  # noqa: BLE001  the next edit is to be answered
                _LOG.exception("an edit of %s failed", self._path)
                return {
                    "refused": f"the edit failed ({error!r}); the log of the run that writes to the gallery says where"
                }


def _refusal(refused: Refused) -> dict[str, Any]:
    """Its sentence and its class, which `edited` raises again."""
    return {"refused": str(refused), "kind": type(refused).__name__}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 128


def _person(who: str) -> str:
    """A name for the audit. Raises Refused for what is none, and for that of a run."""
    if who.startswith("run:"):
        raise Refused(f"an edit is a person's or a program's, and '{who}' is the name of a run; give another one")
    return names.readable(who, "who edits")


def _has_left(connection: socket.socket) -> bool:
    """Whether the other side has closed the connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def _line_from(connection: socket.socket, seconds: float, longest: int | None = None) -> bytes:
    """Up to the end of the line, within so many seconds. Raises ValueError for one that is too long or breaks off, and
    TimeoutError."""
    got, until = bytearray(), time.monotonic() + seconds
    while not got.endswith(b"\n"):
        connection.settimeout(max(0.001, until - time.monotonic()))
        part = connection.recv(1 << 16)
        if not part or (longest is not None and len(got) > longest):
            raise ValueError("the line breaks off" if not part else "the line is too long")
        got += part
        if time.monotonic() > until:
            raise TimeoutError("timed out")
    return bytes(got)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A socket's address may have 108 bytes; where it is longer its folder is entered by a number."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
