"""The REST API of `vreid serve` for Python programs: `vreid.Client`, by the standard library. Documents are dicts, as in JSON."""

import http.client
import json
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from vreid.models.errors import BadInput, GalleryFull, GalleryLocked, NotFound, Refused, VreidError

Document = dict[str, Any]
Picture = bytes | str | Path  # the content of a file, or where it lies
_ERRORS: Mapping[int, type[VreidError]] = {
    404: NotFound, 413: BadInput, 415: BadInput, 422: BadInput, 503: GalleryLocked, 507: GalleryFull,
}  # fmt: skip
_PART, _ALL = 500, 2**63  # documents of one request, and in all
_PATIENCE_S = (0.0, 0.5, 1.0, 2.0, 4.0)


class Client:
    """A server at `url`, such as "http://127.0.0.1:8080", with the token that `vreid serve token` gave.

    A request whose connection breaks, or that is answered by 503 (the gallery is locked for a moment), is sent again, five times
    in all; one that writes with the same Idempotency-Key, so that it is done once. Errors of the server are raised by its status:
    NotFound (404), BadInput (413, 415, 422), GalleryLocked (503), GalleryFull (507), Refused for the other 4xx, VreidError for 5xx
    and where no server answers. `only` are the filters of docs/serve.md: camera, kind, name, plate, zone, since, until.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
        patience: Sequence[float] = _PATIENCE_S,
    ) -> None:
        """`timeout` in seconds of one attempt, `patience` in seconds before each; `tls`: which certificates are trusted.

        Raises Refused for a URL that is none.
        """
        wrong = Refused(f"'{url}' is not the address of a server; write http://HOST:PORT")
        try:
            parts = urlsplit(url)
            self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in ("http", "https") or not self._host or parts.path not in ("", "/"):
            raise wrong
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout, self._tls, self._patience = timeout, tls, patience

    def vehicles(self, sort: str = "named-first", limit: int | None = None, **only: Any) -> Iterator[Document]:
        """The vehicles that `only` lets through, at most `limit` of them."""
        return self._pages("/vehicles", limit, {"sort": sort, **only})

    def vehicle(self, vehicle: int) -> Document:
        """A vehicle with its newest sightings and its changes."""
        return self._document("GET", f"/vehicles/{vehicle}")

    def sightings(self, limit: int | None = None, **only: Any) -> Iterator[Document]:
        """The sightings that `only` lets through, the newest first, at most `limit` of them; `vehicle` too is a filter."""
        return self._pages("/sightings", limit, only)

    def picture(self, sighting: int) -> bytes:
        """The JPEG of a sighting."""
        return self._sent("GET", f"/sightings/{sighting}/picture")

    def search(self, picture: Picture, **more: Any) -> Document:
        """Who is on a picture; `more` may be k, kind and camera."""
        return self._document("POST", "/search", form=({"picture": [picture]}, more))

    def similar(self, sighting: int, k: int = 10) -> Document:
        """Who is like the vehicle of a sighting."""
        return self._document("GET", f"/sightings/{sighting}/similar?k={k}")

    def enrol(self, pictures: Sequence[Picture], **more: Any) -> Document:
        """A new vehicle by its pictures; `more` may be name, kind and anyway."""
        return self._document("POST", "/vehicles", form=({"pictures": pictures}, more))

    def rename(self, vehicle: int, name: str) -> Document:
        """Give a vehicle another name."""
        return self._document("PATCH", f"/vehicles/{vehicle}", {"name": name})

    def merge(self, kept: int, *others: int) -> Document:
        """Make one vehicle of several; `kept` stays."""
        return self._document("POST", "/merge", {"vehicles": [kept, *others]})

    def split(self, vehicle: int, sightings: Sequence[int], name: str | None = None) -> Document:
        """Make a new vehicle of some sightings of one."""
        return self._document("POST", f"/vehicles/{vehicle}/split", {"sightings": list(sightings), "name": name})

    def judge(self, sighting: int, same: bool, vehicle: int | None = None) -> Document:
        """Say of a doubtful sighting that it is of its vehicle, or of `vehicle`; or, with `same` False, that it is not."""
        return self._document(
            "POST", f"/doubtful/{sighting}", {"same": same} | ({"vehicle": vehicle} if vehicle else {})
        )

    def undo(self, change: int | None = None) -> Document:
        """Take a change back; without its id the last one of this token."""
        return self._document("POST", "/undo", {"change": change})

    def remove(self, vehicle: int) -> Document:
        """Forget a vehicle for good."""
        return self._document("DELETE", f"/vehicles/{vehicle}")

    def get(self, path: str, **query: Any) -> Any:
        """Any other document, such as /health, /cameras, /doubtful, /changes."""
        return json.loads(self._sent("GET", f"{path}?{_query(query)}"))

    def export(self, **only: Any) -> Iterator[Document]:
        """All sightings that `only` lets through, line by line as the server sends them; `pictures=True` brings their JPEGs."""
        with self._connection() as connection:
            yield from map(json.loads, self._answered(connection, "GET", f"/export?{_query(only)}", None, {}))

    def _pages(self, path: str, limit: int | None, query: Mapping[str, Any]) -> Iterator[Document]:
        left, cursor = _ALL if limit is None else limit, dict[str, str]()
        while left > 0:
            page = self.get(path, limit=min(left, _PART), **query, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            left, cursor = left - len(page["items"]), {"cursor": page["next"]}

    def _document(
        self,
        verb: str,
        path: str,
        body: Document | None = None,
        form: tuple[Mapping[str, Sequence[Picture]], Any] | None = None,
    ) -> Document:
        headers = {} if verb == "GET" else {"Idempotency-Key": secrets.token_urlsafe(24)}
        content: bytes | None = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif form is not None:
            content, headers["Content-Type"] = _multipart(*form)
        found: Document = json.loads(self._sent(verb, path, content, headers))
        return found

    def _sent(
        self, verb: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of the answer, after as many attempts as it takes."""
        failure: Exception | None = None
        for patience in self._patience:
            time.sleep(patience)
            try:
                with self._connection() as connection:
                    return self._answered(connection, verb, path, content, headers or {}).read()
            except (OSError, http.client.HTTPException, GalleryLocked) as error:
                failure = error
        if isinstance(failure, VreidError):
            raise failure
        raise VreidError(
            f"no server answers at {self._host}:{self._port} ({failure!r}); start vreid serve"
        ) from failure

    def _connection(self) -> "closing[http.client.HTTPConnection]":
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        settings: dict[str, Any] = {"context": self._tls} if self._secure else {}
        return closing(kind(self._host, self._port, timeout=self._timeout, **settings))

    def _answered(
        self,
        connection: http.client.HTTPConnection,
        verb: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        """The answer, whose body is still to be read. Raises what its status stands for."""
        try:
            connection.request(verb, f"/api/v1{path}", content, {**self._headers, **headers})
        except ssl.SSLCertVerificationError as error:
            raise VreidError(
                f"{self._host} has a certificate that is not trusted here ({error.verify_message}); "
                "give tls=ssl.create_default_context(cafile=FILE) with the certificate, or that of its authority"
            ) from error
        answer = connection.getresponse()
        if answer.length is None and not answer.chunked:  # it broke off within its headers
            raise http.client.IncompleteRead(b"")
        if answer.status < HTTPStatus.BAD_REQUEST:
            return answer
        kind = _ERRORS.get(answer.status, Refused if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR else VreidError)
        try:
            detail = str(json.loads(answer.read())["detail"])
        except (ValueError, KeyError, TypeError):  # of a proxy in between
            detail = answer.reason
        raise kind(f"{detail} ({answer.status})")


def _query(values: Mapping[str, Any]) -> str:
    """Of several values of one name each."""
    plain = {name: value if isinstance(value, list | tuple) else _text(value) for name, value in values.items()}
    return urlencode(plain, doseq=True, quote_via=quote)


def _multipart(pictures: Mapping[str, Sequence[Picture]], values: Mapping[str, Any]) -> tuple[bytes, str]:
    """A form with files (RFC 7578), and its content type."""
    edge = secrets.token_hex(16)
    file = '"; filename="picture"\r\nContent-Type: application/octet-stream'
    parts = [
        (f"{name}{file}", one if isinstance(one, bytes) else _content(Path(one)))
        for name, several in pictures.items() for one in several
    ]  # fmt: skip
    parts += [(f'{name}"', _text(value).encode()) for name, value in values.items()]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="'
    lines = [f"{head}{about}\r\n\r\n".encode() + body + b"\r\n" for about, body in parts]
    return b"".join([*lines, f"--{edge}--\r\n".encode()]), f"multipart/form-data; boundary={edge}"


def _content(picture: Path) -> bytes:
    """Raises BadInput for a file that cannot be read."""
    try:
        return picture.read_bytes()
    except OSError as error:
        raise BadInput(f"the picture {picture} cannot be read ({error.strerror}); name another file") from error


def _text(value: object) -> str:
    """As the server reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
