"""Clusters of tracks are those of average linkage written out, under the pairs that are set apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vreid.runtime.identify import clustered
from vreid.runtime.records import Floats


def naive_clusters(features: Floats, apart: NDArray[np.bool_], threshold: float) -> list[list[int]]:
    """Average linkage as it is written: every pair of clusters, every pair of members, again after each joining."""
    cosines, clusters = features.astype(float) @ features.astype(float).T, [[row] for row in range(len(features))]
    while True:
        best = (threshold, 0, 0)
        for one in range(len(clusters)):
            for other in range(one + 1, len(clusters)):
                block = np.ix_(clusters[one], clusters[other])
                if not apart[block].any() and cosines[block].mean() >= best[0]:
                    best = (float(cosines[block].mean()), one, other)
        _, one, other = best
        if one == other:
            return [sorted(cluster) for cluster in clusters]
        clusters[one] += clusters.pop(other)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 30])
def test_clusters_are_those_of_plain_average_linkage(count: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(count, 4)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        apart = np.triu(rng.random((count, count)) < 0.15, 1)
        apart |= apart.T
        assert clustered(features, apart, 0.5) == naive_clusters(features, apart, 0.5)
