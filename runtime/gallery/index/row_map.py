"""Which rows of an index belong to which ids: a number for each id, and an id for each row, some of them dead."""

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Floats, Ints

GONE = -1
Bytes = NDArray[np.uint8]


class IdMap:
    """A number for each of many ids, in two sorted arrays: a million take 16 MB where a dict takes 150.

    Ids, which mostly come rising, and for each a number from 0. What was dropped stays as GONE until half is.
    """

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


class RowMap:
    """The rows of a FAISS index, which only appends, and their ids; a row whose id was dropped or added again is dead."""

    def __init__(self, ids: Ints | None = None) -> None:
        """`ids` (N,) of the rows; GONE for a dead one."""
        self._ids = np.empty(0, np.int64) if ids is None else np.asarray(ids, np.int64)
        self._count = len(self._ids)
        alive = np.flatnonzero(self.ids != GONE)
        alive = alive[np.argsort(self._ids[alive], kind="stable")]
        self._map = IdMap(self._ids[alive], alive)
        self._living: Bytes | None = None

    def __len__(self) -> int:
        return len(self._map)

    @property
    def ids(self) -> Ints:
        """(rows,) GONE for a dead row."""
        return self._ids[: self._count]

    @property
    def dead(self) -> int:
        return self._count - len(self._map)

    @property
    def many_dead(self) -> bool:
        """More than a fifth, and enough to matter."""
        return self.dead > max(64, self._count // 5)

    def of(self, ids: Ints) -> Ints:
        """(N,) -> rows (N,); GONE for an id that is not here."""
        return self._map.of(ids)

    def append(self, ids: Ints) -> None:
        """New rows for ids (N,), each once; the rows that they had are dead."""
        self._kill(ids)
        end = self._count + len(ids)
        self._ids = grown(self._ids, end)
        self._ids[self._count : end] = ids
        self._map.put(ids, np.arange(self._count, end))
        self._count = end
        self._living = None

    def drop(self, ids: Ints) -> None:
        """The rows of ids (N,) are dead; unknown ids are ignored."""
        self._kill(ids)
        self._map.drop(ids)

    def close(self) -> tuple[Ints, Ints]:
        """No dead rows any more: rows (M,) to be filled and the last ones (M,), which belong there now."""
        end = len(self)
        holes = np.flatnonzero(self.ids[:end] == GONE)
        last = end + np.flatnonzero(self.ids[end:] != GONE)
        self._ids[holes] = self._ids[last]
        self._map.put(self._ids[holes], holes)
        self._count = end
        self._living = None
        return holes, last

    def bits(self, rows: Ints | None) -> Bytes:
        """FAISS's bitmap of rows (N,); None: of all that live."""
        if rows is not None:
            chosen = np.zeros(self._count, bool)
            chosen[rows] = True
            return _packed(chosen)
        if self._living is None:
            self._living = _packed(self.ids != GONE)
        return self._living

    def named(self, scores: Floats, rows: Ints) -> tuple[Floats, Ints]:
        """FAISS's answer by row -> by id: (B, k) both; the padding has -inf."""
        ids = np.where(rows >= 0, self._ids[rows], GONE) if self._count else np.full(rows.shape, GONE, np.int64)
        return np.where(ids >= 0, scores, -np.inf).astype(np.float32), ids

    def _kill(self, ids: Ints) -> None:
        rows = self.of(ids)
        self._ids[rows[rows != GONE]] = GONE
        self._living = None


def _packed(chosen: NDArray[np.bool_]) -> Bytes:
    return np.packbits(chosen, bitorder="little")
