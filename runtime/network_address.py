"""Network addresses: their parts, secrets filled in from the environment or a file, and what may be shown of them.

An address is read also where a password was not percent-encoded as it must be.

RFC 3986, section 3.2: the authority ends at the first "/", "?" or "#", and the user's part at its last "@".
"""

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from vreid.models.errors import Refused
from vreid.runtime.camera_names import valid_text

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
_SERVED = re.compile(r"(?:\[(?P<six>[0-9a-f:.%\w]+)\]|(?P<name>[\w.-]+))(?P<port>:[0-9]*)?")
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

    Raises Refused, which shows nothing of the address, for one without a host or with a port that is not a number.
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


def nats_address(text: str) -> str:
    """`text`, which is the address of one NATS server. Raises Refused, which shows nothing of it, for another one."""
    address = network_address(text)
    if address.scheme not in ("nats", "tls") or address.tail.strip("/") or not address.certain:
        raise Refused("the address of a NATS server is nats://HOST:PORT or tls://HOST:PORT, with no path; correct it")
    return text


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


_MOST = 65536  # characters of a value
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPEN = re.compile(r"\$\$\{|\$\{")


def substituted(text: str, environment: Mapping[str, str]) -> str:
    """`text` with every ${NAME} of `environment` and the content of every ${file:PATH}; $${ stands for a plain ${.

    Within a URI a value is percent-encoded for its place: wholly in the user's part and behind "=", else where it must
    be. In a GStreamer pipeline, outside of a URI, it becomes a quoted string. A text that begins with it takes it as it is.

    Raises Refused where a variable or file is missing, or a value is longer than 64 KiB or has control characters.
    """
    parts: list[str] = []
    place = 0
    while (found := _OPEN.search(text, place)) is not None:
        parts.append(text[place : found.start()])
        if found[0] == "$${":
            parts.append("${")
            place = found.end()
            continue
        end = text.find("}", found.end())
        if end < 0:
            raise Refused("an address has '${' without '}'; write ${NAME} or ${file:PATH}, and $${ for a plain '${'")
        value = _value(text[found.end() : end], environment)
        parts.append(_encoded(value, "".join(parts), text[end + 1 :]))
        place = end + 1
    return "".join(parts) + text[place:]


def _value(wanted: str, environment: Mapping[str, str]) -> str:
    if wanted.startswith("file:"):
        value, where = _content(wanted.removeprefix("file:")), f"the file {wanted.removeprefix('file:')}"
    elif _NAME.fullmatch(wanted) is None:
        raise Refused(
            "an address has '${...}' that is not a variable's name; write ${NAME}, ${file:PATH}, or $${ for '${'"
        )
    elif wanted not in environment:
        raise Refused(
            f"the environment variable {wanted} is not set; set it, or write the address without ${{{wanted}}}"
        )
    else:
        value, where = environment[wanted], f"the environment variable {wanted}"
    if len(value) > _MOST or not valid_text(value):
        raise Refused(f"{where} is too long, or holds control characters or invalid UTF-8; put one line of text there")
    return value


def _content(path: str) -> str:
    """The file's text without the end of its last line."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(4 * _MOST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise Refused(f"the secret file {path} cannot be read ({reason}); check ${{file:...}} in the address") from None
    text = content.decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def _encoded(value: str, before: str, after: str) -> str:
    """`value` as it must be written between `before` and `after`."""
    uri = re.search(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<rest>[^\s\"']*)$", before)
    if uri is None:
        pipeline = re.search(r"(^|=)gst:", before) is not None
        return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"' if pipeline and before.endswith("=") else value
    rest = uri["rest"]
    if not re.search(r"[/?#]", rest):
        in_user = re.match(r"[^\s/?#\"']*@", re.sub(r"\$\{[^}]*\}", "", after)) is not None
        return quote(value, safe="") if in_user else value
    return quote(value, safe="" if "?" in rest and rest.endswith("=") else "/%:@!$&'()*+,;=~[]")


_HIDDEN = "***"
_LONGEST = 4000  # characters of a line: searching one takes time by their square
_USER_PART = re.compile(r"((?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]*:[/\\]+)[^\n]*@")  # rtsp://user:password@, rtsp:/...@
_BARE_USER_PART = re.compile(
    r"""(?<![^\s'"=(\[,;/])[^\s:@/'"=(]+:(?![\s/\\])[^\n]*@"""
)  # user:password@ without a scheme
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]*:[/\\]+\S*")
_VALUE = r"""(\s*=\s*)(?!\*\*\*)("[^"\n]*"?|'[^'\n]*'?|\\?[^\s"'&]+?(?=_[A-Za-z]+=|[\s"'&;,)]|$))"""
_NEVER = r"pass(?:word|wd|phrase|code)?|pwd|psw|user-?pw|user-?id|secret|token|signature|credentials?|api-?_?key"
_IN_ADDRESS = rf"{_NEVER}|pw|key|auth|authorization|sig|user|username|usr|login|account"
_SECRET = re.compile(rf"(?i)({_NEVER}){_VALUE}")
_ADDRESS_SECRET = re.compile(rf"(?i)({_IN_ADDRESS}){_VALUE}")


def shown_address(address: str) -> str:
    """One address as it may be shown: of the network only scheme://host:port; of a GStreamer pipeline, the elements."""
    if "://" in address and not re.search(r"\s", address.split("://")[0]):
        try:
            return network_address(address).shown
        except Refused:
            return address.partition("://")[0] + f"://{_HIDDEN}"
    if "!" in address or "=" in address:
        return " ! ".join(_element(part) for part in address.split("!"))
    return redacted(address)


def redacted(text: str) -> str:
    """Any text without what looks like a user and password of an address, or the value of `password=`, `token=` and such.

    The last guard of all that is printed and logged; whoever knows that a text is an address shows `shown_address` of it. Of a
    line only the first 4,000 characters are kept.
    """
    if len(text) > _LONGEST:
        return "\n".join(redacted(_cut(line)) for line in text.split("\n"))
    text = _SECRET.sub(rf"\1\2{_HIDDEN}", text)
    text = _ADDRESS.sub(lambda match: _ADDRESS_SECRET.sub(rf"\1\2{_HIDDEN}", match[0]), text)
    text = _USER_PART.sub(rf"\1{_HIDDEN}@", text)
    return _BARE_USER_PART.sub(f"{_HIDDEN}@", text)


def _cut(line: str) -> str:
    """Between two words, since half an address may not be seen to be one."""
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3].rpartition(" ")[0] + "..."


def _element(part: str) -> str:
    """A part of a pipeline -> the name of its element; what follows may hold an address or a password."""
    name = re.match(r"\s*([A-Za-z][A-Za-z0-9_-]*)(?![A-Za-z0-9_-]*[=/.:])", part)
    return name[1] if name else _HIDDEN


def answers_to(hosts: Sequence[str], names: Collection[str]) -> bool:
    """Whether a request with these values of the header Host (name, IP or [IPv6], with or without :port) is for this server."""
    return (
        len(hosts) == 1
        and (host := plain_host(hosts[0], port=True)) != ""
        and (host == "localhost" or host in names or _is_ip(host))
    )


def plain_host(text: str, port: bool = False) -> str:
    """A host in lower case, without brackets, a dot at its end and, where it may have one, its port; "" for no host."""
    match = _SERVED.fullmatch(text.strip().lower())
    if match is None or (match["port"] is not None and not port):
        return text.strip().lower() if not port and _is_ip(text.strip()) else ""
    return (match["six"] or match["name"] or "").removesuffix(".")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
