"""A live camera that waits for its reader: a real LiveSource that drops no frame and whose clock is the frames'.

What a run makes of a live camera must not hang on how busy the machine is, and a camera that gives frames by the clock on the
wall loses some on a busy one. This one gives the next frame when the last has been worked off, `rate` of them a second by
their stamps, however long that took.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vreid.models.preprocess import Image
from vreid.runtime.records import Frame
from vreid.runtime.sources.live import LiveSource
from vreid.runtime.sources.table import open_source

EMPTY = 40  # frames of the first picture before the others, from which a detector of motion learns the road


class _Capture:
    """The frames again and again; each waits until somebody wants it."""

    def __init__(self, frames: Sequence[Image], wanted: threading.Semaphore) -> None:
        self._frames, self._wanted, self._given, self._over = frames, wanted, 0, False

    def read(self) -> tuple[bool, Any]:
        while not self._wanted.acquire(timeout=0.05):
            if self._over:
                return False, None
        self._given += 1
        return True, self._frames[max(0, self._given - EMPTY) % len(self._frames)]

    def leave(self) -> None:
        self._over = True

    def release(self) -> None:
        pass


class PacedCamera(LiveSource):
    """A LiveSource of a video, (H, W, 3) uint8 BGR a frame, without end."""

    def __init__(self, camera: str, video: Path, rate: float = 30.0) -> None:
        self._wanted_now, self._rate = threading.Semaphore(1), rate
        capture = self._paced = _Capture([frame.image for frame in open_source(str(video))], self._wanted_now)
        super().__init__(camera, lambda: (capture, rate), f"{video} gives no picture")

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            yield replace(frame, time=frame.index / self._rate)
            self._wanted_now.release()

    def close(self) -> None:
        self._paced.leave()
        super().close()


def open_paced(where: str, camera: str) -> PacedCamera:
    """A member of the seam of sources."""
    return PacedCamera(camera, Path(where))
