"""Edits of a gallery while a run writes to it: through a socket next to its file, which only the same user may use.

The process that writes opens `EditServer`; anybody else calls `edited`, which writes by itself where nobody does. A request and its
answer are one JSON line each. An answer is sent when the edit is on the disk.
"""

import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vreid.models.errors import GalleryLocked, Refused
from vreid.runtime.gallery.gallery import Gallery, edit_gallery, login
from vreid.runtime.gallery.requests import Request, read_request

_LOG = logging.getLogger("vreid")
LONGEST = 1 << 20  # bytes of a request or an answer
PATIENCE_S = 30.0  # in which the writer answers
REQUEST_S = 5.0  # in which a request has to arrive
Answer = Callable[[Request, str], dict[str, Any]]  # does what was requested by somebody; raises Refused


def socket_of(path: Path) -> Path:
    """Where the writer of the gallery at `path` listens."""
    path = path.resolve()
    return path.with_name(f"{path.name}-edit")


def edited(path: Path, request: Request, who: str | None = None) -> dict[str, Any]:
    """Do what is requested to the gallery at `path`, by the process that writes to it if there is one; returns the result.

    `who` stands in the audit; without it the name of this process's user does. Raises Refused as the edit does, and GalleryLocked
    where a process writes that takes no edits, or does not answer.
    """
    who = who or login()
    try:
        with edit_gallery(path) as gallery:
            gallery.who = who
            return request.apply(gallery).result
    except GalleryLocked as locked:
        return _sent(path, {"who": who, "edit": request.model_dump(mode="json")}, locked)


def _sent(path: Path, message: dict[str, Any], locked: GalleryLocked) -> dict[str, Any]:
    """The answer of the writer. Raises `locked` where none listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            with _address(socket_of(path)) as address:
                connection.connect(address)
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = json.loads(_line_from(connection))
        except (FileNotFoundError, ConnectionRefusedError):
            raise locked from None
        except (OSError, ValueError) as error:
            raise GalleryLocked(
                f"the process that writes to {path} did not answer ({error}); see 'vreid gallery audit' for whether it was done"
            ) from error
    if "refused" in answer:
        raise Refused(answer["refused"])
    return dict(answer["done"])


class EditServer:
    """Takes edits for as long as it is open, one at a time. The gallery's writer opens it, so that there is one at most."""

    def __init__(self, gallery: Gallery, answer: Answer) -> None:
        self._path, self._answer = socket_of(gallery.path), answer
        self._socket = socket.socket(socket.AF_UNIX)
        with suppress(FileNotFoundError):
            self._path.unlink()  # of a writer that was killed
        with _address(self._path) as address:
            self._socket.bind(address)
        self._path.chmod(0o600)
        self._socket.listen(8)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="edits", daemon=True)
        self._thread.start()

    def __enter__(self) -> "EditServer":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends when the edit under way has been answered."""
        self._closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._socket.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # whoever asked has hung up
                connection.settimeout(REQUEST_S)
                connection.sendall(json.dumps(self._answered(connection)).encode() + b"\n")

    def _answered(self, connection: socket.socket) -> dict[str, Any]:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, user, _ = struct.unpack("3i", peer)
        if user not in (os.getuid(), 0):
            return {"refused": f"this gallery is written by user {os.getuid()}; only that user may change it"}
        try:
            message = json.loads(_line_from(connection))
            request, who = read_request(message["edit"]), str(message["who"])
        except Refused as refused:
            return {"refused": str(refused)}
        except (ValueError, KeyError, TypeError):
            return {"refused": "this is not an edit of a gallery; use the same vreid on both sides"}
        try:
            return {"done": self._answer(request, who)}
        except Refused as refused:
            return {"refused": str(refused)}
        except Exception as error:  # noqa: BLE001  the next edit is to be answered
            _LOG.exception("an edit of %s failed", self._path)
            return {"refused": f"the edit failed ({error!r}); the log of the run that writes to the gallery says where"}


def _line_from(connection: socket.socket) -> bytes:
    """Up to the end of the line. Raises ValueError for one that is too long or breaks off."""
    got = b""
    while not got.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part or len(got) > LONGEST:
            raise ValueError("the line breaks off" if not part else "the line is too long")
        got += part
    return got


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
