"""Tracks that look like one vehicle, joined: agglomerative clustering of margins with cannot-links."""

import numpy as np
from numpy.typing import NDArray


def clustered(
    cosines: NDArray[np.float64],
    least: NDArray[np.float64],
    apart: NDArray[np.bool_],
    same: NDArray[np.bool_] | None = None,
) -> list[list[int]]:
    """Cosines (N, N) and what is enough (N, N), `apart` (N, N) of pairs that are never one vehicle -> clusters of row numbers.

    Pairs of `same` (N, N) are as alike as can be, whatever their features say.

    Agglomerative, average linkage (Sokal and Michener 1958) of margins, which are cosines less `least`: the two clusters of
    the highest average margin between their members are joined while it is not negative, of equals the first rows; clusters
    that hold a pair set apart are never joined (a cannot-link). Each cluster rises, and they are ordered by their first row.
    O(N^2) memory; O(N^2) time when few rows share a partner.
    """
    sums = np.where(same, 1.0, (cosines + cosines.T) / 2) if same is not None else (cosines + cosines.T) / 2
    sums -= least  # of the margins between two clusters' members
    barred = apart | np.eye(len(cosines), dtype=np.bool_)
    sizes = np.ones(len(cosines))
    members = [[row] for row in range(len(cosines))]
    average = np.where(barred, -np.inf, sums)
    partner = average.argmax(axis=1) if len(cosines) else np.zeros(0, np.int64)  # of each row, the nearest
    while len(cosines):
        height = average[np.arange(len(cosines)), partner]
        one = int(height.argmax())
        if not height[one] >= 0:
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
