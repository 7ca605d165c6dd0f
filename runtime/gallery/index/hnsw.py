"""Search in a graph of neighbours: hundreds of times fewer comparisons than the flat index, and slow to build."""

from typing import Any

import numpy as np

from vreid.runtime.gallery.index.row_map import GONE, RowMap
from vreid.runtime.gallery.index.with_faiss import batches_by_blas, best_of, faiss, one_thread, rows_of, sent
from vreid.runtime.records import Floats, Ints

NEAR = 0.9  # cosine from which a new feature stays in the old one's place in the graph


class HnswIndex:
    """FAISS IndexHNSWFlat (Malkov and Yashunin, TPAMI 2020, arXiv 1603.09320).

    It cannot forget: dead rows still lead the search on their way and are masked in its answer. Where a filter leaves
    few rows, or the graph finds fewer than there are, all that may be found are compared instead.
    """

    rough = False

    def __init__(self, dim: int, expected: int = 0, *, m: int = 32, built: int = 80, ef: int = 96) -> None:
        """m: neighbours of a row; built and ef: how many candidates are kept while building and while searching."""
        batches_by_blas(dim)
        self._index = faiss.IndexHNSWFlat(dim, m, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = built
        self._rows, self._ef = RowMap(), ef
        self.made_with = {"m": m, "built": built}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def worn(self) -> bool:
        return self._rows.many_dead

    def add(self, ids: Ints, features: Floats) -> None:
        at = self._rows.of(ids)
        memory, old = self._memory(), np.flatnonzero(at != GONE)
        near = old[np.einsum("nd,nd->n", memory[at[old]], features[old]) >= NEAR]
        memory[at[near]] = features[near]
        new = np.setdiff1d(np.arange(len(ids)), near)
        with one_thread(len(new)):
            self._index.add(sent(features[new]))
        self._rows.append(ids[new])

    def remove(self, ids: Ints) -> None:
        self._rows.drop(ids)

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        rows = None
        if among is not None:
            rows = self._rows.of(among)
            rows = np.sort(rows[rows != GONE])
        count = len(self) if rows is None else len(rows)
        share = max(count, 1) / max(len(self._rows.ids), 1)
        wide = int(max(self._ef, 2 * k) / share)
        if wide * 10 > count:  # comparing all is no slower
            return self._exact(features, k, rows)
        found = faiss.SearchParametersHNSW(efSearch=wide)
        if rows is not None or self._rows.dead:
            found = faiss.SearchParametersHNSW(efSearch=wide, sel=faiss.IDSelectorBitmap(self._rows.bits(rows)))
        with one_thread():
            scores, ids = self._rows.named(*self._index.search(sent(features), k, params=found))
        short = np.flatnonzero(ids[:, min(k, count) - 1] == GONE)
        if len(short):
            scores[short], ids[short] = self._exact(features[short], k, rows)
        return scores, ids

    def kept(self) -> tuple[Any, dict[str, Ints]]:
        return self._index, {"rows": self._rows.ids}

    def restored(self, index: Any, arrays: dict[str, Ints]) -> None:
        rows = RowMap(arrays["rows"])
        if not isinstance(index, faiss.IndexHNSW) or (index.ntotal, index.d) != (len(rows.ids), self._index.d):
            raise ValueError("another kind or size of index")
        self._index, self._rows = index, rows

    def _memory(self) -> Floats:
        return rows_of(faiss.downcast_index(self._index.storage))

    def _exact(self, features: Floats, k: int, rows: Ints | None) -> tuple[Floats, Ints]:
        rows = np.flatnonzero(self._rows.ids != GONE) if rows is None else rows
        return self._rows.named(*best_of(features, self._memory().__getitem__, rows, k))
