"""Batches of P vehicles with K pictures each, or of pictures that a teacher finds alike; pure functions of their arguments, so
that a run resumes."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vreid.models.network import unit
from vreid.train.data.records import Item
from vreid.train.recipe import Recipe

Draw = Callable[[int], list[list[int]]]  # an epoch, from 0 -> its batches
Mix = Sequence[tuple[int, float]]  # (pictures, share of an epoch's groups) of each data set, in the order of the items
NEAR = 64  # of the pictures that a teacher finds most alike, those that are left may share a group


def drawing(recipe: Recipe, items: Sequence[Item], teachers: Sequence[Tensor], seed: int, mix: Mix = ()) -> Draw:
    """What gives the batches of a recipe: of vehicles or, without labels, of what the teachers, whose embeddings of the items are
    K x (N, E_k), find alike. `mix` weighs the data sets of vehicles."""
    if recipe.labels:
        return lambda epoch: pk_batches(items, recipe.p, recipe.k, seed, epoch, recipe.limit, mix)
    near = nearest(teachers, NEAR)
    return lambda epoch: unlabelled_batches(near, recipe.p, recipe.k, seed, epoch)


def pk_batches(
    items: Sequence[Item], p: int, k: int, seed: int, epoch: int, limit: int = 0, mix: Mix = ()
) -> list[list[int]]:
    """Batches of p * k indices into `items`.

    Each vehicle's pictures are shuffled, dealt out so that a group of k holds as many cameras as it can, and cut in groups;
    a short last group is filled from the vehicle's others (a vehicle of fewer than k pictures is repeated). A batch never
    holds a vehicle twice. `limit` caps the groups a vehicle gives in one epoch (0: none), so that one large data set
    does not displace a small one. With a `mix` an epoch has as many groups as without, of each data set its share: some of them
    where it has too many, and further groups of its vehicles' pictures where it has too few.
    """
    random = np.random.default_rng((seed, epoch))
    by_vehicle: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_vehicle[item.vehicle].append(index)
    cameras = [item.camera for item in items]

    def dealt(indices: list[int]) -> list[list[int]]:
        groups = _groups(cameras, indices, k, random)
        return groups[:limit] if limit else groups

    waiting = {vehicle: dealt(indices) for vehicle, indices in by_vehicle.items()}
    if mix:
        waiting = _mixed(waiting, by_vehicle, dealt, mix, random)
    batches = []
    queue = _Queue([len(groups) for groups in waiting.values()], random)
    stacks = list(waiting.values())
    while queue.count >= p:
        batches.append([index for vehicle in queue.draw(p) for index in stacks[vehicle].pop()])
    return batches


def unlabelled_batches(near: NDArray[np.int64], p: int, k: int, seed: int, epoch: int) -> list[list[int]]:
    """near (N, M) the M nearest pictures of each of N, as `nearest` gives them -> batches of p * k indices, labels not looked at.

    A picture drawn by chance brings the k - 1 nearest that are left, so that a batch holds pictures that are alike, as P x K
    batches do, and k of 1 is plain chance. Every picture comes once an epoch, but for an incomplete last batch; fewer
    pictures than p * k make one batch.
    """
    random, left = np.random.default_rng((seed, epoch)), np.ones(len(near), bool)
    groups: list[list[int]] = []
    for index in random.permutation(len(near)).tolist():
        if left[index]:
            left[index] = False
            mates = near[index][left[near[index]]][: k - 1]
            left[mates] = False
            groups.append([index, *mates.tolist()])
    order = [index for place in random.permutation(len(groups)) for index in groups[place]]
    whole = len(order) // (p * k) * p * k
    return [order[start : start + p * k] for start in range(0, whole, p * k)] if whole else [order]


def nearest(teachers: Sequence[Tensor], count: int, block: int = 1024) -> NDArray[np.int64]:
    """teachers K x (N, E_k), the embeddings of N pictures by each -> (N, min(count, N - 1)) the nearest others, the nearest first,
    by the mean of the teachers' cosines. Memory is that of `block` x N cosines."""
    features = torch.cat([unit(rows) for rows in teachers], 1)
    count, found = min(count, len(features) - 1), []
    for start in range(0, len(features), block):
        scores = features[start : start + block] @ features.T
        scores[torch.arange(len(scores)), torch.arange(start, start + len(scores))] = -torch.inf
        found.append(scores.topk(count).indices)
    return torch.cat(found).numpy()


def _mixed(
    waiting: dict[str, list[list[int]]],
    by_vehicle: dict[str, list[int]],
    dealt: Callable[[list[int]], list[list[int]]],
    mix: Mix,
    random: np.random.Generator,
) -> dict[str, list[list[int]]]:
    """The vehicles' groups so that each data set has its share of them: as many in all, drawn by chance, and `dealt` again where
    there are too few."""
    whole, ends = sum(map(len, waiting.values())), np.cumsum([pictures for pictures, _ in mix])
    of_set: list[list[str]] = [[] for _ in mix]
    for vehicle, indices in by_vehicle.items():
        of_set[int(np.searchsorted(ends, indices[0], side="right"))].append(vehicle)
    found: dict[str, list[list[int]]] = {}
    for vehicles, (_, share) in zip(of_set, mix, strict=True):
        wanted, pool = round(share * whole), [(vehicle, group) for vehicle in vehicles for group in waiting[vehicle]]
        order = random.permutation(len(pool)).tolist()
        while vehicles and len(order) < wanted:
            more = [(vehicle, group) for vehicle in vehicles for group in dealt(by_vehicle[vehicle])]
            order += (len(pool) + random.permutation(len(more))).tolist()
            pool += more
        for place in order[:wanted]:
            found.setdefault(pool[place][0], []).append(pool[place][1])
    return found


class _Queue:
    """Vehicles by the groups that they have left: `draw` costs p times the largest number of groups, not the vehicles."""

    def __init__(self, groups: Sequence[int], random: np.random.Generator) -> None:
        self.random, self.count = random, len(groups)
        self.levels: list[list[int]] = [[] for _ in range(max(groups, default=0) + 1)]
        for vehicle, left in enumerate(groups):
            self.levels[left].append(vehicle)

    def draw(self, p: int) -> list[int]:
        """p vehicles by chance among the three quarters with most groups left, each with a group less from now on.

        Those with many groups go first, ties at random: otherwise they would be left over at the end, too few for a batch.
        """
        head = max(p, self.count * 3 // 4)
        drawn: list[tuple[int, int]] = []
        places = sorted(self.random.choice(head, p, replace=False).tolist())
        start, at = 0, 0
        for left in range(len(self.levels) - 1, 0, -1):
            end = start + len(self.levels[left])
            wanted = bisect_left(places, min(end, head)) - at
            drawn += [(self._take(left), left) for _ in range(wanted)]
            start, at = end, at + wanted
            if at == p:
                break
        for vehicle, left in drawn:
            if left > 1:
                self.levels[left - 1].append(vehicle)
            else:
                self.count -= 1
        return [drawn[place][0] for place in self.random.permutation(p)]

    def _take(self, left: int) -> int:
        level = self.levels[left]
        place = int(self.random.integers(len(level)))
        level[place], level[-1] = level[-1], level[place]
        return level.pop()


def _groups(cameras: Sequence[str], indices: list[int], k: int, random: np.random.Generator) -> list[list[int]]:
    """Groups of k of one vehicle's pictures, dealt camera by camera; `cameras` of all pictures."""
    by_camera: dict[str, list[int]] = defaultdict(list)
    for place in random.permutation(len(indices)).tolist():
        by_camera[cameras[indices[place]]].append(indices[place])
    piles = list(by_camera.values())
    piles = [piles[place] for place in random.permutation(len(piles)).tolist()]
    dealt = [index for turn in zip_longest(*piles) for index in turn if index is not None]
    groups = [dealt[start : start + k] for start in range(0, len(dealt), k)]
    missing = k - len(groups[-1])
    if missing:
        others = dealt[: len(dealt) + missing - k] or dealt
        chosen = random.choice(len(others), missing, replace=len(others) < missing)
        groups[-1] = groups[-1] + [others[place] for place in chosen.tolist()]
    return groups
