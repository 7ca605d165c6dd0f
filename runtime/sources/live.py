"""Live cameras: a thread that reads, a mailbox of one frame, reconnection with back-off; and those that cv2 opens."""

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.network_address import shown_address
from vreid.runtime.records import Frame
from vreid.runtime.sources.rate import Due
from vreid.runtime.sources.table import Source

_LOG = logging.getLogger("vreid")


class Capture(Protocol):
    """What is read: the part of cv2.VideoCapture that a live source uses."""

    def read(self) -> tuple[bool, Any]:
        """Wait for a frame -> whether there is one, and (H, W, 3) uint8 BGR or (H, W) grey, or a `Later`."""
        ...

    def release(self) -> None: ...


class Later(Protocol):
    """A picture that is converted when it is wanted, and when it was taken, on time.monotonic()."""

    @property
    def taken(self) -> float: ...

    def __call__(self) -> Image | None:
        """(H, W, 3) uint8 BGR; None where it cannot be made. Called by one thread at a time."""
        ...


Opener = Callable[[], tuple[Capture, float] | None]  # a connection and its frame rate (0 if unknown); None: not now


class LiveSource:
    """Newest frame wins: a frame that nobody took when the next one came is dropped and counted.

    `index` counts what the camera gave since the iteration began, so gaps in it are drops; `time` is seconds since the
    source was opened, by a clock that nobody sets: when the picture came, or a network stream's own stamps laid on that
    clock. A camera that is away, at the start or later, is tried again after 0.5 s, then twice as long each time, up to
    30 s, less a random part so that a site's cameras do not come back at once.
    It holds one frame, for ever.
    """

    live = True

    def __init__(
        self,
        camera: str,
        opener: Opener,
        refusal: str,
        *,
        shortest: float = 0.5,
        longest: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        """Begins to seek the camera at once; `refusal` is what is said where there is nothing but a camera away."""
        self.camera, self.refusal = camera, refusal
        self.frame_rate = 0.0
        self.size = (0, 0)  # until the first frame
        self.dropped = 0
        self.notes: Sequence[str] = ()
        self.reconnects = 0  # attempts, met or not
        self._opener = opener
        self._limits = (shortest, longest)
        self._rng = rng or random.Random()
        self.began, self._born = time.time(), time.monotonic()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._health = PictureHealth()
        self._due: Due | None = None
        self._slot: tuple[int, float, Image | Later] | None = None
        self._wanted = False  # before somebody iterates nothing is counted
        self.newest = 0
        self._tried = self._ended = False
        self._taken = 0.0  # the time of the newest frame
        self._last = -np.inf  # when the newest frame came, on the frames' clock
        self._thread = threading.Thread(target=self._capture, name=f"camera {camera}", daemon=True)
        self._thread.start()

    def limit(self, rate: float | None) -> None:
        """Give at most `rate` frames a second from now on; None: all. Those left out are not counted as dropped."""
        self._due = None if rate is None else Due(rate)

    def met(self, patience: float = 10.0) -> bool:
        """Whether there is a picture: waits for the end of the first attempt, at most `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._tried, timeout=patience)
            return self._slot is not None

    @property
    def age(self) -> float:
        """Seconds since the camera gave its newest frame, taken or dropped; inf before the first."""
        return time.monotonic() - self._born - self._last

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time, waiting where there is none yet, until `close`."""
        with self._changed:
            self._wanted = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None or self._ended or self._stop.is_set())
                newest, self._slot = self._slot, None
                if newest is None or self._stop.is_set():
                    return
            index, taken, picture = newest
            image = picture() if callable(picture) else picture
            if image is not None:
                self._look(image)
                yield Frame(self.camera, index, taken, image)

    @property
    def fault(self) -> str | None:
        """What is wrong with the pictures now: black, blank (one colour) or frozen; None while all is well."""
        return self._health.fault

    @property
    def blind_s(self) -> float:
        """Seconds in which something was wrong with the pictures, in all."""
        return sum(self._health.seconds.values())

    @property
    def warnings(self) -> Sequence[str]:
        """What was wrong with the pictures so far, a sentence for each kind."""
        return self._health.warnings()

    def _look(self, image: Image) -> None:
        if self._health.look(image, time.monotonic()):
            if self.fault is None:
                _LOG.warning("%s gives pictures again", self.camera)
            else:
                _LOG.warning(
                    "%s gives %s pictures; look at the camera, its lens and its light", self.camera, self.fault
                )

    def close(self) -> None:
        """End the iteration and let go of the camera; a read that hangs is left to end by itself after 2 s."""
        self._stop.set()
        with self._changed:
            self._slot = None
            self._changed.notify_all()
        self._thread.join(timeout=2.0)

    def _capture(self) -> None:
        """The thread: only it touches the capture, so nothing is released under a read."""
        try:
            waits = pauses(*self._limits, self._rng)
            while not self._stop.is_set():
                if self._read_until_lost():
                    waits = pauses(*self._limits, self._rng)
                with self._changed:
                    self._tried = True
                    self._changed.notify_all()
                if not self._stop.wait(next(waits)):
                    self.reconnects += 1
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_until_lost(self) -> bool:
        """One connection, from opening to loss -> whether it gave a frame."""
        connection = self._opener()
        if connection is None:
            return False
        capture, self.frame_rate = connection
        met = False
        try:
            while not self._stop.is_set():
                read, image = capture.read()
                if not read or image is None:
                    break
                self._post(image if callable(image) else _bgr(image))
                met = True
        except cv2.error:  # a damaged packet: connect anew
            pass
        finally:
            capture.release()
        return met

    def _post(self, picture: "Image | Later") -> None:
        """Into the mailbox, over whatever lies there."""
        self._last = time.monotonic() - self._born
        taken = max(self._taken, picture.taken - self._born if callable(picture) else self._last)
        size = self.size
        begins = size == (0, 0)
        if begins:  # nobody else converts yet
            first = picture() if callable(picture) else picture
            if first is None:
                return
            size = first.shape[1], first.shape[0]
        if (due := self._due) is not None and not due.now(taken) and not begins:
            return  # before it is converted
        with self._changed:
            self.size = size
            if self._wanted and not begins:
                self.newest += 1
                self.dropped += self._slot is not None
            self._taken = taken
            self._slot = self.newest, taken, picture
            self._changed.notify_all()


def pauses(shortest: float, longest: float, rng: random.Random) -> Iterator[float]:
    """Seconds to wait before each attempt: doubling from `shortest` to `longest`, each anywhere in its upper half."""
    pause = shortest
    while True:
        yield rng.uniform(pause / 2, pause)
        pause = min(pause * 2, longest)


def _bgr(image: Any) -> Image:
    """(H, W), (H, W, 1) or (H, W, 3) -> (H, W, 3) uint8: infrared cameras and GRAY8 pipelines give one channel."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.asarray(image, np.uint8)


EVERY = 0.5  # seconds between the pictures that are looked at
BLANK_AFTER = 5.0  # seconds of pictures of one colour: a camera that starts up or changes to night is done by then
# Encoders repeat a still scene bit by bit until their next key frame, which most cameras send every 1 to 4 s.
FROZEN_AFTER = 10.0
# Sensors have noise in every pixel; an encoder that is given one picture again and again changes less than 1 % of them.
CHANGED = 0.01
COLOUR = 2  # levels about the median within which a pixel is of the picture's one colour
SPECKS = 0.001  # the share of pixels that may differ: a single lamp at night is more
DARK = 32  # level of the median below which one colour is called black
LOOKED_AT = 100_000  # pixels, about: the others between them are passed over
_GAP = 5.0  # seconds without a picture after which what was before says nothing of now


class PictureHealth:
    """Fed with a camera's pictures in order. `fault`: what is wrong with them, once it has lasted; None while all is well."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.seconds: dict[str, float] = {}  # by fault, in all, with the time before it was certain
        self.times: dict[str, int] = {}
        self._last: Image | None = None
        self._looked = -np.inf
        self._since: dict[str, float] = {}
        self._well = 0  # pictures in a row without a sign of a fault

    def look(self, image: Image, now: float) -> bool:
        """(H, W, 3) uint8 at `now` seconds, rising -> whether `fault` is another one than before."""
        if now - self._looked < EVERY:
            return False
        if now - self._looked > _GAP:
            self._since, self._last = {}, None
        step = now - self._looked if np.isfinite(self._looked) else 0.0
        self._looked = now
        stride = max(1, round((image.shape[0] * image.shape[1] / LOOKED_AT) ** 0.5))
        seen = np.ascontiguousarray(image[::stride, ::stride])
        signs = _signs(seen, self._last)
        self._last = seen
        self._since = {sign: self._since.get(sign, now) for sign in signs}
        self._well = 0 if signs else self._well + 1
        before = self.fault
        if before is not None and self._well < 2 and step <= _GAP:  # a single key frame is not a recovery
            self.seconds[before] += step
        certain = next((sign for sign in signs if now - self._since[sign] >= FAULT_AFTER[sign]), None)
        if certain is not None and certain != before and before not in ("black", "blank"):
            self.fault = certain
            self.times[certain] = self.times.get(certain, 0) + 1
            self.seconds[certain] = self.seconds.get(certain, 0.0) + now - self._since[certain]
        elif before is not None and self._well >= 2:
            self.fault = None
        return self.fault != before

    def warnings(self) -> list[str]:
        """What was wrong so far: a sentence for each fault."""
        return [
            f"the camera gave {fault} pictures {self.times[fault]} times, {self.seconds[fault]:.0f} s in all"
            for fault in sorted(self.times)
        ]


FAULT_AFTER = {"black": BLANK_AFTER, "blank": BLANK_AFTER, "frozen": FROZEN_AFTER}


def _signs(seen: Image, last: Image | None) -> Sequence[str]:
    """The faults that a picture shows, the graver first; `last`: the one that was looked at before."""
    signs = []
    grey = cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY)
    median = float(np.median(grey))
    if np.count_nonzero(cv2.absdiff(grey, np.full_like(grey, round(median))) > COLOUR) <= SPECKS * grey.size:
        signs.append("black" if median < DARK else "blank")
    if last is not None and last.shape == seen.shape:
        changed = np.count_nonzero(cv2.absdiff(seen, last).max(axis=2))
        if changed < CHANGED * grey.size:
            signs.append("frozen")
    return signs


# How cameras are opened through cv2: V4L2 devices, Jetson CSI, and GStreamer pipelines.

_NEWEST = "appsink drop=true max-buffers=1 sync=false"


def open_device(where: str, camera: str) -> Source:
    """/dev/video0, or any path of V4L2, such as one of /dev/v4l/by-id."""
    v4l2 = cv2.videoio_registry.hasBackend(cv2.CAP_V4L2)
    if v4l2 and not Path(where).exists():
        raise Refused(f"there is no camera {where}; plug it in, or choose one of: {_devices()}")
    number = re.fullmatch(r"/dev/video([0-9]+)", where)
    device = int(number[1]) if number else where
    opener = _opener(device, cv2.CAP_V4L2 if v4l2 else cv2.CAP_ANY)
    refusal = f"the camera {where} gives no picture; see that no other program uses it and that you may read it"
    return LiveSource(camera, opener, refusal)


def open_csi(where: str, camera: str) -> Source:
    """A Jetson's CSI camera by the number of its sensor, 1920 x 1080 at 30; other modes by gst:."""
    if not (where.isascii() and where.isdecimal()):
        raise Refused(
            f"csi://{where} is not the number of a sensor; write csi://0, or gst: with a pipeline of your own"
        )
    return _gstreamer(
        f"nvarguscamerasrc sensor-id={where} ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 "
        f"! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! {_NEWEST}",
        camera,
        f"csi://{where} gives no picture; see that the camera is connected and that nvargus-daemon runs",
    )


def open_gst(where: str, camera: str) -> Source:
    """Any pipeline; one without an appsink gets the end that makes BGR of it and keeps the newest frame."""
    if not where:
        raise Refused("gst: needs a pipeline; write, for example, 'gst:videotestsrc is-live=true'")
    pipeline = where if "appsink" in where else f"{where} ! videoconvert ! video/x-raw,format=BGR ! {_NEWEST}"
    refusal = f"the pipeline '{shown_address(where)}' gives no picture; try it with gst-launch-1.0"
    return _gstreamer(pipeline, camera, refusal)


def _gstreamer(pipeline: str, camera: str, refusal: str) -> Source:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise Refused(
            "csi:// and gst: need an OpenCV with GStreamer, which PyPI's is not; on a Jetson use JetPack's own "
            "(python3 -m venv --system-site-packages), elsewhere build it with -D WITH_GSTREAMER=ON"
        )
    return LiveSource(camera, _opener(pipeline, cv2.CAP_GSTREAMER), refusal)


def _opener(where: str | int, backend: int) -> Opener:
    """A function that connects, each time anew."""

    def connect() -> tuple[Capture, float] | None:
        try:
            capture = cv2.VideoCapture(where, backend)
        except cv2.error:  # a backend that throws in place of staying closed
            return None
        if not capture.isOpened():
            capture.release()
            return None
        rate = capture.get(cv2.CAP_PROP_FPS)
        return capture, rate if 0 < rate < 1000 else 0.0

    return connect


def _devices() -> str:
    return ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "(this machine shows none)"
