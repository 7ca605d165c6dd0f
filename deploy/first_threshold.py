"""The first threshold of a model, which `vreid train` leaves in the checkpoint: the point of equal error on the validation part.

`vreid verify` calibrates another on a test part (deploy/threshold.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vreid.deploy.threshold import tracks_of
from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from, save_checkpoint
from vreid.models.network import ReidNetwork
from vreid.models.preprocess import Floats
from vreid.train.data.records import Dataset
from vreid.train.data.split import join
from vreid.train.evaluate import Embedded, embed_with, embedded, numbers_of, rows_among

ROAD = 20  # vehicles of a gallery: a road with a few cameras; in a larger one a stranger more easily resembles somebody
GALLERIES = 50  # that are drawn


def match_of(network: ReidNetwork, parts: Sequence[Dataset]) -> dict[str, Any]:
    """A first value of a manifest's `match`, from a training's validation parts: the threshold of equal error, at which the share
    of strangers that are taken for a known vehicle is that of known vehicles that are missed.

    It is measured in galleries of 20 vehicles, drawn from all parts together, no two of one group as long as there are enough
    groups: a group is held out whole, and no road is full of variants of one body. What is compared are tracks, as in a run:
    the mean feature of a vehicle's pictures in one camera.
    """
    return match_of_features(np.concatenate([embedded(part, embed_with(network))[0].features for part in parts]), parts)


def match_of_features(features: Floats, parts: Sequence[Dataset]) -> dict[str, Any]:
    """`match_of` by the features (N, D), of unit length, of the parts' queries, one part after the other."""
    items = join([replace(part, train=part.query) for part in parts])
    vehicles, cameras = numbers_of(item.vehicle for item in items), numbers_of(item.camera for item in items)
    places = np.array([[vehicles[item.vehicle], cameras[item.camera]] for item in items], np.int64)
    tracks = tracks_of(Embedded(features, places[:, 0], places[:, 1]))
    groups = list({item.vehicle: item.group or item.vehicle for item in items}.values())  # by a vehicle's number
    size, random = min(ROAD, len(groups)), np.random.default_rng(0)
    drawn = [
        track_scores(rows_among(tracks, np.isin(tracks.vehicles, one_of_each_group_first(groups, random)[:size])))
        for _ in range(GALLERIES)
    ]
    threshold, rate = equal_error(*(np.concatenate(scores) for scores in zip(*drawn, strict=True)))
    return {"threshold": round(threshold, 4), "false_match_rate": round(rate, 4), "gallery": size}


def one_of_each_group_first(groups: Sequence[str], random: np.random.Generator) -> list[int]:
    """The numbers of all vehicles in a drawn order, one vehicle of each group first; groups[number] is a vehicle's group."""
    drawn = random.permutation(len(groups)).tolist()
    first = {groups[number]: number for number in reversed(drawn)}
    return sorted(drawn, key=lambda number: first[groups[number]] != number)


def track_scores(tracks: Embedded) -> tuple[Floats, Floats]:
    """(strangers (T,), known (K,)): every track is a query to all others, once as a stranger, its own vehicle taken away, for the
    best score of another vehicle; once, where other cameras saw its vehicle too, for the score of that.

    The score for a vehicle is the mean cosine to its tracks, as the runtime joins tracks by average linkage.
    """
    vehicles, member = np.unique(tracks.vehicles, return_inverse=True)
    belongs = (member[:, None] == np.arange(len(vehicles))).astype(np.float32)  # (T, V)
    cosines = tracks.features @ tracks.features.T
    np.fill_diagonal(cosines, 0)
    counts = belongs.sum(0) - belongs  # of the vehicle's tracks, the query left out: (T, V)
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


def with_first_match(checkpoint: Path, parts: Sequence[Dataset]) -> Checkpoint:
    """The checkpoint of a training that is done, with a first `match` in its metrics and its file where it has none yet."""
    stored = load_checkpoint(checkpoint)
    if parts and "match" not in stored.metrics:
        stored = replace(stored, metrics={**stored.metrics, "match": match_of(network_from(stored), parts)})
        save_checkpoint(stored, checkpoint)
    return stored
