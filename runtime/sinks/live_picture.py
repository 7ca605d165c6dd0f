"""`picture/<camera>.jpg` of a live run: its newest picture with boxes and ids, those that are provisional marked."""

from collections.abc import Mapping
from pathlib import Path

import cv2

from vreid.models.files import write_atomic
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.records import Floats, Frame, TrackEvent
from vreid.runtime.sinks.annotate import Label, drawn_on, label_of

EVERY_S = 1.0
_QUALITY = 80


class TrackLabels:
    """What is known of the open tracks, by their events, and so what is drawn of them in a frame."""

    def __init__(self) -> None:
        self._labels: dict[tuple[str, int], Label] = {}

    def event(self, event: TrackEvent) -> None:
        """What is known of a track from now on."""
        key = (event.track.camera, event.track.track)
        if event.state == "left":
            self._labels.pop(key, None)
        else:
            self._labels[key] = label_of(event.match, event.track, event.final)

    def boxes(self, frame: Frame, tracks: Mapping[int, OpenTrack]) -> list[tuple[Floats, Label]]:
        """The boxes of a camera's open tracks that are in this frame and of which something is known, with their labels."""
        seen = {number: track.box for number, track in tracks.items() if track.last[0] == frame.index}
        labels = {number: self._labels.get((frame.camera, number)) for number in seen}
        return [(seen[number], label) for number, label in labels.items() if label is not None]


class LivePictures(TrackLabels):
    """A follower whose pictures are drawn by the thread of the cameras; each is complete whenever somebody reads it."""

    def __init__(self, folder: Path, every: float = EVERY_S) -> None:
        """`folder` exists; a camera's picture is replaced every `every` seconds at most."""
        super().__init__()
        self._folder, self._every = folder, every
        self._drawn: dict[str, float] = {}

    def show(self, frame: Frame, tracks: Mapping[int, OpenTrack]) -> None:
        """Draw the open tracks of a camera into its newest frame, if it is time."""
        if frame.time - self._drawn.get(frame.camera, float("-inf")) < self._every:
            return
        self._drawn[frame.camera] = frame.time
        drawn = drawn_on(frame.image, self.boxes(frame, tracks))
        done, jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if done:
            write_atomic(self._folder / f"{frame.camera}.jpg", jpeg.tobytes())
