"""Exact search on an NVIDIA GPU. Needs the package faiss-gpu in the place of faiss-cpu."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.exact import best_of
from vreid.runtime.gallery.index.id_map import GONE
from vreid.runtime.gallery.index.row_map import Rows
from vreid.runtime.gallery.index.with_faiss import faiss, sent
from vreid.runtime.records import Floats, Ints

MOST = 2048  # of k, on the GPU
FEW = 4096  # rows that are taken out and compared on the CPU


def on_gpu(dim: int) -> Any:
    """An empty GpuIndexFlatIP on the first GPU. Raises Refused where there is none or FAISS is built without."""
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        fix = "pip install faiss-gpu on a machine with an NVIDIA driver; the index 'flat' works everywhere"
        raise Refused(f"the index 'gpu' finds no GPU that FAISS can use: {fix}")
    return faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), dim)


class GpuIndex:
    """FAISS GpuIndexFlatIP, which has no remove_ids and silently ignores an IDSelector (faiss #584, #1585, #3924).

    So more is fetched than asked for and the dead and the filtered are left out; whoever is then short of answers is
    compared with all that may be found.
    """

    rough = False

    def __init__(self, dim: int, expected: int = 0, make: Callable[[int], Any] = on_gpu) -> None:
        self._index = make(dim)
        self._rows = Rows()

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
        if (len(rows) <= FEW and len(rows) < every) or k > MOST:
            return self._rows.named(*best_of(features, self._taken, rows, k))
        reach = min(every, MOST, 2 * k * every // max(len(rows), 1) if len(rows) < every else k)
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
            scores[short], found[short] = best_of(features[short], self._taken, rows, k)
        return self._rows.named(scores, found)

    def _taken(self, rows: Ints) -> Floats:
        return np.asarray(self._index.reconstruct_batch(np.ascontiguousarray(rows, np.int64)), np.float32)
