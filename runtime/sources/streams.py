"""Cameras of the network through PyAV: RTSP, RTMP, HLS, HTTP (multipart JPEG and others) and UDP."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.network_address import network_address, shown_address
from vreid.runtime.sources.decode import FAILURES, DecodedPicture, Decoder, open_container, reason_of
from vreid.runtime.sources.live import Capture, LiveSource
from vreid.runtime.sources.table import Source

TIMEOUT = (5.0, 5.0)  # seconds to open, and for each packet; a run waits 10 for its cameras
SETTLED = 5.0  # seconds by which a picture may come late before the stream's clock is set anew
_AHEAD = 60.0  # seconds of pictures that HLS may send in one burst
DRIFT = 0.001  # the most by which a camera's clock may be slow, as a share
_THREADS = 2
_NO_STAMPS = 0x80  # AVFMT_NOTIMESTAMPS of FFmpeg's avformat.h; PyAV types its own enum of them as no number
# FFmpeg looks into a stream for 5 s before it gives the first picture, unless it is set to less.
_QUICK = {"fflags": "nobuffer", "analyzeduration": "1000000", "probesize": "1000000"}
_OPTIONS = {
    "rtsp": {"rtsp_transport": "tcp", "allowed_media_types": "video"},
    "rtsps": {"rtsp_transport": "tcp", "allowed_media_types": "video"},
    "udp": {
        "fifo_size": "50000",
        "overrun_nonfatal": "1",
        "buffer_size": "2097152",
    },  # 9 MB at the most, the oldest goes
}


def open_stream(where: str, camera: str) -> Source:
    """A stream at an address with a scheme. It is tried again and again; what is said of one that is away is its last reason."""
    stream = _Stream(where)
    source = LiveSource(camera, stream.connect, stream.refusal("it does not answer"))
    stream.say = lambda reason: setattr(source, "refusal", stream.refusal(reason))
    if stream.reason:  # of the first attempt, which began before it could be said
        stream.say(stream.reason)
    return source


class _Stream:
    """One address, connected to again and again."""

    def __init__(self, where: str) -> None:
        self.say: Callable[[str], None] = lambda reason: None
        self.reason = ""  # of the last attempt that failed
        self._where = where
        self._scheme = network_address(where).scheme

    def refusal(self, reason: str) -> str:
        """The sentence for a camera that gives nothing, without what is secret in the address."""
        return (
            f"{shown_address(self._where)} gives no picture ({reason}); check the address, the password and the network, "
            "for example with ffplay"
        )

    def connect(self) -> tuple[Capture, float] | None:
        """A connection whose first packet may still be to come; None, and the reason said, where there is none."""
        try:
            options = {**_QUICK, **_OPTIONS.get(self._scheme, {})}
            container = open_container(self._where, options, TIMEOUT)
        except FAILURES as error:
            self._failed(reason_of(error))
            return None
        try:
            decoder = Decoder(container, _THREADS)
        except LookupError:
            container.close()
            self._failed("it holds no video")
            return None
        if container.duration and container.format.name not in ("rtsp", "mpegts"):
            container.close()
            self._failed("it is a finished recording and no live stream: download it and give the file")
            return None
        return StreamCapture(decoder, paced="hls" in container.format.name), decoder.rate

    def _failed(self, reason: str) -> None:
        self.reason = reason  # before it is said: open_stream looks at it once it has set `say`
        self.say(reason)


@dataclass(frozen=True)
class Undecoded:
    """A picture that is converted only when somebody takes it, and when it was taken, on time.monotonic()."""

    picture: DecodedPicture
    taken: float
    decoder: Decoder

    def __call__(self) -> Image | None:
        """(H, W, 3) uint8 BGR; None where it cannot be converted."""
        try:
            return self.decoder.bgr(self.picture)
        except FAILURES:
            return None


class StreamCapture:
    """What LiveSource reads of a connection. `paced`: pictures come in bursts, as HLS sends them, and are given in time."""

    def __init__(self, decoder: Decoder, paced: bool) -> None:
        self._decoder, self._paced = decoder, paced
        self._pictures = decoder.pictures(patient=False)
        self._clock = ArrivalClock(paced)
        # FFmpeg counts 25 a second where a format has no stamps, as multipart JPEG has none, whatever the camera gives.
        self._stamped = not decoder.container.format.flags & _NO_STAMPS

    def read(self) -> tuple[bool, Any]:
        """The next picture, not yet converted."""
        picture = next(self._pictures, None)
        if picture is None:
            return False, None
        now = time.monotonic()
        taken = self._clock.taken(picture.stamp if self._stamped else None, now)
        if self._paced and taken > now:
            time.sleep(min(taken - now, SETTLED))
        return True, Undecoded(picture, taken, self._decoder)

    def release(self) -> None:
        """Let go of the connection."""
        self._pictures.close()
        self._decoder.container.close()


class ArrivalClock:
    """When a picture was taken, on the clock of this machine, from its own stamp and the time of its arrival.

    Stamps say how far pictures lie apart, whatever the network did to them; the picture that came quickest says where they lie on
    this machine's clock. A camera whose clock is slow is followed; stamps that jump, or are not there, begin anew at the arrival.
    """

    def __init__(self, paced: bool = False) -> None:
        """`paced`: stamps run ahead of the arrivals, as those of a burst of HLS do."""
        self._ahead = _AHEAD if paced else 0.0
        self._shift: float | None = None  # from stamp to this machine's clock
        self._arrived = self._before = 0.0

    def taken(self, stamp: float | None, now: float) -> float:
        """The time of the picture of `stamp` that arrived `now`; never before that of the last one."""
        if stamp is None:
            self._shift, at = None, now
        else:
            if self._shift is None:
                self._shift = now - stamp
            elif not self._ahead:
                self._shift += DRIFT * (now - self._arrived)
            late = now - (stamp + self._shift)
            if not -self._ahead <= late <= SETTLED:
                self._shift = now - stamp
            at = stamp + self._shift
        self._arrived = now
        self._before = max(self._before, at)
        return self._before


def refuse_srt(where: str, camera: str) -> Source:
    """SRT is not in the FFmpeg of PyAV's wheels."""
    raise Refused(
        f"{shown_address(where)} cannot be read, since the FFmpeg of PyAV is built without SRT; relay the stream as RTSP or UDP, "
        "for example with MediaMTX or ffmpeg"
    )
