"""Exact search: the plain index, FAISS's flat one (the default), and its GPU one, which needs faiss-gpu for faiss-cpu."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.row_map import GONE, RowMap
from vreid.runtime.gallery.index.with_faiss import batches_by_blas, best_rows, faiss, memory_of, one_thread, sent
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


FEW = 16  # a filter that keeps one in so many is quicker by taking those rows out,
LITTLE = 1024  # and so is one that keeps less than this
MOST_ON_GPU = 2048  # of k
FEW_ON_GPU = 4096  # rows that are taken out of the GPU and compared on the CPU


class FlatIndex:
    """FAISS IndexFlatIP: every prototype is compared, so the answer is the plain index's.

    A new feature is written over the old one and the last row fills a removed one's place: FAISS's own removing
    moves all rows behind it.
    """

    rough = worn = False

    def __init__(self, dim: int, expected: int = 0) -> None:
        batches_by_blas(dim)
        self._index = faiss.IndexFlatIP(dim)
        self._rows = RowMap()
        if expected:  # else the memory doubles as it grows, and lies there twice meanwhile
            self._resize(expected)
            self._resize(0)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, ids: Ints, features: Floats) -> None:
        at = self._rows.of(ids)
        old = at != GONE
        memory_of(self._index)[at[old]] = features[old]
        self._index.add(sent(features[~old]))
        self._rows.append(ids[~old])

    def remove(self, ids: Ints) -> None:
        self._rows.drop(ids)
        holes, last = self._rows.close()
        memory = memory_of(self._index)
        memory[holes] = memory[last]
        self._resize(len(self._rows))

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        chosen = None
        if among is not None:
            rows = self._rows.of(among)
            rows = rows[rows != GONE]
            if len(rows) * FEW < len(self) or len(rows) < LITTLE:
                return self._rows.named(*best_rows(features, memory_of(self._index).__getitem__, np.sort(rows), k))
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(self._rows.bits(rows)))
        with one_thread():
            return self._rows.named(*self._index.search(sent(features), k, params=chosen))

    def rows(self) -> tuple[Ints, Floats]:
        """All ids (N,) and features (N, D): its own memory, valid until something changes."""
        return self._rows.ids, memory_of(self._index)

    def _resize(self, rows: int) -> None:
        self._index.codes.resize(rows * self._index.code_size)
        self._index.ntotal = rows


def on_gpu(dim: int) -> Any:
    """An empty GpuIndexFlatIP on the first GPU. Raises Refused where there is none or FAISS is built without."""
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        fix = "pip install faiss-gpu on a machine with an NVIDIA driver; the index 'flat' works everywhere"
        raise Refused(f"the index 'gpu' finds no GPU that FAISS can use: {fix}")
    return faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), dim)


class GpuIndex:
    """FAISS GpuIndexFlatIP, which has no remove_ids and silently ignores an IDSelector (faiss #584, #1585, #3924).

    So more is fetched than wanted, and the dead and the filtered are left out; whoever is then short of answers is
    compared with all that may be found.
    """

    rough = False

    def __init__(self, dim: int, expected: int = 0, make: Callable[[int], Any] = on_gpu) -> None:
        self._index = make(dim)
        self._rows = RowMap()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def worn(self) -> bool:
        return self._rows.many_dead

    def add(self, ids: Ints, features: Floats) -> None:
        self._index.add(sent(features))
        self._rows.append(ids)

    def remove(self, ids: Ints) -> None:
        self._rows.drop(ids)

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        every = len(self._rows.ids)
        rows = np.flatnonzero(self._rows.ids != GONE) if among is None else self._rows.of(among)
        rows = np.sort(rows[rows != GONE])
        if (len(rows) <= FEW_ON_GPU and len(rows) < every) or k > MOST_ON_GPU:
            return self._rows.named(*best_rows(features, self._taken, rows, k))
        reach = min(every, MOST_ON_GPU, 2 * k * every // max(len(rows), 1) if len(rows) < every else k)
        scores, found = self._index.search(sent(features), max(reach, 1))
        may = np.zeros(every + 1, bool)  # the last place answers for the padding, -1
        may[rows] = True
        scores = np.where(may[found], scores, -np.inf).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, found = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
        found[np.isneginf(scores)] = GONE
        padding = ((0, 0), (0, k - found.shape[1]))
        scores = np.pad(scores, padding, constant_values=-np.inf)
        found = np.pad(found, padding, constant_values=GONE)
        short = np.flatnonzero(found[:, min(k, len(rows)) - 1] == GONE) if len(rows) else np.empty(0, np.int64)
        if len(short):
            scores[short], found[short] = best_rows(features[short], self._taken, rows, k)
        return self._rows.named(scores, found)

    def _taken(self, rows: Ints) -> Floats:
        return np.asarray(self._index.reconstruct_batch(np.ascontiguousarray(rows, np.int64)), np.float32)
