"""A search for vehicles over an index of prototypes."""

from collections.abc import Callable, Sequence

import numpy as np

from vreid.runtime.gallery.index.row_map import GONE, IdMap
from vreid.runtime.gallery.index.table import Index, Stored, open_index
from vreid.runtime.gallery.records import Features
from vreid.runtime.records import Floats, Ints

Found = tuple[int, float]  # a vehicle and its score
Read = Callable[[Ints], Features]  # ids -> those there are: ids, vehicles, features (N, D)
FIRST = 8  # prototypes that a vehicle mostly has at most: k - 1 vehicles have so many times that, one more is of a k-th
WIDER = 4  # how many times as many are searched for when that was too few
ROUGH = 32  # candidates that a rough index is searched for at least


class VehicleIndex:
    """Prototypes by vehicle over a member of INDEXES; a vehicle's score is the best cosine of its prototypes."""

    def __init__(self, kind: str, dim: int, read: Read, expected: int = 0) -> None:
        """`read` gives prototypes' features from the file: what a rough index finds is compared again."""
        self.member: Index = open_index(kind, dim, expected)
        self.dim, self._read = dim, read
        self._owner = IdMap()

    def __len__(self) -> int:
        return len(self._owner)

    @property
    def worn(self) -> bool:
        """Whether it should be rebuilt."""
        return self.member.worn

    def add(self, prototypes: Ints, vehicles: Ints, features: Floats) -> None:
        """Features (N, D) of unit length; a prototype that is there already gets the new feature and vehicle."""
        self.member.add(prototypes, features)
        self._owner.put(prototypes, vehicles)

    def remove(self, prototypes: Ints) -> None:
        """Forget prototypes; those that are not here are passed over."""
        gone = prototypes[self._owner.of(prototypes) != GONE]
        if len(gone):
            self.member.remove(gone)
            self._owner.drop(gone)

    def search(self, features: Floats, k: int, vehicles: Sequence[int] | None = None) -> list[list[Found]]:
        """Unit features (B, D) -> for each the best k of `vehicles` (None: all), falling; of equals the older first."""
        among = None if vehicles is None else self._of(vehicles)
        most = len(self) if among is None else len(among)
        best: list[list[Found]] = [[] for _ in features]
        left = np.arange(len(features) if most else 0)
        # The first k different vehicles in the falling list of prototypes are the best; it is lengthened until they are in.
        reach = FIRST * (k - 1) + 1
        reach = max(ROUGH, reach) if self.member.rough else reach
        while len(left):
            reach = min(reach, most)
            scores, ids = self.member.search(features[left], reach, among)
            ended = (ids[:, -1] == GONE) | (reach == most)
            if self.member.rough:
                scores = self._compared(features[left], ids)
            owners = self._owner.of(ids.ravel()).reshape(ids.shape)
            for place, row, owner in zip(left.tolist(), scores, owners, strict=True):
                best[place] = _best(row.tolist(), owner.tolist(), k)
            left = left[~ended & (np.array([len(best[place]) for place in left]) < k)]
            reach *= WIDER
        return best

    def kept(self) -> tuple[object, dict[str, Ints]]:
        """What a file of this index holds: what FAISS writes (None: not worth it) and arrays; see `Stored`."""
        index, arrays = self.member.kept() if isinstance(self.member, Stored) else (None, {})
        prototypes, vehicles = self._owner.items()
        return index, {**arrays, "prototypes": prototypes, "vehicles": vehicles}

    def restored(self, index: object, arrays: dict[str, Ints]) -> None:
        """Into an empty one, what `kept` gave. Raises KeyError or ValueError when it does not fit."""
        if not isinstance(self.member, Stored):
            raise ValueError("this index is not kept in files")
        self.member.restored(index, arrays)
        self._owner = IdMap(arrays["prototypes"], arrays["vehicles"])
        if len(self.member) != len(self._owner):
            raise ValueError("an index of another number of prototypes")

    def _of(self, vehicles: Sequence[int]) -> Ints:
        prototypes, owners = self._owner.items()
        return prototypes[np.isin(owners, np.asarray(vehicles, np.int64))]

    def _compared(self, features: Floats, ids: Ints) -> Floats:
        """(B, R) cosines of what was found, by the features in the file; -inf for what is no longer there."""
        there, _, rows = self._read(np.unique(ids[ids != GONE]))
        scores = np.full(ids.shape, -np.inf, np.float32)
        if len(there):
            at = np.minimum(np.searchsorted(there, ids), len(there) - 1)
            for place, feature in enumerate(features):
                scores[place] = rows[at[place]] @ feature
            scores[there[at] != ids] = -np.inf
        return scores


def _best(scores: list[float], owners: list[int], k: int) -> list[Found]:
    best: dict[int, float] = {}
    for score, vehicle in zip(scores, owners, strict=True):
        if vehicle != GONE and score > best.get(vehicle, -np.inf):
            best[vehicle] = score
    return sorted(best.items(), key=lambda found: (-found[1], found[0]))[:k]
