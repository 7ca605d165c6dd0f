"""Whether a live camera shows something: black, blank and frozen pictures are told apart from night and a still scene."""

from collections.abc import Sequence

import cv2
import numpy as np

from vreid.models.preprocess import Image

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
GAP = 5.0  # seconds without a picture after which what was before says nothing of now


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
        if now - self._looked > GAP:
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
        if before is not None and self._well < 2 and step <= GAP:  # one key frame alone is no recovery
            self.seconds[before] += step
        certain = next((sign for sign in signs if now - self._since[sign] >= _AFTER[sign]), None)
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


_AFTER = {"black": BLANK_AFTER, "blank": BLANK_AFTER, "frozen": FROZEN_AFTER}


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
