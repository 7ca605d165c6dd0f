"""What a teacher said of the pictures of a data set, in a file: one query a picture, asked once, wherever the teacher lives.

A black box behind an API costs by the query, and on a small machine the teacher's forward pass costs more than the student's
step. The price: the teacher sees the picture as it is, while the student sees it augmented. The file is an .npz without
pickles: `teacher` (which one), `pictures` (N,) names, `crc32` (N,) of their files, `features` (N, E) float32 as the teacher
gave them. A picture is found by its CRC-32, wherever it lies and whatever it is called; the name tells two pictures of one
CRC-32 apart. train/asking.py makes it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.train.arrays import DAMAGED
from vreid.train.data.identity import key_of
from vreid.train.data.records import Item


@dataclass(frozen=True)
class Features:
    """(N, E) what `teacher` said of N pictures; `asked` of them in this session, the others before."""

    teacher: str
    pictures: NDArray[np.str_]
    crc32: NDArray[np.int64]
    features: NDArray[np.float32]
    asked: int = 0


def name_of(item: Item, depth: int = 2) -> str:
    """What a picture is called in a file: the last `depth` parts of its path, wherever the data lies."""
    return "/".join(item.path.absolute().parts[-depth:])


def names_of(items: Sequence[Item]) -> list[str]:
    """The shortest names, of two parts or more, that tell all pictures apart; Refused for a picture that comes twice."""
    longest = max((len(item.path.absolute().parts) for item in items), default=2)
    for depth in range(2, longest + 1):
        names = [name_of(item, depth) for item in items]
        if len(set(names)) == len(names):
            return names
    raise Refused("the data names one picture twice; give every picture a name of its own")


def crc32_of(item: Item) -> int:
    """The CRC-32 of a picture's file; Refused when that cannot be read."""
    return key_of(item) & 0xFFFFFFFF


def read_features(path: Path) -> Features:
    """The answers in a file; Refused when it is none, or holds what no teacher says."""
    try:
        with np.load(regular(path), allow_pickle=False) as kept:
            parts: dict[str, Any] = {name: kept[name] for name in ("teacher", "pictures", "crc32", "features")}
        names, sums, features = parts["pictures"].astype(np.str_), parts["crc32"].astype(np.int64), parts["features"]
        sound = np.issubdtype(features.dtype, np.floating) and features.ndim == 2
        features = features.astype(np.float32) if sound else np.zeros((0, 0), np.float32)
    except OSError as error:
        raise Refused(f"cannot read {path} ({error.strerror or error}); give a file made by vreid teach") from error
    except DAMAGED as error:
        raise Refused(f"{path} is no feature file; make one with vreid teach") from error
    if not names.shape == sums.shape == features.shape[:1] or not features.size:
        raise Refused(f"{path} is no whole feature file; make it again with vreid teach")
    if len(set(names.tolist())) < len(names) or len({name.count("/") for name in names.tolist()}) > 1:
        raise Refused(f"{path} names a picture twice, or in two ways; make it again with vreid teach")
    if len(wrong := np.flatnonzero(~told_something(features))):
        raise Refused(f"{path} says nothing of {names[wrong[0]]}; make it again with vreid teach")
    return Features(str(parts["teacher"]), names, sums, features)


def told_something(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, E) -> (N,): whether a row is all numbers, and not all zeros, which have no direction."""
    return np.asarray(np.isfinite(features).all(1) & features.any(1))


def rows_of(told: Features, items: Sequence[Item], where: str) -> Tensor:
    """(N, E) the rows of these pictures, found by their content. Refused, by name, for a picture that the teacher was not asked
    about, or that has changed since; `where` names the file."""
    names = told.pictures.tolist()
    places: dict[int, list[int]] = {}
    for place, crc32 in enumerate(told.crc32.tolist()):
        places.setdefault(crc32, []).append(place)
    found, depth = [], str(told.pictures[0]).count("/") + 1
    for item in items:
        same = places.get(crc32_of(item), [])
        if not same:
            name = name_of(item, depth)
            if name in names:
                raise Refused(f"{where} was made of another data set: {name} is another picture there")
            raise Refused(f"{where} has no answer for {name}; ask about this data with vreid teach")
        found.append(same[0] if len(same) == 1 else _most_alike(same, names, item))
    return torch.from_numpy(told.features[found])


def digest_of_rows(told: Features) -> str:
    """16 hex digits that stand for what a teacher said, in whatever order it was asked."""
    order = np.lexsort((told.pictures, told.crc32))
    return hashlib.sha256(np.ascontiguousarray(told.features[order]).tobytes()).hexdigest()[:16]


def _most_alike(places: Sequence[int], names: Sequence[str], item: Item) -> int:
    """Of the places, the one whose name ends as the picture's does."""
    parts = item.path.absolute().parts[::-1]

    def alike(place: int) -> int:
        pairs = list(zip(parts, names[place].split("/")[::-1], strict=False))
        return next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))

    return max(places, key=alike)
