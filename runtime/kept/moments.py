"""The best moment of each track of one camera: its whole frame, or the frames around it, from a short ring of small ones."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.records import Frame
from vreid.runtime.session import Keep
from vreid.runtime.sources.rate import Due

BEFORE_S, AFTER_S = 2.0, 2.0  # of a clip, around the best moment
CLIP_RATE = 10.0  # frames a second of a clip, at most
CLIP_SIDE = 640  # pixels of its longer side, at most
BETTER = 1.1  # a moment takes the place of another when its quality is so many times as good
_RING = int(1.5 * CLIP_RATE * (BEFORE_S + AFTER_S))  # frames, whatever a source says of its times


@dataclass
class Shot:
    """A frame of a track's best moment; `jpeg` is filled by the thread that encodes."""

    time: float
    jpeg: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The JPEG, for whoever comes after the encoder."""
        if self.jpeg is None:
            raise ValueError(f"the frame at {self.time:g} s was not encoded so far")
        return self.jpeg


Encode = Callable[[Shot, Image], bool]  # False: there is no room for it


@dataclass
class _Moment:
    quality: float
    time: float
    shots: list[Shot] = field(default_factory=list)
    open: bool = False  # of a clip: more of its frames are to come


class Moments:
    """What is to be kept of the open tracks of one camera. Frames are encoded while a track is open and at no other time."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._tracks: dict[int, _Moment] = {}
        self._ring: deque[Shot] = deque(maxlen=_RING)
        self._due, self._last = Due(CLIP_RATE), -np.inf
        self._keep: Keep = "none"

    def see(self, frame: Frame, tracks: Mapping[int, OpenTrack], keep: Keep) -> None:
        """The open tracks after a frame was looked at."""
        for number in self._tracks.keys() - tracks.keys():
            del self._tracks[number]  # it ended and was no vehicle
        if keep != self._keep or frame.time < self._last:  # a site was reloaded; the camera was opened anew
            self._tracks.clear()
            self._ring.clear()
            self._due = Due(CLIP_RATE)
        self._keep, self._last = keep, frame.time
        better = [
            number for number, track in tracks.items() if track.picture is not None
            and (number not in self._tracks or track.best > BETTER * self._tracks[number].quality)
        ]  # fmt: skip
        if keep == "frame":
            self._see_frame(frame, tracks, better)
        elif keep == "clip":
            self._see_clip(frame, tracks, better)

    def _see_frame(self, frame: Frame, tracks: Mapping[int, OpenTrack], better: list[int]) -> None:
        shot = Shot(frame.time)
        if better and self._encode(shot, frame.image):  # one picture for all tracks that look best in it
            for number in better:
                self._tracks[number] = _Moment(tracks[number].best, frame.time, [shot])

    def _see_clip(self, frame: Frame, tracks: Mapping[int, OpenTrack], better: list[int]) -> None:
        if tracks and self._due.now(frame.time):
            shot = Shot(frame.time)
            if self._encode(shot, _small(frame.image)):
                self._ring.append(shot)
        for number in better:
            shots = self._tracks[number].shots if number in self._tracks else []
            self._tracks[number] = _Moment(tracks[number].best, frame.time, shots, open=True)
        for moment in self._tracks.values():
            if moment.open and frame.time >= moment.time + AFTER_S:
                self._close(moment)

    def _close(self, moment: _Moment) -> None:
        around = [s for s in self._ring if moment.time - BEFORE_S <= s.time <= moment.time + AFTER_S]
        moment.shots, moment.open = around or moment.shots, False

    def end(self, track: int) -> list[Shot]:
        """The frames of a track that has ended, by time; none if there was no room for any."""
        moment = self._tracks.pop(track, None)
        if moment is None:
            return []
        if moment.open:
            self._close(moment)
        return moment.shots


def _small(image: Image) -> Image:
    """At most CLIP_SIDE pixels long; a copy, so that the frame may be let go."""
    height, width = image.shape[:2]
    scale = min(1.0, CLIP_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
