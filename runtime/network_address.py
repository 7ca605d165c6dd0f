"""The parts of scheme://user:password@host:port/path, also where a password was not percent-encoded as it must be.

RFC 3986, section 3.2: the authority ends at the first "/", "?" or "#", and the user's part at its last "@".
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import quote

from vreid.models.errors import Refused

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443, "mqtt": 1883, "mqtts": 8883}
SCHEMES = (
    *PORTS,
    "rtspu",
    "rtspt",
    "rtmpt",
    "rtp",
    "srtp",
    "udp",
    "tcp",
    "tls",
    "srt",
    "hls",
    "mms",
    "mmsh",
    "ftp",
    "ws",
    "wss",
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]*)(?::([0-9]{0,5}))?")
_LISTENING = ("udp", "rtp", "srtp", "tcp", "srt")  # may be without a host: udp://:1234
_WRITTEN = "%:!$&'()*+,;=~"  # of a user's part, besides letters, digits, "_", "." and "-"


@dataclass(frozen=True)
class NetworkAddress:
    """`host` without brackets; `tail` is path, query and fragment as they were written.

    `certain` is False where it stays open which part is the host, so that not even the host may be shown.
    """

    scheme: str  # in lower case
    user: str | None = field(repr=False)  # what stands before "@", as it was written
    host: str
    port: int | None
    tail: str = field(repr=False)
    certain: bool = True

    @property
    def uri(self) -> str:
        """The address as a program takes it: the user's part percent-encoded where it must be. Holds the password."""
        user = "" if self.user is None else quote(self.user, safe=_WRITTEN) + "@"
        return f"{self.scheme}://{user}{self._place}{self.tail}"

    @property
    def shown(self) -> str:
        """scheme://host:port, and /*** where more follows: a path or a query may be the secret itself."""
        more = "/***" if self.tail.strip("/") else self.tail
        return f"{self.scheme}://" + (f"{self._place}{more}" if self.certain else "***")

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host + ("" if self.port is None else f":{self.port}")


def network_address(uri: str) -> NetworkAddress:
    """`uri` in parts. Where "@" also stands behind the first "/", "?" or "#" there are two readings: the one whose host
    is an IP address is taken; else the "@" is the path's where a "=" stands before it, and the password's where not.

    Raises Refused, which shows nothing of the address, for one without a host or with a port that is no number.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        raise Refused("an address of the network begins with a scheme and two slashes; write rtsp://host:port/path")
    kind, rest = scheme[1].lower(), uri[scheme.end() :]
    end = _end(rest)
    readings = [_reading(kind, rest, rest.rfind("@", 0, end))]
    if "@" in rest[end:]:
        readings.append(_reading(kind, rest, rest.rfind("@")))
    possible = [reading for reading in readings if reading is not None]
    if not possible:
        raise Refused(
            f"the {kind}:// address has no valid host or port; write {kind}://user:password@host:port/path, with "
            "'@' '/' '#' '?' ':' in a user name or password as %40 %2F %23 %3F %3A"
        )
    if len(possible) == 1:
        return possible[0]
    standard, last = possible
    if _is_literal(standard.host) != _is_literal(last.host):
        return standard if _is_literal(standard.host) else last
    if "=" in rest[end : rest.rfind("@")]:
        return NetworkAddress(standard.scheme, standard.user, standard.host, standard.port, standard.tail, False)
    return last


def _reading(kind: str, rest: str, at: int) -> NetworkAddress | None:
    """The parts where the user's part ends at `at` (-1: there is none); None where no host follows."""
    place = rest[at + 1 :]
    end = _end(place)
    match = _HOST.fullmatch(place[:end])
    if match is None or not (match[1] or kind in _LISTENING):
        return None
    port = int(match[2]) if match[2] else None
    if port is not None and port > 65535:
        return None
    return NetworkAddress(kind, rest[:at] if at >= 0 else None, match[1].strip("[]"), port, place[end:])


def _end(text: str) -> int:
    found = re.search(r"[/?#]", text)
    return len(text) if found is None else found.start()


def _is_literal(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
