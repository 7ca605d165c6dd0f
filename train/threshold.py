"""The open-set threshold of a trained network, calibrated on vehicles that it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vreid.models.network import ReidNetwork
from vreid.train.data.records import Dataset
from vreid.train.data.split import join
from vreid.train.evaluate import Embedded, Floats, embed_with, embedded

GALLERY = 20  # vehicles: a road with a few cameras; strangers find a look-alike more easily in a larger one
DRAWS = 50


def match_of(network: ReidNetwork, parts: Sequence[Dataset], gallery: int = GALLERY, seed: int = 0) -> dict[str, Any]:
    """The fields of a manifest's `match`, at the point of equal error: as many strangers are taken for a known vehicle as
    known vehicles are missed, in galleries of `gallery` vehicles drawn from all validation parts together.

    What is compared are tracks, as in a run: the mean feature of a vehicle's pictures in one camera.
    """
    items = join([replace(part, train=part.query) for part in parts])
    _, pictures = embedded(Dataset("validation", (), items, items), embed_with(network))
    tracks = tracks_of(pictures)
    vehicles = np.unique(tracks.vehicles)
    size, random = min(gallery, len(vehicles)), np.random.default_rng(seed)
    drawn = [scores_of(_part(tracks, random.choice(vehicles, size, replace=False))) for _ in range(DRAWS)]
    threshold, rate = equal_error(*(np.concatenate(side) for side in zip(*drawn, strict=True)))
    return {"threshold": round(threshold, 4), "false_match_rate": round(rate, 4), "gallery": size}


def tracks_of(pictures: Embedded) -> Embedded:
    """One row a vehicle and camera: the mean of its pictures' features at unit length."""
    pairs = np.stack([pictures.vehicles, pictures.cameras], 1)
    tracks, member = np.unique(pairs, axis=0, return_inverse=True)
    features = np.zeros((len(tracks), pictures.features.shape[1]), np.float32)
    np.add.at(features, member.ravel(), pictures.features)
    features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    return Embedded(features, tracks[:, 0], tracks[:, 1])


def scores_of(tracks: Embedded) -> tuple[Floats, Floats]:
    """(strangers (T,), known (K,)): every track asks all others, once as a stranger, its own vehicle taken away, for the best
    score of another vehicle; once, where other cameras saw its vehicle too, for the score of that.

    The score for a vehicle is the mean cosine to its tracks, as the runtime joins tracks by average linkage.
    """
    vehicles, member = np.unique(tracks.vehicles, return_inverse=True)
    belongs = (member[:, None] == np.arange(len(vehicles))).astype(np.float32)  # (T, V)
    cosines = tracks.features @ tracks.features.T
    np.fill_diagonal(cosines, 0)
    counts = belongs.sum(0) - belongs  # of the vehicle's tracks, the asking one left out: (T, V)
    scores = np.where(counts > 0, cosines @ belongs / np.maximum(counts, 1), -np.inf)
    own = scores[belongs > 0]
    stranger = np.where(belongs > 0, -np.inf, scores).max(1)
    return stranger[np.isfinite(stranger)], own[np.isfinite(own)]


def equal_error(stranger: Floats, known: Floats) -> tuple[float, float]:
    """(threshold, error): the score at which the larger of two shares is least, that of strangers at or above it and that
    of known ones below it."""
    if not len(known) or not len(stranger):
        return 0.0, 1.0
    stranger, known = np.sort(stranger), np.sort(known)
    tried = np.unique(np.concatenate([stranger, known]))
    taken = 1 - np.searchsorted(stranger, tried) / len(stranger)
    missed = np.searchsorted(known, tried) / len(known)
    best = int(np.maximum(taken, missed).argmin())
    return float(tried[best]), float(max(taken[best], missed[best]))


def _part(tracks: Embedded, vehicles: np.ndarray[Any, np.dtype[np.int64]]) -> Embedded:
    """The tracks of some vehicles."""
    rows = np.isin(tracks.vehicles, vehicles)
    return Embedded(tracks.features[rows], tracks.vehicles[rows], tracks.cameras[rows])
