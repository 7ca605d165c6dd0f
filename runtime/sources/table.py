"""The seam of the sources: how they are written, `[name=]URI`, what one is, which there are, and how they are opened."""

import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.camera_names import camera_name, plain_name
from vreid.runtime.network_address import PORTS, SCHEMES, NetworkAddress, network_address
from vreid.runtime.records import Frame

PATTERN = re.compile(r"%(0?)([0-9]{0,2})d")  # of printf: img_%04d.jpg
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
STREAMS = {
    **dict.fromkeys(("rtsp", "rtsps"), "rtsp"),
    **dict.fromkeys(("rtmp", "rtmps", "http", "https", "udp"), "stream"),
    "srt": "srt",
}  # scheme -> kind
FINITE = ("file", "folder", "pattern", "picture", "synth")  # kinds that end by themselves
_NAMED = re.compile(r"([^/\\:?&=]*)=(.*)", re.DOTALL)
_PLAINLY_NAMED = re.compile(r"[A-Za-z0-9_.-]+=")
_NAMED_STREAM = re.compile(r"(.*?)=\s*((?:[A-Za-z][A-Za-z0-9+.-]*:/|gst:).*)", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(rf"(?i)({'|'.join(SCHEMES)}):(?!//)")
_CHANNEL = re.compile(r"(?i)(?:^|[/?&_;])(?:channels?|ch)[=/_]?([0-9]{1,4})(?=$|[/?&_;.])")
_SPELLINGS = "0, /dev/video0, file.mp4, dir/, img_%04d.jpg, rtsp://, rtmp://, http://, udp://, csi://0, gst:PIPELINE, synth://city?camera=1"


@dataclass(frozen=True)
class Address:
    """`kind` is a key of SOURCES, `where` is what its function opens (it may hold a password), `camera` is the name.

    `numbered`: the name was made of a network address, so that a second one of the same host gets a number.
    """

    kind: str
    where: str = field(repr=False)
    camera: str
    numbered: bool = False

    @property
    def live(self) -> bool:
        """Whether it is a camera, and not something that ends by itself."""
        return self.kind not in FINITE


def address_of(text: str) -> Address:
    """`[name=]URI` -> where the camera is and what it is called; a path with "=" in its name is written ./a=b.mp4.

    Raises Refused, which never shows a password, for an empty text, an unknown scheme, or what can be no name.
    """
    name, uri = _name_and_uri(text.strip())
    if not uri:
        raise Refused(f"a source has no address; write one of: {_SPELLINGS}")
    name = None if name is None else camera_name(name)
    kind, where, derived = _parts(uri)
    numbered = name is None and kind in STREAMS.values()
    return Address(kind, where, name or plain_name(derived) or kind, numbered)


def addresses_of(texts: Sequence[str]) -> list[Address]:
    """The address of each text; of network cameras without a name, the second of one host is called host-2, and so on."""
    addresses = [address_of(text) for text in texts]
    taken = {address.camera for address in addresses if not address.numbered}
    times: Counter[str] = Counter()
    numbered = []
    for address in addresses:
        name = address.camera
        while address.numbered and name in taken:
            times[address.camera] += 1
            name = f"{address.camera}-{times[address.camera] + 1}"
        taken.add(name)
        numbered.append(replace(address, camera=name))
    return numbered


def _name_and_uri(text: str) -> tuple[str | None, str]:
    """The name before "=", None where there is none, and the rest."""
    if re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]*:/|gst:)", text) or _ONE_SLASH.match(text):
        return None, text
    named = _NAMED_STREAM.fullmatch(text)
    if named is None and (_PLAINLY_NAMED.match(text) or not Path(text).exists()):
        named = _NAMED.fullmatch(text)
    return (None, text) if named is None else (named[1], named[2].strip())


def _parts(uri: str) -> tuple[str, str, str]:
    """URI -> kind, where, and a name not yet made plain."""
    if uri.startswith("gst:"):
        return "gst", uri.removeprefix("gst:").removeprefix("//").strip(), "gst"
    if uri.isdecimal():
        return "device", f"/dev/video{int(uri)}", f"video{int(uri)}"
    if slash := _ONE_SLASH.match(uri):
        kind = slash[1].lower()
        raise Refused(
            f"the address '{kind}:...' lacks its two slashes; write {kind}://host:port/path, or ./ before a file"
        )
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
        case stream if stream in STREAMS:
            address = network_address(uri)
            return STREAMS[stream], address.uri if address.certain else uri, _host_and_number(address)
        case "synth":
            query = parse_qs(urlsplit(uri).query)
            kind = "synth" if query.get("live", ["0"])[-1] == "0" else "live synth"
            return kind, uri, "cam" + query.get("camera", ["1"])[0]
        case other:
            raise Refused(f"there is no source of the kind '{other}://'; write one of: {_SPELLINGS}")


def _path_parts(text: str) -> tuple[str, str, str]:
    """A path as written -> kind, path, and the name of its last part."""
    if re.search(r"[^\s:@/]:.*@", text) and not Path(text).exists():
        raise Refused("a source looks like an address without its scheme; write rtsp://user:password@host:port/path")
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


def _host_and_number(address: NetworkAddress) -> str:
    """rtsp://user:password@host:8554/channel=2 -> host_8554_2: the host, a port that is not the scheme's, a channel."""
    if not address.certain:
        return address.scheme
    port = None if address.port == PORTS.get(address.scheme) else address.port
    channel = _CHANNEL.search(address.tail)
    numbers = [str(port)] if port is not None else []
    return "_".join([address.host or address.scheme, *numbers, *([channel[1]] if channel else [])])


_LOG = logging.getLogger("vreid")
SOURCES = {
    "file": "vreid.runtime.sources.file:open_file",
    "folder": "vreid.runtime.sources.file:open_folder",
    "pattern": "vreid.runtime.sources.file:open_pattern",
    "picture": "vreid.runtime.sources.file:open_picture",
    "device": "vreid.runtime.sources.live:open_device",
    "rtsp": "vreid.runtime.sources.streams:open_stream",
    "stream": "vreid.runtime.sources.streams:open_stream",
    "srt": "vreid.runtime.sources.streams:refuse_srt",
    "csi": "vreid.runtime.sources.live:open_csi",
    "gst": "vreid.runtime.sources.live:open_gst",
    "synth": "vreid.runtime.sources.synth:open_synth",
    "live synth": "vreid.runtime.sources.synth:open_synth",
}


class Source(Protocol):
    """One camera. A file gives every frame; a live source gives the newest and counts in `dropped` what it left out."""

    camera: str
    live: bool
    frame_rate: float  # frames a second, 0 if unknown
    size: tuple[int, int]  # width, height of the first frame
    dropped: int

    @property
    def warnings(self) -> Sequence[str]:
        """What was wrong with it, a sentence each; of a file known after its last frame."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is worth knowing of it, and no fault."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; a file that breaks off ends there, and `warnings` says so."""
        ...

    def close(self) -> None:
        """Let go of the file or the camera; iteration ends. May be called twice."""
        ...


class Camera(Source, Protocol):
    """What a live source has besides."""

    refusal: str
    reconnects: int  # attempts to find it again, met or not
    began: float  # when its clock was at 0, seconds since 1970

    @property
    def fault(self) -> str | None:
        """What is wrong with its pictures: black, blank, frozen; None while all is well."""
        ...

    @property
    def blind_s(self) -> float:
        """Seconds in which something was wrong with them, in all."""
        ...

    @property
    def age(self) -> float:
        """Seconds since its newest frame; inf before the first."""
        ...

    def limit(self, rate: float | None) -> None:
        """Give at most `rate` frames a second from now on; None: all. Those left out are not counted as dropped."""
        ...

    def met(self, patience: float = 10.0) -> bool:
        """Whether there is a picture now; waits for the first attempt."""
        ...


def open_source(text: str) -> Source:
    """`[name=]URI` -> the source, its first frame already decoded, so that what cannot be read is refused here."""
    return open_sources([text])[0]


def open_sources(texts: Sequence[str], patience: float = 10.0, among: Collection[str] = ()) -> list[Source]:
    """All or none: what was opened is closed again if one is refused. Two cameras of one name are refused first.

    Live cameras are connected side by side. One that is away is refused when it is the only one, or all are; among others, or
    `among` cameras that are open already, it is tried again and again, and the log says so.
    """
    addresses = addresses_of(texts)
    names = [*among, *(address.camera for address in addresses)]
    camera, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise Refused(f"{times} sources are called '{camera}'; give each its own name, such as {camera}-a=URI")
    with ExitStack() as opened:
        sources = []
        for address in addresses:
            sources.append(_opened(address))
            opened.callback(sources[-1].close)
        cameras = [cast(Camera, source) for source in sources if source.live]
        until = time.monotonic() + patience
        away = [camera for camera in cameras if not camera.met(max(0.0, until - time.monotonic()))]
        if away and len(away) == len(sources) and not among:
            raise Refused(away[0].refusal)
        for missing in away:
            _LOG.warning("%s is away and is tried again: %s", missing.camera, missing.refusal)
        opened.pop_all()
    return sources


def _opened(address: Address) -> Source:
    return cast(Source, open_seam("source", SOURCES, address.kind)(address.where, address.camera))
