"""The seam of the sources: what one is, which there are, and how they are opened."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol, cast

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Frame
from vreid.runtime.sources.address import Address, addresses_of

LOG = logging.getLogger("vreid")
SOURCES = {
    "file": "vreid.runtime.sources.file:open_file",
    "folder": "vreid.runtime.sources.images:open_folder",
    "pattern": "vreid.runtime.sources.images:open_pattern",
    "picture": "vreid.runtime.sources.images:open_picture",
    "device": "vreid.runtime.sources.cameras:open_device",
    "rtsp": "vreid.runtime.sources.streams:open_stream",
    "stream": "vreid.runtime.sources.streams:open_stream",
    "srt": "vreid.runtime.sources.streams:refuse_srt",
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

    def met(self, patience: float = 10.0) -> bool:
        """Whether there is a picture now; waits for the first attempt."""
        ...


def open_source(text: str) -> Source:
    """`[name=]URI` -> the source, its first frame already decoded, so that what cannot be read is refused here."""
    return open_sources([text])[0]


def open_sources(texts: Sequence[str], patience: float = 10.0) -> list[Source]:
    """All or none: what was opened is closed again if one is refused. Two cameras of one name are refused first.

    Live cameras are sought side by side. One that is away is refused when it is the only one, or all are; among others it
    is sought on and on, and the log says so.
    """
    addresses = addresses_of(texts)
    camera, times = Counter(address.camera for address in addresses).most_common(1)[0] if addresses else ("", 0)
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
        if away and len(away) == len(sources):
            raise Refused(away[0].refusal)
        for missing in away:
            LOG.warning("%s is away and is sought again: %s", missing.camera, missing.refusal)
        opened.pop_all()
    return sources


def _opened(address: Address) -> Source:
    return cast(Source, open_seam("source", SOURCES, address.kind)(address.where, address.camera))
