"""How densely the site's vehicles lie around each one, so that a score says how much two features stand out from the others.

A white van looks like every white van: its cosines to strangers are all high, and one threshold for all features either takes
it for somebody else or never finds a rare vehicle again. Half of what both features' nearest neighbours have in common is
therefore taken off their score,

    s(x, y) - (d(x) - mean d) / 4 - (d(y) - mean d) / 4,   d(x): mean s of x to its nearest tenth of the last tracks,

with s = -log(1 - cosine) (after cross-domain similarity local scaling, Conneau et al., ICLR 2018, section 2.3, and adaptive score
normalisation as in Matejka et al., Interspeech 2017; the weight of a half, the tenth and the mean, which leaves the scale as it
is, were chosen on synthetic scenes). It needs no labels: that a vehicle's own tracks are among the neighbours matters little.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.records import Floats

Values = NDArray[np.float64]
STALE = 16  # the mean is taken anew when one track among so many is new
ROOM = 512  # tracks that neighbours are looked for among, the last
FEWEST = 20  # tracks under which nothing is taken off
SHARE = 0.1
WEIGHT = 0.25  # of each of the two
ITSELF = 1 - 1e-6  # a cosine above this is a track's to itself


def stretched(cosines: NDArray[np.floating] | float) -> Values:
    """s = -log(1 - cosine)."""
    return np.asarray(-np.log(np.maximum(1 - np.asarray(cosines, np.float64), 1e-7)))


class Neighbourhood:
    """The last tracks of a site, of any camera."""

    def __init__(self) -> None:
        self._tracks: deque[tuple[str, Floats]] = deque(maxlen=ROOM)
        self._rows: Floats | None = None  # (N, D) without bias
        self._newer = 0  # tracks that are not in the rows
        self._mean = 0.0  # d of the rows
        self._since = 0  # tracks that are not in the mean

    def add(self, camera: str, feature: Floats) -> None:
        """One more track (D,)."""
        self._tracks.append((camera, feature))
        self._newer += 1

    def excess(self, features: Floats, bias: CameraBias) -> Values:
        """Unit features (N, D) without bias -> (N,) of d(x) - mean d; 0 while too few tracks are known."""
        if len(self._tracks) < FEWEST:
            return np.zeros(len(features))
        if self._rows is None or self._newer:
            cameras, rows = zip(*self._tracks, strict=True)
            self._rows = bias.removed(np.stack(rows), cameras)
            self._since += self._newer
            self._newer = 0
        if self._since * STALE >= len(self._tracks):
            self._mean, self._since = float(self._density(self._rows, self._rows).mean()), 0
        return np.asarray(self._density(features, self._rows) - self._mean)

    def _density(self, features: Floats, rows: Floats) -> Values:
        cosines = features @ rows.T
        cosines[cosines > ITSELF] = -1.0
        nearest = max(3, round(SHARE * len(rows)))
        return np.asarray(stretched(np.partition(cosines, -nearest, axis=1)[:, -nearest:]).mean(axis=1))
