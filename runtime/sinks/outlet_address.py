"""Addresses of ways out: mqtt://user:word@host:port/topic?qos=1, https://host/path?theirs=1#picture=1."""

import contextlib
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from vreid.models.errors import Refused
from vreid.runtime.secrets import shown

COMMON = ("picture", "room")  # options that every way out has
_MOST_ROOM = 1_000_000


@dataclass(frozen=True)
class OutletAddress:
    """A parsed address. `path` and `query` as they were written; `name` is all that may be shown of it."""

    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    path: str = field(repr=False)  # of a webhook, it may be the secret
    query: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """scheme://host:port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")

    def choice(self, option: str, choices: Collection[str], default: str) -> str:
        """The value of `option`, one of `choices`. Raises Refused."""
        value = self.options.get(option, default)
        if value not in choices:
            raise Refused(f"{self.name}: {option}={value} is not known; write {option}={' or '.join(choices)}")
        return value

    def room(self, default: int) -> int:
        """How many messages may wait. Raises Refused."""
        text = self.options.get("room", str(default))
        if not (text.isdecimal() and len(text) < 9 and 1 <= int(text) <= _MOST_ROOM):
            raise Refused(f"{self.name}: room={text} is no number of messages; write room=1000, at most {_MOST_ROOM}")
        return int(text)

    def refuse_other_than(self, *own: str) -> None:
        """Raises Refused for an option that neither is a way out's nor one of its `own`."""
        for option in self.options:
            if option not in (*own, *COMMON):
                known = ", ".join(sorted((*own, *COMMON)))
                raise Refused(f"{self.name}: there is no option '{option}'; choose one of: {known}")


def outlet_address_of(uri: str, schemes: Collection[str]) -> OutletAddress:
    """Raises Refused, which never shows a password.

    Options stand behind "?"; of a webhook behind "#", for what is behind its "?" belongs to the receiver.
    """
    uri = uri.strip()
    if "@" in re.sub(r"^[^/]*//[^/?#]*", "", uri):  # behind the host, or the password was no part of a URI
        raise Refused("an output's address has an '@' behind the host; write it as %40, and a password's '/' as %2F")
    parts = _parts(uri)
    if parts is None:
        raise Refused("an output's address is not a URI; write mqtt://host:1883/topic or https://host/path")
    scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    if scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
        raise Refused(f"an output's address has no known scheme; choose one of: {known}")
    if not host or port == 0:
        raise Refused(f"an output's address names no host; write {scheme}://host/")
    webhook = scheme.startswith("http")
    if not webhook and "#" in uri:
        raise Refused(f"the output {shown(uri)} has a '#'; a topic cannot, and options stand behind '?'")
    options = _options(parts, parts.fragment if webhook else parts.query)
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return OutletAddress(parts.scheme, host, port, user, password, parts.path, parts.query if webhook else "", options)


def tls_context(address: OutletAddress) -> ssl.SSLContext:
    """The peer's certificate must hold: for the system's authorities, or those of ca=FILE. Raises Refused.

    cert=FILE and key=FILE are what we show ourselves. All are PEM.
    """
    ca, cert, key = (address.options.get(option) for option in ("ca", "cert", "key"))
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key, password="")  # never asks for one on the terminal
    except OSError as error:
        raise Refused(
            f"{address.name}: ca=, cert= or key= names no such PEM file ({error.strerror or error})"
        ) from error
    return context


def _options(parts: SplitResult, text: str) -> dict[str, str]:
    if not text:
        return {}
    with contextlib.suppress(ValueError):  # its message repeats the options, and they may be the secret
        return dict(parse_qsl(text, strict_parsing=True, keep_blank_values=True))
    fix = f"write {parts.scheme}://...?picture=1&room=1000, or with # for a webhook"
    raise Refused(f"the options of the output {parts.scheme}://{parts.hostname} cannot be read; {fix}")


def _parts(uri: str) -> SplitResult | None:
    """The address in parts, None where it is no URI: the library's reason repeats it, with its password."""
    try:
        parts = urlsplit(uri)
        (parts.hostname or "").encode("idna")  # what no resolver takes
        return parts if parts.port is None or 0 <= parts.port < 65536 else None
    except ValueError:
        return None
