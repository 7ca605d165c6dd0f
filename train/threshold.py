"""The open-set threshold of a trained network, calibrated on vehicles that it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vreid.models.network import ReidNetwork
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import join
from vreid.train.evaluate import Embedded, embedded
from vreid.train.reference import embed_with


def match_of(network: ReidNetwork, parts: Sequence[Dataset]) -> dict[str, Any]:
    """The fields of a manifest's `match`, at the point of equal error: as many strangers are taken for a known vehicle as
    known vehicles are missed. All validation parts together are one gallery, and what is compared are tracks, as in a run:
    the mean feature of a vehicle's pictures in one camera."""
    items = join([replace(part, train=part.query) for part in parts])
    _, pictures = embedded(Dataset("validation", (), items, items), embed_with(network))
    threshold, rate = equal_error(tracks_of(pictures))
    vehicles = len({item.vehicle for item in items})
    return {"threshold": round(threshold, 4), "false_match_rate": round(rate, 4), "gallery": vehicles}


def equal_error(tracks: Embedded) -> tuple[float, float]:
    """(threshold, error): every track asks all others, once as a stranger (its own vehicle taken away) and once as a known
    one (its vehicle in other cameras). The threshold is one of the scores; the error is the larger of the two shares."""
    scores = tracks.features @ tracks.features.T  # (T, T)
    same = tracks.vehicles[:, None] == tracks.vehicles
    stranger = np.sort(np.where(same, -np.inf, scores).max(1))
    own = np.where(same & (tracks.cameras[:, None] != tracks.cameras), scores, -np.inf).max(1)
    known = np.sort(own[np.isfinite(own)])
    stranger = stranger[np.isfinite(stranger)]
    if not len(known) or not len(stranger):
        return 0.0, 1.0
    tried = np.unique(np.concatenate([stranger, known]))
    taken = 1 - np.searchsorted(stranger, tried) / len(stranger)  # strangers with a score >= the threshold
    missed = np.searchsorted(known, tried) / len(known)  # known vehicles with a score below it
    best = int(np.maximum(taken, missed).argmin())
    return float(tried[best]), float(max(taken[best], missed[best]))


def tracks_of(pictures: Embedded) -> Embedded:
    """One row a vehicle and camera: the mean of its pictures' features at unit length."""
    pairs = np.stack([pictures.vehicles, pictures.cameras], 1)
    tracks, member = np.unique(pairs, axis=0, return_inverse=True)
    features = np.zeros((len(tracks), pictures.features.shape[1]), np.float32)
    np.add.at(features, member.ravel(), pictures.features)
    features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    return Embedded(features, tracks[:, 0], tracks[:, 1])
