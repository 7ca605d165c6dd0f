"""Exact scores of features against chosen vehicles, whatever the gallery is searched through."""

from collections.abc import Sequence

import numpy as np

from vreid.runtime.gallery.records import Compare, VehicleScores
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats


def vehicle_scores(source: FeatureSource, features: Floats, vehicles: Sequence[int], compare: Compare) -> VehicleScores:
    """Unit features (B, D) -> what is best of each vehicle's prototypes; see `VehicleScores`."""
    wanted, columns = np.unique(np.asarray(vehicles, np.int64), return_inverse=True)
    shape = len(features), len(wanted)
    cosines, margins = np.full(shape, -1.0, np.float32), np.full(shape, -np.inf)
    best_views = np.full(shape, "", object)
    lines = np.arange(len(features))
    for owners, rows, views in source.of_vehicles(wanted):
        found, least = compare(features, rows, views.tolist(), owners)  # (B, N)
        over = found - least
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        for first, end in zip(starts, [*starts[1:], len(owners)], strict=True):
            at = int(np.searchsorted(wanted, owners[first]))
            place = first + over[:, first:end].argmax(axis=1)
            better = over[lines, place] > margins[:, at]
            cosines[better, at] = found[lines, place][better]
            margins[better, at] = over[lines, place][better]
            best_views[better, at] = views[place][better]
    return VehicleScores(cosines[:, columns], margins[:, columns], best_views[:, columns])
