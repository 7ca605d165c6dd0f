"""Whose are the rows of a FAISS index, which only appends, and which of them are dead."""

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.gallery.index.id_map import GONE, Places, grown
from vreid.runtime.records import Floats, Ints

Bytes = NDArray[np.uint8]


class Rows:
    """Row numbers from 0 and the ids that they belong to; a row whose id was dropped or placed anew is dead."""

    def __init__(self, ids: Ints | None = None) -> None:
        """`ids` (N,) of the rows; GONE for a dead one."""
        self._ids = np.empty(0, np.int64) if ids is None else np.asarray(ids, np.int64)
        self._count = len(self._ids)
        alive = np.flatnonzero(self.ids != GONE)
        alive = alive[np.argsort(self._ids[alive], kind="stable")]
        self._places = Places(self._ids[alive], alive)
        self._living: Bytes | None = None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> Ints:
        """(rows,) GONE for a dead row."""
        return self._ids[: self._count]

    @property
    def dead(self) -> int:
        return self._count - len(self._places)

    @property
    def many_dead(self) -> bool:
        """More than a fifth, and enough to matter."""
        return self.dead > max(64, self._count // 5)

    def of(self, ids: Ints) -> Ints:
        """(N,) -> rows (N,); GONE for an id that is not here."""
        return self._places.of(ids)

    def append(self, ids: Ints) -> None:
        """New rows for ids (N,), each once; the rows that they had are dead."""
        self._kill(ids)
        end = self._count + len(ids)
        self._ids = grown(self._ids, end)
        self._ids[self._count : end] = ids
        self._places.put(ids, np.arange(self._count, end))
        self._count = end
        self._living = None

    def drop(self, ids: Ints) -> None:
        """The rows of ids (N,) are dead; ids that are not here are passed over."""
        self._kill(ids)
        self._places.drop(ids)

    def close(self) -> tuple[Ints, Ints]:
        """No dead rows any more: rows (M,) to be filled and the last ones (M,), which belong there now."""
        end = len(self)
        holes = np.flatnonzero(self.ids[:end] == GONE)
        last = end + np.flatnonzero(self.ids[end:] != GONE)
        self._ids[holes] = self._ids[last]
        self._places.put(self._ids[holes], holes)
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
