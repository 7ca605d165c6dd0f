"""The bias of each camera: what the features of one camera share and those of the others do not is light and angle.

A camera's mean feature less the mean over the cameras is taken off before features are compared, as far as the mean is
known: with n tracks by a share of n / (n + SHRINKAGE) (shrinkage towards no bias; James and Stein, 1961). A track counts once
however long it is. Features themselves stay as they are, so that nothing that is kept depends on what was learnt since.
With one camera, and for views without statistics such as enrolled photographs, nothing is taken off.

It is never taken off with a fixed threshold, and where the site's counts unless pairs that people have confirmed there show that
raw features find more (bias_gain.py). Without such pairs it is taken off, which was shown to help on synthetic scenes with known
vehicles; the report says which it is, and how much each camera's is.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Floats

SHRINKAGE = 10.0
MOST_TRACKS = 1000.0  # of a camera that count; older ones fade
FEWEST_KEPT = (
    10  # tracks of a camera under which its mean is not written down: that of one track is a vehicle's feature
)


class CameraBias:
    """Mean features by camera."""

    def __init__(self, rows: Sequence[dict[str, Any]] = (), dim: int | None = None) -> None:
        """`rows`: what `as_rows` gave earlier, of means (dim,). Raises ValueError, KeyError or TypeError for others."""
        self._means: dict[str, tuple[float, Floats]] = {}
        self._offsets: dict[str, Floats] | None = None
        for row in rows:
            mean = np.frombuffer(base64.b64decode(row["mean"], validate=True), np.dtype("<f4")).astype(np.float32)
            tracks = float(row["tracks"])
            if not (np.isfinite(mean).all() and len(mean) and 0 < tracks <= MOST_TRACKS):
                raise ValueError("a camera's mean that is not finite")
            self._means[str(row["camera"])] = tracks, mean
        lengths = {len(mean) for _, mean in self._means.values()}
        if len(lengths) > 1:
            raise ValueError("means of different lengths")
        if dim is not None and lengths - {dim}:
            raise ValueError(f"a mean of {lengths.pop()} numbers, and features have {dim}")

    def add(self, camera: str, feature: Floats) -> None:
        """One more track (D,) of `camera`."""
        tracks, mean = self._means.get(camera, (0.0, np.zeros_like(feature)))
        tracks = min(tracks + 1, MOST_TRACKS)
        self._means[camera] = tracks, np.asarray(mean + (feature - mean) / tracks, np.float32)
        self._offsets = None

    def removed(self, features: NDArray[Any], cameras: Sequence[str]) -> Floats:
        """Unit features (N, D) of N cameras -> unit features (N, D) without their cameras' bias."""
        offsets = self._all()
        if not offsets or not len(features):
            return np.asarray(features, np.float32)
        nothing = np.zeros(features.shape[1], np.float32)
        plain = features - np.stack([offsets.get(camera, nothing) for camera in cameras])
        return np.asarray(plain / np.linalg.norm(plain, axis=1, keepdims=True).clip(1e-12), np.float32)

    def without(self, tracks: Sequence[tuple[str, Floats]]) -> "CameraBias":
        """The bias as if these tracks, each a camera and a feature (D,), had not been among the others."""
        left = CameraBias()
        for camera, (count, mean) in self._means.items():
            own = [feature for one, feature in tracks if one == camera]
            if count > len(own):
                rest = count - len(own)
                left._means[camera] = rest, np.asarray((count * mean - sum(own)) / rest, np.float32)
        return left

    def tracks(self, camera: str) -> float:
        """How many count of a camera."""
        return self._means[camera][0] if camera in self._means else 0.0

    def as_rows(self) -> list[dict[str, Any]]:
        """For JSON; without the cameras of few tracks, so that no feature of a vehicle that is removed is left in it."""
        return [
            {"camera": camera, "tracks": tracks, "mean": base64.b64encode(mean.astype("<f4").tobytes()).decode()}
            for camera, (tracks, mean) in sorted(self._means.items())
            if tracks >= FEWEST_KEPT
        ]

    def summary(self) -> list[dict[str, Any]]:
        """For the report: of each camera its tracks, and how long what is taken off its features is (they are 1 long)."""
        lengths = {camera: float(np.linalg.norm(offset)) for camera, offset in self._all().items()}
        return [
            {"camera": camera, "tracks": round(self._means[camera][0]), "taken_off": round(lengths[camera], 3)}
            for camera in sorted(lengths)
        ]

    def _all(self) -> dict[str, Floats]:
        """The offset of each camera."""
        if self._offsets is None:
            self._offsets = {}
            if len(self._means) > 1:
                known = {camera: tracks / (tracks + SHRINKAGE) for camera, (tracks, _) in self._means.items()}
                total = sum(known.values())
                centre = sum(known[camera] / total * mean for camera, (_, mean) in self._means.items())
                self._offsets = {
                    camera: np.asarray(known[camera] * (mean - centre), np.float32)
                    for camera, (_, mean) in self._means.items()
                }
        return self._offsets
