"""Tracks that look like one vehicle, joined: agglomerative clustering of margins with cannot-links."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.scoring import Scoring
from vreid.runtime.topology import Topology, span_of
from vreid.runtime.travel_times import TravelTimes

PASSES = 6  # of the clustering, at most


def links_of(tracks: Sequence[FinishedTrack], topology: Topology) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cannot-links (N, N), of pairs that cannot be one vehicle by time, place or licence plate, and must-links (N, N), of those
    with one licence plate."""
    plates = np.array([track.plate or "" for track in tracks])
    read, same = (plates[:, None] != "") & (plates[None] != ""), plates[:, None] == plates[None]
    return topology.all_apart([span_of(track) for track in tracks]) | (read & ~same), read & same


def clusters_of(
    tracks: Sequence[FinishedTrack],
    features: Floats,
    scoring: Scoring,
    apart: NDArray[np.bool_],
    same: NDArray[np.bool_],
) -> tuple[list[list[int]], TravelTimes | None]:
    """Tracks by rising time, features (N, D), and their links -> clusters of row numbers, and the travel times that they show.

    What a track is compared with are vehicles, whose number is known when the clusters are: so it is done again with the number
    that the first pass finds, until nothing changes.
    """
    known = scoring.vehicles()
    free = (~apart).mean() / 2  # of the other tracks' vehicles; each pair is decided once
    scoring.compared = known + free * len(tracks)
    clusters = clustered(*scoring.between(tracks, features), apart, same)
    for _ in range(PASSES - 1):
        scoring.compared = known + free * len(clusters)
        weights, times = scoring.times(tracks, apart, clusters)
        found = clustered(*scoring.between(tracks, features, weights), apart, same)
        if found == clusters:
            return clusters, times
        clusters = found
    return clusters, scoring.times(tracks, apart, clusters)[1]


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
