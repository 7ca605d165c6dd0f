"""Keeps pictures of a run's sightings: what the cameras' thread hands over is encoded and written by another one."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.kept.folder import CLIP, PICTURE, KeptFolder, kept_name
from vreid.runtime.kept.moments import CLIP_RATE, Moments, Shot
from vreid.runtime.records import FinishedTrack, Frame
from vreid.runtime.session import Keep
from vreid.runtime.status import QueueStatus

_LOG = logging.getLogger("vreid")
ROOM, ROOM_BYTES = 1024, 128 << 20  # what may wait: steps, and the pixels that they hold
TIDY_S = 3600.0
FLUSH_S = 10.0  # for which the end of a live run waits
_CROP, _FRAME = 90, 85  # quality of JPEGs
_MOST_RATE = 1_000_000  # bits a second of a clip
_Job = Callable[[], None]


@dataclass(frozen=True)
class KeepLimits:
    """Files older than `seconds` are removed, None: none is; and the oldest beyond `most` bytes in all."""

    most: int
    seconds: float | None = None


class Keeper:
    """Of one run. Used as a context; leaving it waits for what is still to be written.

    With a live camera the run never waits: what finds no room is dropped and counted. A run over files waits, and takes what it
    wrote back if it fails.
    """

    def __init__(
        self,
        folder: KeptFolder,
        limits: KeepLimits,
        live: bool,
        about: Mapping[str, str] | None = None,
        room: int = ROOM,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        """`about` is what the report says of the folder."""
        self.folder, self.limits, self._about = folder, limits, about or {}
        self._live, self._room, self._room_bytes = live, room, room_bytes
        self._cameras: dict[str, Moments] = {}
        self._jobs: deque[tuple[_Job, int]] = deque()
        self._waiting = 0  # bytes
        self._changed = threading.Condition()
        self._over = False
        self._failure: BaseException | None = None
        self.dropped = self.failed = self.removed = self.bytes = 0
        self.counts: Counter[str] = Counter()  # files written, by what they show
        self._since = 0  # bytes written since the folder was looked at
        self._own: list[str] = []  # of a run over files: what may have to be taken back
        self._thread = threading.Thread(target=self._work, name="keep", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(wait=error is None)
        if error is not None and not self._live:
            for name in self._own:
                (self.folder.path / name).unlink(missing_ok=True)

    def see(self, frame: Frame, tracks: Mapping[int, OpenTrack], keep: Keep) -> None:
        """A frame of a camera with its open tracks."""
        if keep in ("none", "crop"):
            self._cameras.pop(frame.camera, None)
            return
        if frame.camera not in self._cameras:
            self._cameras[frame.camera] = Moments(self._encode)
        self._cameras[frame.camera].see(frame, tracks, keep)

    def ended(self, track: FinishedTrack, keep: Keep) -> FinishedTrack:
        """The track with the name of what will be kept of it, if anything is."""
        shots = self._cameras[track.camera].end(track.track) if track.camera in self._cameras else []
        ending = CLIP if keep == "clip" else PICTURE
        name = kept_name(track.camera, track.seen, track.track, ending)
        if keep == "none" or not (shots or keep == "crop"):
            return track
        self.folder.expect(name)
        if keep == "crop":
            put = self._put(partial(self._write_crop, name, track.picture), track.picture.nbytes)
        elif keep == "frame":
            put = self._put(partial(self._write_frame, name, shots[-1]), 0)
        else:
            size = sum(len(shot.jpeg) for shot in shots if shot.jpeg)  # that of the others waits as pixels
            put = self._put(partial(self._write_clip, name, shots), size)
        if not put:
            self.folder.is_wanted(name)  # it never comes
            return track
        return replace(track, kept=name)

    def finish(self) -> None:
        """Wait until all is written; raises what the thread failed with."""
        self._end()
        if self._failure is not None:
            raise self._failure
        if self.dropped:
            _LOG.warning(
                "%d steps of keeping pictures were dropped, since the disk or the processor is too slow", self.dropped
            )

    def status(self) -> QueueStatus:
        """What waits now; for any thread."""
        return QueueStatus(len(self._jobs), self._room, self.dropped)

    def summary(self) -> dict[str, Any]:
        """What was kept so far, for the report."""
        return {
            **self._about,
            **{what: self.counts[what] for what in ("crop", "frame", "clip")},
            "bytes": self.bytes,
            "dropped": self.dropped,
            "failed": self.failed,
            "removed": self.removed,
        }

    def _end(self, wait: bool = True) -> None:
        with self._changed:
            self._over = True
            if not wait:
                self._jobs.clear()
            self._changed.notify_all()
        self._thread.join(FLUSH_S if self._live else None)
        with self._changed:
            self.dropped += len(self._jobs)
            self._jobs.clear()
        self._thread.join(FLUSH_S if self._live else None)  # a disk that hangs is left

    def _encode(self, shot: Shot, image: Image) -> bool:
        def encode() -> None:
            shot.jpeg = _jpeg(image, _FRAME)

        return self._put(encode, image.nbytes)

    def _put(self, job: _Job, size: int) -> bool:
        """Whether there is room; raises what the thread failed with."""
        if self._failure is not None:
            raise self._failure
        with self._changed:
            while self._jobs and (len(self._jobs) >= self._room or self._waiting + size > self._room_bytes):
                if self._live or self._failure is not None:
                    break
                self._changed.wait()
            else:
                self._jobs.append((job, size))
                self._waiting += size
                self._changed.notify_all()
                return True
        if self._failure is not None:
            raise self._failure
        if not self.dropped:
            _LOG.warning("pictures are not kept as fast as they come; what finds no room is dropped and counted")
        self.dropped += 1
        return False

    def _work(self) -> None:
        due = time.monotonic()
        try:
            while True:
                if time.monotonic() >= due or self._since > self.limits.most // 100:
                    self._tidy()
                    due = time.monotonic() + TIDY_S
                with self._changed:
                    if not self._jobs and not self._over:
                        self._changed.wait(max(0.0, due - time.monotonic()))
                    if not self._jobs:
                        if self._over:
                            break
                        continue
                    job, size = self._jobs.popleft()
                    self._waiting -= size
                    self._changed.notify_all()
                job()
            self._tidy()
        except BaseException as failure:  # noqa: BLE001  raised by the next call
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _tidy(self) -> None:
        """Remove what is too old or too much."""
        self._since = 0
        if self.limits.seconds is not None:
            self.removed += self.folder.remove_before(time.time() - self.limits.seconds)
        self.removed += self.folder.remove_oldest(self.limits.most)

    def _write_crop(self, name: str, picture: Image) -> None:
        self._write("crop", name, lambda: self.folder.write(name, _jpeg(picture, _CROP)))

    def _write_frame(self, name: str, shot: Shot) -> None:
        self._write("frame", name, lambda: self.folder.write(name, shot.encoded))

    def _write_clip(self, name: str, shots: list[Shot]) -> None:
        from vreid.runtime.sinks.annotate import written_video

        def write() -> int:
            pictures = [(shot.time, _decoded(shot.encoded)) for shot in shots]
            height, width = pictures[0][1].shape[:2]
            with self.folder.replacing(name) as path:
                with written_video(path, (width, height), CLIP_RATE, _MOST_RATE) as frame:
                    for moment, image in pictures:
                        fits = image.shape[:2] == (height, width)  # a camera may come back with another size
                        image = image if fits else np.asarray(cv2.resize(image, (width, height)), np.uint8)
                        frame(image, moment - pictures[0][0])
                return path.stat().st_size

        self._write("clip", name, write)

    def _write(self, what: str, name: str, write: Callable[[], int]) -> None:
        """A disk that is full or away is said once and counted; the run goes on. What was removed meanwhile is nothing."""
        if not self._live and not (self.folder.path / name).exists():
            self._own.append(name)
        try:
            size = write()
        except (OSError, Refused) as error:
            if not self.folder.is_wanted(name):  # its temporary file was removed
                return
            self.failed += 1
            if self.failed == 1:
                why = getattr(error, "strerror", None) or error
                _LOG.warning("the folder of kept pictures %s cannot be written to (%s)", self.folder.path, why)
            return
        if not self.folder.is_wanted(name):
            return
        self.counts[what] += 1
        self.bytes, self._since = self.bytes + size, self._since + size


def _jpeg(image: Image, quality: int) -> bytes:
    done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV makes no JPEG of a picture of shape {image.shape}")
    return bytes(jpeg.tobytes())


def _decoded(jpeg: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
