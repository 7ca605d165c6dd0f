"""The cameras of a run as they are now: frames with boxes and ids, drawn only while somebody looks."""

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.records import Floats, Frame
from vreid.runtime.sinks.annotate import Label, drawn_on
from vreid.runtime.sinks.live_picture import TrackLabels
from vreid.serve.blurring import Blur, BlurredPictures

EVERY_S = 0.2  # between two pictures of a camera
WIDEST = 960  # pixels of a picture
_QUALITY = 75
GONE_S = 60.0  # a picture of another process that is older is not shown: its run has ended
_LOOKS_S = 5.0  # somebody who took a picture so lately counts as looking


@dataclass
class _Tile:
    """One camera: the newest frame with what is drawn in it, and the JPEG of it once somebody has taken that."""

    frame: Image | None = None
    boxes: list[tuple[Floats, Label]] = field(default_factory=list)
    number: int = 0
    jpeg: tuple[int, bytes] | None = None
    at: float = -1e9  # when the frame came, by time.monotonic
    newest: float = -1e9  # when the last one came, kept or not
    looked: float = -1e9
    drawing: threading.Lock = field(default_factory=threading.Lock)


class LiveView(TrackLabels):
    """A follower of a run, whose threads hand frames over and draw nothing; the server's threads draw."""

    every_s = EVERY_S  # in which a stream looks for a new picture

    def __init__(self, blur: Blur | None = None) -> None:
        """`blur`: what frames go through before boxes are drawn in them."""
        super().__init__()
        self._blur = blur
        self._tiles: dict[str, _Tile] = {}

    def show(self, frame: Frame, tracks: Mapping[int, OpenTrack]) -> None:
        """A frame and the open tracks of its camera; kept if somebody looks and it is time for one."""
        now, tile = time.monotonic(), self._tiles.setdefault(frame.camera, _Tile())
        tile.newest = now
        if now - tile.at < EVERY_S or (tile.frame is not None and now - tile.looked > _LOOKS_S):
            return
        tile.boxes = self.boxes(frame, tracks)
        tile.frame, tile.at, tile.number = frame.image, now, tile.number + 1

    def keep_only(self, cameras: Collection[str]) -> None:
        """Forget what the others have shown; the run goes on without them."""
        for camera in self._tiles.keys() - set(cameras):
            del self._tiles[camera]

    def cameras(self) -> list[str]:
        """Those that have shown a frame."""
        return sorted(self._tiles)

    def ages(self) -> dict[str, float]:
        """Seconds since the last frame of each camera that has a picture."""
        now = time.monotonic()
        return {camera: now - tile.newest for camera, tile in sorted(self._tiles.items())}

    def picture(self, camera: str) -> bytes | None:
        """The newest picture of a camera as a JPEG; None before its first. The next ones are kept for some seconds."""
        tile = self._tiles.get(camera)
        if tile is None:
            return None
        tile.looked = time.monotonic()
        with tile.drawing:
            if tile.frame is None:
                return None
            if tile.jpeg is None or tile.jpeg[0] != tile.number:
                number = tile.number
                frame = tile.frame if self._blur is None else self._blur(tile.frame)
                tile.jpeg = number, _drawn(frame, tile.boxes)
            return tile.jpeg[1]


class PictureFolder:
    """The live pictures that a run in another process writes (`--annotate`)."""

    every_s = 1.0

    def __init__(self, folder: Path, shown: BlurredPictures | None = None) -> None:
        """`shown`: what pictures go through before they are shown."""
        self._folder, self._shown = folder, shown or BlurredPictures()

    def cameras(self) -> list[str]:
        """Those that there are pictures of."""
        return sorted(path.stem for path in self._folder.glob("*.jpg")) if self._folder.is_dir() else []

    def ages(self) -> dict[str, float]:
        """Seconds since the picture of each camera was written; without those that are older than GONE_S."""
        return {camera: age for camera in self.cameras() if (age := self._age(camera)) <= GONE_S}

    def picture(self, camera: str) -> bytes | None:
        """The newest picture of a camera; None where it is older than GONE_S."""
        if camera not in self.ages():
            return None
        try:
            return self._shown.shown((self._folder / f"{camera}.jpg").read_bytes())
        except FileNotFoundError:
            return None

    def _age(self, camera: str) -> float:
        try:
            return max(0.0, time.time() - (self._folder / f"{camera}.jpg").stat().st_mtime)
        except FileNotFoundError:
            return float("inf")


def _drawn(image: Image, boxes: list[tuple[Floats, Label]]) -> bytes:
    scale = min(1.0, WIDEST / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else image
    done, jpeg = cv2.imencode(
        ".jpg", drawn_on(small, [(box * scale, label) for box, label in boxes]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    return jpeg.tobytes() if done else b""
