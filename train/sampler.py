"""Batches of P vehicles with K pictures each, or of any pictures; pure functions of their arguments, so that a run resumes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from vreid.train.datasets.records import Item


def pk_batches(items: Sequence[Item], p: int, k: int, seed: int, epoch: int, limit: int = 0) -> list[list[int]]:
    """Batches of p * k indices into `items`.

    Each vehicle's pictures are shuffled, dealt out so that a group of k holds as many cameras as it can, and cut in groups;
    a short last group is filled from the vehicle's others (a vehicle of fewer than k pictures is repeated). A batch never
    holds a vehicle twice. `limit` caps the groups a vehicle gives in one epoch (0: none), so that one rich data set
    does not crowd out a poor one.
    """
    random = np.random.default_rng((seed, epoch))
    by_vehicle: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_vehicle[item.vehicle].append(index)
    waiting: dict[str, list[list[int]]] = {}
    for vehicle, indices in by_vehicle.items():
        groups = _groups(items, indices, k, random)
        waiting[vehicle] = groups[:limit] if limit else groups
    batches = []
    while len(waiting) >= p:
        batch = []
        for vehicle in _vehicles(waiting, p, random):
            batch += waiting[vehicle].pop()
            if not waiting[vehicle]:
                del waiting[vehicle]
        batches.append(batch)
    return batches


def random_batches(items: Sequence[Item], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of `size` indices into `items`, every picture once an epoch but for an incomplete last batch; labels are not
    looked at. Fewer pictures than `size` make one batch."""
    order = np.random.default_rng((seed, epoch)).permutation(len(items)).tolist()
    whole = len(order) // size * size
    return [order[start : start + size] for start in range(0, whole, size)] if whole else [order]


def _vehicles(waiting: Mapping[str, list[list[int]]], p: int, random: np.random.Generator) -> list[str]:
    """The p vehicles of the next batch."""
    # the vehicles with most groups left go first, ties at random: otherwise they would be left over at the end
    order = sorted(waiting, key=lambda vehicle: (-len(waiting[vehicle]), random.random()))
    head = order[: max(p, len(order) * 3 // 4)]
    return [head[place] for place in random.permutation(len(head))[:p]]


def _groups(items: Sequence[Item], indices: list[int], k: int, random: np.random.Generator) -> list[list[int]]:
    """Groups of k of one vehicle's pictures, dealt camera by camera."""
    by_camera: dict[str, list[int]] = defaultdict(list)
    for index in random.permutation(indices):
        by_camera[items[index].camera].append(int(index))
    piles = list(by_camera.values())
    random.shuffle(piles)
    dealt = [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)]
    groups = [dealt[start : start + k] for start in range(0, len(dealt), k)]
    missing = k - len(groups[-1])
    if missing:
        others = [index for index in dealt if index not in groups[-1]] or dealt
        groups[-1] = groups[-1] + [int(x) for x in random.choice(others, missing, replace=len(others) < missing)]
    return groups
