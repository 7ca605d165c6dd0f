"""The seam of the sources: what one is, which there are, and how they are opened."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol, cast

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Frame
from vreid.runtime.sources.address import Address, address_of

SOURCES = {
    "file": "vreid.runtime.sources.file:open_file",
    "folder": "vreid.runtime.sources.images:open_folder",
    "pattern": "vreid.runtime.sources.images:open_pattern",
    "picture": "vreid.runtime.sources.images:open_picture",
    "device": "vreid.runtime.sources.cameras:open_device",
    "rtsp": "vreid.runtime.sources.cameras:open_rtsp",
    "csi": "vreid.runtime.sources.cameras:open_csi",
    "gst": "vreid.runtime.sources.cameras:open_gst",
    "synth": "vreid.runtime.sources.synth:open_synth",
}


class Source(Protocol):
    """One camera. A file gives every frame; a live source gives the newest and counts in `dropped` what it left out."""

    camera: str
    live: bool
    frame_rate: float  # frames a second, 0 if unknown
    size: tuple[int, int]  # width, height of the first frame
    dropped: int

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; Refused where a file breaks off."""
        ...

    def close(self) -> None:
        """Let go of the file or the camera; iteration ends. May be called twice."""
        ...


def open_source(text: str) -> Source:
    """`[name=]URI` -> the source, its first frame already decoded, so that what cannot be read is refused here."""
    return _opened(address_of(text))


def open_sources(texts: Sequence[str]) -> list[Source]:
    """All or none: what was opened is closed again if one is refused. Two cameras of one name are refused first."""
    addresses = [address_of(text) for text in texts]
    camera, times = Counter(address.camera for address in addresses).most_common(1)[0] if addresses else ("", 0)
    if times > 1:
        raise Refused(f"{times} sources are called '{camera}'; give each its own name, such as {camera}-a=URI")
    with ExitStack() as opened:
        sources = []
        for address in addresses:
            sources.append(_opened(address))
            opened.callback(sources[-1].close)
        opened.pop_all()
    return sources


def _opened(address: Address) -> Source:
    return cast(Source, open_seam("source", SOURCES, address.kind)(address.where, address.camera))
