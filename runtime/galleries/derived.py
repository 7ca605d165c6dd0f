"""From an index of prototypes to a search for vehicles: derived from the gallery's file, filled when first needed."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from vreid.runtime.galleries.table import Index, open_index
from vreid.runtime.records import Floats

Found = tuple[int, float]  # a vehicle and its score


class VehicleIndex:
    """Prototypes by vehicle over a member of INDEXES; a vehicle's score is the best cosine of its prototypes."""

    def __init__(self, kind: str, dim: int) -> None:
        self._index: Index = open_index(kind, dim)
        self._owner: dict[int, int] = {}
        self._held: Counter[int] = Counter()
        self._widest = 1  # the most prototypes that one vehicle ever had here

    def __len__(self) -> int:
        return len(self._index)

    def add(self, prototypes: Sequence[int], vehicles: Sequence[int], features: Floats) -> None:
        """Features (N, D) of unit length; a prototype that is there already gets the new feature."""
        self.remove([prototype for prototype in prototypes if prototype in self._owner])
        self._index.add(np.array(prototypes, np.int64), features)
        self._owner.update(zip(prototypes, vehicles, strict=True))
        self._held.update(vehicles)
        self._widest = max(self._widest, *(self._held[vehicle] for vehicle in vehicles))

    def remove(self, prototypes: Iterable[int]) -> None:
        """Forget prototypes that are here."""
        gone = list(prototypes)
        if gone:
            self._index.remove(np.array(gone, np.int64))
            for prototype in gone:
                self._held[self._owner.pop(prototype)] -= 1

    def search(self, features: Floats, k: int) -> list[list[Found]]:
        """Unit features (B, D) -> for each the best k vehicles, falling; of equals the older one first."""
        # (k - 1) vehicles have at most (k - 1) x widest prototypes, so one more must meet the k-th vehicle.
        reach = min(len(self), (k - 1) * self._widest + 1)
        if not len(features) or not reach:
            return [[] for _ in features]
        scores, ids = self._index.search(features, reach)
        return [self._best(*row, k) for row in zip(scores.tolist(), ids.tolist(), strict=True)]

    def _best(self, scores: list[float], prototypes: list[int], k: int) -> list[Found]:
        best: dict[int, float] = {}
        for score, prototype in zip(scores, prototypes, strict=True):
            if prototype >= 0:
                best.setdefault(self._owner[prototype], score)
        return sorted(best.items(), key=lambda found: (-found[1], found[0]))[:k]
