"""A number for each of many ids, in two sorted arrays: a million take 16 MB where a dict takes 150."""

import numpy as np

from vreid.runtime.records import Ints

GONE = -1


class Places:
    """Ids, which mostly come rising, and for each a number from 0. What was dropped stays as GONE until half is."""

    def __init__(self, keys: Ints | None = None, values: Ints | None = None) -> None:
        """`keys` (N,) rising, `values` (N,)."""
        self._keys = np.empty(0, np.int64) if keys is None else np.asarray(keys, np.int64)
        self._values = np.empty(0, np.int64) if values is None else np.asarray(values, np.int64)
        self._used = self._alive = len(self._keys)

    def __len__(self) -> int:
        return self._alive

    def items(self) -> tuple[Ints, Ints]:
        """ids (N,) rising and their numbers (N,)."""
        there = self._values[: self._used] != GONE
        return self._keys[: self._used][there], self._values[: self._used][there]

    def of(self, ids: Ints) -> Ints:
        """(N,) -> (N,); GONE for an id that is not here."""
        if not self._used:
            return np.full(len(ids), GONE, np.int64)
        at = np.minimum(np.searchsorted(self._keys[: self._used], ids), self._used - 1)
        return np.where(self._keys[at] == ids, self._values[at], GONE)

    def put(self, ids: Ints, values: Ints) -> None:
        """Give ids (N,), each once, their numbers (N,), whatever they had."""
        order = np.argsort(ids, kind="stable")
        ids, values = np.asarray(ids, np.int64)[order], np.asarray(values, np.int64)[order]
        at = np.searchsorted(self._keys[: self._used], ids)
        known = np.zeros(len(ids), bool)
        inside = at < self._used
        known[inside] = self._keys[at[inside]] == ids[inside]
        self._alive += int((self._values[at[known]] == GONE).sum()) + int((~known).sum())
        self._values[at[known]] = values[known]
        ids, values, at = ids[~known], values[~known], at[~known]
        if not len(ids):
            return
        if at[0] == self._used:
            end = self._used + len(ids)
            self._keys, self._values = grown(self._keys, end), grown(self._values, end)
            self._keys[self._used : end], self._values[self._used : end] = ids, values
            self._used = end
        else:  # an id between others: after a rollback, or in an index that is used without a gallery
            self._keys = np.insert(self._keys[: self._used], at, ids)
            self._values = np.insert(self._values[: self._used], at, values)
            self._used = len(self._keys)

    def drop(self, ids: Ints) -> None:
        """Forget ids (N,), each once; those that are not here are passed over."""
        there = ids[self.of(ids) != GONE]
        self._values[np.searchsorted(self._keys[: self._used], there)] = GONE
        self._alive -= len(there)
        if 2 * self._alive < self._used - 64:
            self._keys, self._values = self.items()
            self._used = self._alive


def grown(rows: Ints, count: int) -> Ints:
    """`rows`, or a copy in an array of at least `count`, half as large again so that growing is cheap on the whole."""
    if count <= len(rows):
        return rows
    larger = np.empty(max(count, len(rows) * 3 // 2, 64), np.int64)
    larger[: len(rows)] = rows
    return larger
