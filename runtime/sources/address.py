"""Addresses: what a person writes for a source, `[name=]URI` with the habits of jetson-utils, and what it means."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from vreid.models.errors import Refused

PATTERN = re.compile(r"%(0?)([0-9]{0,2})d")  # of printf: img_%04d.jpg
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=(.*)", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SPELLINGS = "0, /dev/video0, file.mp4, dir/, img_%04d.jpg, rtsp://, csi://0, gst:PIPELINE, synth://city?camera=1"


@dataclass(frozen=True)
class Address:
    """`kind` is a key of SOURCES, `where` is what its function opens, `camera` is the name given or derived."""

    kind: str
    where: str
    camera: str


def address_of(text: str) -> Address:
    """`[name=]URI` -> where the camera is and what it is called; a path with "=" in its name is written ./a=b.mp4.

    Raises Refused for an empty text, an unknown scheme, or a name of dots alone.
    """
    named = _NAMED.match(text)
    name, uri = (named[1], named[2]) if named else ("", text)
    if not uri.strip():
        raise Refused(f"the source '{text}' is empty; write one of: {_SPELLINGS}")
    if name and not name.strip("."):
        raise Refused(f"'{name}' is no name for a camera; write letters and digits, such as gate={uri}")
    kind, where, derived = _parts(uri.strip())
    return Address(kind, where, name or _plain(derived) or kind)


def without_password(uri: str) -> str:
    """The URI as it may be shown: all up to the last "@" hidden, since a password may hold "/" or "#"."""
    return re.sub(r"(://).*@", r"\1***@", uri)


def _parts(uri: str) -> tuple[str, str, str]:
    """URI -> kind, where, and a name not yet made plain."""
    if uri.startswith("gst:"):
        return "gst", uri.removeprefix("gst:").removeprefix("//").strip(), "gst"
    if uri.isdecimal():
        return "device", f"/dev/video{int(uri)}", f"video{int(uri)}"
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return _path_parts(uri)
    rest = uri[scheme.end() :]
    match scheme[1].lower():
        case "file":
            literal = PATTERN.search(rest) or Path(rest).exists()
            return _path_parts(rest if literal else unquote(rest))
        case "v4l2":
            return _parts(rest) if rest.isdecimal() else ("device", rest, Path(rest).name)
        case "csi":
            return "csi", rest.strip("/") or "0", f"csi{rest.strip('/') or '0'}"
        case "rtsp" | "rtsps":
            return "rtsp", uri, _host_and_path(uri)
        case "synth":
            return "synth", uri, "cam" + parse_qs(urlsplit(uri).query).get("camera", ["1"])[0]
        case other:
            raise Refused(f"there is no source of the kind '{other}://'; write one of: {_SPELLINGS}")


def _path_parts(text: str) -> tuple[str, str, str]:
    """A path as written -> kind, path, and the name of its last part."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # ~name of nobody here: a file that is called so
        path = Path(text)
    if text.startswith("/dev/"):
        return "device", text, path.name
    if path.is_dir() or text.endswith("/"):
        return "folder", str(path), path.resolve().name
    if PATTERN.search(path.name) and not path.is_file():
        return "pattern", str(path), PATTERN.sub("", path.stem).strip("_-. ") or path.resolve().parent.name
    return ("picture" if path.suffix.lower() in PICTURES else "file"), str(path), path.stem


def _host_and_path(uri: str) -> str:
    """rtsp://user:word@host:8554/a/b?c -> host_8554_a_b, never the password; 554 is not said."""
    try:
        parts = urlsplit("rtsp://" + uri.partition("://")[2].rsplit("@", 1)[-1])
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"{without_password(uri)} is not a URI; write rtsp://host:port/path") from error
    if not host:
        raise Refused(f"{without_password(uri)} names no host; write rtsp://host/path")
    return "_".join([host, *([str(port)] if port not in (None, 554) else []), parts.path.strip("/")])


def _plain(name: str) -> str:
    """Letters, digits, "_", "-" and "." alone, so that a name can be a file's or a column's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.")
