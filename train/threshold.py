"""The open-set threshold of a trained network, calibrated on vehicles that it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vreid.models.network import ReidNetwork
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import join
from vreid.train.evaluate import Embedded, embedded, open_set_threshold
from vreid.train.reference import embed_with

FALSE_MATCH_RATE = 0.05


def match_of(network: ReidNetwork, parts: Sequence[Dataset], rate: float = FALSE_MATCH_RATE) -> dict[str, Any]:
    """The fields of a manifest's `match`: all validation parts together are one gallery, and what is compared are tracks,
    as in a run: the mean feature of a vehicle's pictures in one camera."""
    items = join([replace(part, train=part.query) for part in parts])
    _, pictures = embedded(Dataset("validation", (), items, items), embed_with(network))
    seen = tracks_of(pictures)
    threshold, vehicles = open_set_threshold(seen, seen, rate)
    return {"threshold": round(threshold, 4), "false_match_rate": rate, "gallery": vehicles}


def tracks_of(pictures: Embedded) -> Embedded:
    """One row a vehicle and camera: the mean of its pictures' features at unit length."""
    pairs = np.stack([pictures.vehicles, pictures.cameras], 1)
    tracks, member = np.unique(pairs, axis=0, return_inverse=True)
    features = np.zeros((len(tracks), pictures.features.shape[1]), np.float32)
    np.add.at(features, member.ravel(), pictures.features)
    features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    return Embedded(features, tracks[:, 0], tracks[:, 1])
