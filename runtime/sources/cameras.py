"""How live cameras are opened through cv2: V4L2 devices, Jetson CSI, and GStreamer pipelines."""

import re
from pathlib import Path

import cv2

from vreid.models.errors import Refused
from vreid.runtime.network_address import shown
from vreid.runtime.sources.live import Capture, LiveSource, Opener
from vreid.runtime.sources.table import Source

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
    refusal = f"the pipeline '{shown(where)}' gives no picture; try it with gst-launch-1.0"
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
