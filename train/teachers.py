"""What a teacher says of the training pictures: one query a picture, asked once and kept on disk.

A black box behind an API costs by the query, and on a small machine the teacher's forward pass costs more than the student's
step. The price: the teacher sees the picture as it is, while the student sees it augmented.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vreid.models.network import ReidNetwork
from vreid.models.picture import read_picture
from vreid.train.datasets.records import Item
from vreid.train.reference import embed_with


def targets_of(
    teacher: ReidNetwork,
    items: Sequence[Item],
    store: Path,
    batch: int = 64,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Tensor:
    """(N, E) float32 of unit length, one row an item; read from `store` when it holds the same teacher's answers to the
    same pictures, otherwise asked for and written there whole or not at all."""
    asked = np.array([f"{item.path.name}:{item.vehicle}" for item in items])
    print_of = _print_of(teacher)
    if store.is_file():
        with np.load(store) as kept:
            if str(kept["teacher"]) == print_of and np.array_equal(kept["asked"], asked):
                return torch.from_numpy(kept["features"])
    embed = embed_with(teacher)
    parts = []
    for start in range(0, len(items), batch):
        parts.append(embed([read_picture(item.path) for item in items[start : start + batch]]))
        told(min(start + batch, len(items)), len(items))
    features = np.concatenate(parts)
    partial = store.with_suffix(".partial.npz")
    np.savez(partial, teacher=print_of, asked=asked, features=features)
    partial.replace(store)
    return torch.from_numpy(features)


def _print_of(teacher: ReidNetwork) -> str:
    """Tells one teacher from another: two sums over all its weights."""
    total = sum(float(value.double().sum()) for value in teacher.state_dict().values())
    spread = sum(float(value.double().abs().sum()) for value in teacher.state_dict().values())
    return f"{teacher.config.body} {total!r} {spread!r}"
