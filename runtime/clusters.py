"""Which tracks are one vehicle's: average-linkage clustering under the rule that some pairs cannot be."""

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Floats


def clustered(
    features: Floats, apart: NDArray[np.bool_], threshold: float, same: NDArray[np.bool_] | None = None
) -> list[list[int]]:
    """Unit features (N, D), `apart` (N, N) of pairs that are never one vehicle -> clusters of row numbers.

    Pairs of `same` (N, N) are as alike as can be, whatever their features say.

    Agglomerative, average linkage (Sokal and Michener 1958) of cosines: the two clusters of the highest average cosine
    between their members are joined while it reaches `threshold`, of equals the first rows; clusters that hold a pair
    set apart are never joined (a cannot-link). Each cluster rises, and they are ordered by their first row.
    O(N^2) memory; O(N^2) time when few rows share a partner.
    """
    sums = features.astype(np.float64) @ features.astype(np.float64).T  # of the cosines between two clusters' members
    sums = (sums + sums.T) / 2
    if same is not None:
        sums[same] = 1.0
    barred = apart | np.eye(len(features), dtype=np.bool_)
    sizes = np.ones(len(features))
    members = [[row] for row in range(len(features))]
    average = np.where(barred, -np.inf, sums)
    partner = average.argmax(axis=1) if len(features) else np.zeros(0, np.int64)  # of each row, the nearest
    while len(features):
        height = average[np.arange(len(features)), partner]
        one = int(height.argmax())
        if not height[one] >= threshold:
            break
        keep, gone = sorted((one, int(partner[one])))
        members[keep] += members[gone]
        members[gone] = []
        sums[keep] += sums[gone]
        sizes[keep] += sizes[gone]
        barred[keep] |= barred[gone]
        sums[:, keep], barred[:, keep] = sums[keep], barred[keep]
        barred[gone] = barred[:, gone] = True
        average[keep] = np.where(barred[keep], -np.inf, sums[keep] / (sizes[keep] * sizes))
        average[:, keep] = average[keep]
        average[gone] = average[:, gone] = -np.inf
        # An average lies between the two that it joins, so only rows that pointed at the pair can have another partner.
        stale = np.flatnonzero((partner == keep) | (partner == gone))
        stale = np.union1d(stale, [keep, gone])
        partner[stale] = average[stale].argmax(axis=1)
    return [sorted(rows) for rows in members if rows]
