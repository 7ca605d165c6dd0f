"""The plain index: one array and one product. The reference for the others; needs only numpy."""

import numpy as np

from vreid.runtime.records import Floats, Ints


class PlainIndex:
    """Exact search over rows that lie in a doubling array; a removed row is filled by the last one."""

    rough = worn = False

    def __init__(self, dim: int, expected: int = 0) -> None:
        self._rows = np.empty((max(expected, 64), dim), np.float32)
        self._ids = np.empty(max(expected, 64), np.int64)
        self._place: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._place)

    def add(self, ids: Ints, features: Floats) -> None:
        self.remove(ids)
        start, end = len(self), len(self) + len(ids)
        if end > len(self._ids):
            room = max(end, 2 * len(self._ids)) - start
            self._rows = np.concatenate([self._rows[:start], np.empty((room, self._rows.shape[1]), np.float32)])
            self._ids = np.concatenate([self._ids[:start], np.empty(room, np.int64)])
        self._rows[start:end] = features
        self._ids[start:end] = ids
        self._place.update((int(id_), start + offset) for offset, id_ in enumerate(ids))

    def remove(self, ids: Ints) -> None:
        for id_ in ids:
            place = self._place.pop(int(id_), None)
            last = len(self._place)
            if place is not None and place != last:
                self._rows[place] = self._rows[last]
                self._ids[place] = self._ids[last]
                self._place[int(self._ids[place])] = place

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        chosen = np.arange(len(self))
        if among is not None:
            chosen = chosen[np.isin(self._ids[: len(self)], among)]
        every = features @ self._rows[: len(self)].T  # (B, N)
        every = every if among is None else every[:, chosen]
        best = np.argsort(-every, axis=1, kind="stable")[:, :k]  # (B, min(k, N))
        scores = np.full((len(features), k), -np.inf, np.float32)
        ids = np.full((len(features), k), -1, np.int64)
        scores[:, : best.shape[1]] = np.take_along_axis(every, best, axis=1)
        ids[:, : best.shape[1]] = self._ids[chosen][best]
        return scores, ids
