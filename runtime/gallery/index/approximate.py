"""Approximate search by FAISS, in a graph of neighbours or in lists; slow to build, and so kept in files."""

import math
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.flat import FlatIndex
from vreid.runtime.gallery.index.row_map import GONE, RowMap
from vreid.runtime.gallery.index.with_faiss import (
    allowed,
    batches_by_blas,
    best_rows,
    faiss,
    memory_of,
    one_thread,
    sent,
)
from vreid.runtime.records import Floats, Ints

_NEAR = 0.9  # cosine from which a new feature stays in the old one's place in the graph


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
        near = old[np.einsum("nd,nd->n", memory[at[old]], features[old]) >= _NEAR]
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
        return memory_of(faiss.downcast_index(self._index.storage))

    def _exact(self, features: Floats, k: int, rows: Ints | None) -> tuple[Floats, Ints]:
        rows = np.flatnonzero(self._rows.ids != GONE) if rows is None else rows
        return self._rows.named(*best_rows(features, self._memory().__getitem__, rows, k))


GROWN = 4  # times the rows that the lists were made for
CELL = 40  # rows a list to train with; faiss warns below 39
QUANTIZER = 4  # dimensions that PQ makes one byte of


class IvfIndex:
    """Exact until there are rows to make lists of, then FAISS IndexIVFFlat (Sivic and Zisserman, ICCV 2003).

    The lists are k-means cells, 4 sqrt(N) of them, made of the first rows that come. A filter that keeps one row in n
    looks into n times as many lists, and so compares every row that a narrow one keeps.
    """

    def __init__(self, dim: int, expected: int, nlist: int, nprobe: int, train: int, code: int) -> None:
        """nlist and nprobe: lists there are and are looked into, 0 for a guess; train: rows from which on there are any.

        code: bytes that are kept of a row, by product quantization; 0: all of it.
        """
        batches_by_blas(dim)
        self._nlist, self._nprobe, self._code = nlist, nprobe, code
        self._expected = expected
        lists = nlist or _lists(expected)
        self._enough = max(train, min(expected, CELL * lists), 256 if code else 1)
        self._first: FlatIndex | None = FlatIndex(dim)  # until there are enough
        self._index: Any = None
        self._dim, self._made_for, self._last = dim, 0, -1
        self.made_with = {"nlist": nlist, "code": code}

    def __len__(self) -> int:
        return len(self._first) if self._first is not None else int(self._index.ntotal)

    @property
    def rough(self) -> bool:
        return self._first is None and self._code > 0

    @property
    def worn(self) -> bool:
        return self._first is None and not self._nlist and len(self) > GROWN * self._made_for

    def add(self, ids: Ints, features: Floats) -> None:
        first = self._first  # until the end, since `features` may be its own memory
        if first is not None:
            first.add(ids, features)
            if len(first) < self._enough:
                return
            ids, features = first.rows()
            self._index = self._trained(features)
            self._first = None
        elif len(old := ids[ids <= self._last]):
            self.remove(old)
        with one_thread(len(ids)):
            self._index.add_with_ids(sent(features), np.ascontiguousarray(ids, np.int64))
        self._last = max(self._last, int(ids.max(initial=-1)))

    def remove(self, ids: Ints) -> None:
        if self._first is not None:
            self._first.remove(ids)
        elif len(ids):
            with one_thread():
                self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        if self._first is not None:
            return self._first.search(features, k, among)
        count = len(self) if among is None else min(len(among), len(self))
        chosen = None if among is None else allowed(among, self._last)
        lists = int(self._index.nlist)
        probed = min(lists, self._lists_for(k) * len(self) // max(count, 1) + 1)
        scores, ids = self._looked(features, k, chosen, probed)
        short = np.flatnonzero(ids[:, min(k, count) - 1] < 0) if count and probed < lists else np.empty(0, np.int64)
        if len(short):
            scores[short], ids[short] = self._looked(features[short], k, chosen, lists)
        scores[ids < 0] = -np.inf
        return scores, ids

    def kept(self) -> tuple[Any, dict[str, Ints]]:
        return self._index, {"made": np.array([self._made_for, self._last])}

    def restored(self, index: Any, arrays: dict[str, Ints]) -> None:
        made = arrays["made"]
        if not isinstance(index, faiss.IndexIVF) or index.d != self._dim or made.shape != (2,):
            raise ValueError("another kind or size of index")
        self._index, self._first = index, None
        self._made_for, self._last = int(made[0]), int(made[1])

    def _trained(self, features: Floats) -> Any:
        self._made_for = max(self._expected, len(features))
        lists, metric = self._nlist or _lists(self._made_for), faiss.METRIC_INNER_PRODUCT
        cells = faiss.IndexFlatIP(self._dim)
        if self._code:
            index = faiss.IndexIVFPQ(cells, self._dim, lists, self._code, 8, metric)
            index.pq.cp.min_points_per_centroid = 1
        else:
            index = faiss.IndexIVFFlat(cells, self._dim, lists, metric)
        index.cp.min_points_per_centroid = 1  # faiss says on stderr that it would like more
        with one_thread(len(features)):
            index.train(sent(features))
        return index

    def _lists_for(self, k: int) -> int:
        return self._nprobe or max(16, int(self._index.nlist) // 16, k * int(self._index.nlist) // max(len(self), 1))

    def _looked(self, features: Floats, k: int, chosen: Any, lists: int) -> tuple[Floats, Ints]:
        how = faiss.IVFPQSearchParameters if self._code else faiss.SearchParametersIVF
        with one_thread():
            found: tuple[Floats, Ints] = self._index.search(sent(features), k, params=how(nprobe=lists, sel=chosen))
        return found


def ivf_index(dim: int, expected: int = 0, *, nlist: int = 0, nprobe: int = 0, train: int = 10_000) -> IvfIndex:
    """IndexIVFFlat: features are kept in full, so scores are exact."""
    return IvfIndex(dim, expected, nlist, nprobe, train, 0)


def ivfpq_index(
    dim: int, expected: int = 0, *, nlist: int = 0, nprobe: int = 0, train: int = 10_000, code: int = 0
) -> IvfIndex:
    """IndexIVFPQ (Jegou, Douze and Schmid, TPAMI 2011): a row is `code` bytes, dim / 4 by default, and scores are estimates.

    Raises Refused when dim is not a multiple of `code`.
    """
    code = code or next(size for size in range(max(1, dim // QUANTIZER), 0, -1) if dim % size == 0)
    if dim % code:
        raise Refused(f"the index 'ivfpq' cannot make {code} bytes of {dim} numbers; give a 'code' that divides {dim}")
    return IvfIndex(dim, expected, nlist, nprobe, train, code)


def _lists(rows: int) -> int:
    return max(1, round(4 * math.sqrt(rows)))
