"""The default index: exact search by FAISS."""

import numpy as np

from vreid.runtime.gallery.index.exact import best_of
from vreid.runtime.gallery.index.id_map import GONE
from vreid.runtime.gallery.index.row_map import Rows
from vreid.runtime.gallery.index.with_faiss import batches_by_blas, faiss, one_thread, rows_of, sent
from vreid.runtime.records import Floats, Ints

FEW = 16  # a filter that keeps one in so many is quicker by taking those rows out,
LITTLE = 1024  # and so is one that keeps less than this


class FlatIndex:
    """FAISS IndexFlatIP: every prototype is compared, so the answer is the plain index's.

    A new feature is written over the old one and the last row fills a removed one's place: FAISS's own removing
    moves all rows behind it.
    """

    rough = worn = False

    def __init__(self, dim: int, expected: int = 0) -> None:
        batches_by_blas(dim)
        self._index = faiss.IndexFlatIP(dim)
        self._rows = Rows()
        if expected:  # else the memory doubles as it grows, and lies there twice meanwhile
            self._resize(expected)
            self._resize(0)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, ids: Ints, features: Floats) -> None:
        at = self._rows.of(ids)
        old = at != GONE
        rows_of(self._index)[at[old]] = features[old]
        self._index.add(sent(features[~old]))
        self._rows.append(ids[~old])

    def remove(self, ids: Ints) -> None:
        self._rows.drop(ids)
        holes, last = self._rows.close()
        memory = rows_of(self._index)
        memory[holes] = memory[last]
        self._resize(len(self._rows))

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        chosen = None
        if among is not None:
            rows = self._rows.of(among)
            rows = rows[rows != GONE]
            if len(rows) * FEW < len(self) or len(rows) < LITTLE:
                return self._rows.named(*best_of(features, rows_of(self._index).__getitem__, np.sort(rows), k))
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(self._rows.bits(rows)))
        with one_thread():
            return self._rows.named(*self._index.search(sent(features), k, params=chosen))

    def rows(self) -> tuple[Ints, Floats]:
        """All ids (N,) and features (N, D): its own memory, valid until something changes."""
        return self._rows.ids, rows_of(self._index)

    def _resize(self, rows: int) -> None:
        self._index.codes.resize(rows * self._index.code_size)
        self._index.ntotal = rows
