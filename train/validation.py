"""A validation part cut from train: vehicles that the training never sees. Nothing is ever chosen on test data."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vreid.train.datasets.records import Dataset, Item


def cut(dataset: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(training, validation): `share` of the vehicles move to a validation set in which every picture is a query.

    The cut depends on the data set's name, its labels and the seed alone, so teacher and student share it.
    """
    vehicles = sorted({item.vehicle for item in dataset.train})
    random = np.random.default_rng((seed, *dataset.name.encode()))
    held = set(random.permutation(vehicles)[: round(share * len(vehicles))].tolist())
    part = tuple(item for item in dataset.train if item.vehicle in held)
    kept = tuple(item for item in dataset.train if item.vehicle not in held)
    return replace(dataset, train=kept), Dataset(dataset.name, (), part, part)


def count_vehicles(items: Sequence[Item]) -> int:
    """How many vehicles are in `items`."""
    return len({item.vehicle for item in items})
