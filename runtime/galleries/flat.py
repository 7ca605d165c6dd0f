"""The default index: exact search by FAISS."""

import faiss
import numpy as np

from vreid.runtime.records import Floats, Ints


class FlatIndex:
    """FAISS IndexIDMap2 over IndexFlatIP: every prototype is compared, so the answer is the plain index's.

    Removing costs one pass over the rows; galleries of vehicles are small enough for that.
    """

    def __init__(self, dim: int, threads: int = 1) -> None:
        # faiss-cpu 1.15 uses BLAS only when batch x dim is above 128000: a batch of 64 is 8 times slower than need be.
        faiss.cvar.distance_compute_blas_threshold = 4 * dim
        faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Ints, features: Floats) -> None:
        self._index.add_with_ids(np.ascontiguousarray(features, np.float32), np.ascontiguousarray(ids, np.int64))

    def remove(self, ids: Ints) -> None:
        self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))

    def search(self, features: Floats, k: int) -> tuple[Floats, Ints]:
        scores, ids = self._index.search(np.ascontiguousarray(features, np.float32), k)
        scores[ids < 0] = -np.inf
        return scores, ids
