"""FAISS, loaded so that its threads sleep while they wait, and what its members share. Import it only from here."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vreid.runtime.records import Floats, Ints

# Its OpenMP reads this once, while it is loaded. Threads that spin after each search take the cores from the networks.
_UNSET = "OMP_WAIT_POLICY" not in os.environ
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import faiss as _faiss  # noqa: E402

if _UNSET:
    del os.environ["OMP_WAIT_POLICY"]  # whoever loads OpenMP next decides for itself

faiss: Any = _faiss  # its type stubs know neither its Python classes' keywords nor its GPU part
__all__ = ["allowed", "batches_by_blas", "best_rows", "faiss", "memory_of", "one_thread", "sent"]

_MANY = 4096  # rows from which all cores are worth their start
BLOCK = 1 << 14  # rows that are compared at a time: 32 MB of 512-d features


def batches_by_blas(dim: int) -> None:
    """Batches of more than four features go through BLAS.

    faiss-cpu 1.15 wants batch x dim above 128000: a batch of 64 is 8 times slower than need be.
    """
    faiss.cvar.distance_compute_blas_threshold = 4 * dim


@contextmanager
def one_thread(rows: int = 0) -> Iterator[None]:
    """One thread inside, which leaves the other cores to the networks; all cores to build with MANY `rows` or more."""
    before = faiss.omp_get_max_threads()
    if rows < _MANY:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def sent(features: Floats) -> Floats:
    """As FAISS wants them."""
    return np.ascontiguousarray(features, np.float32)


def memory_of(flat: Any) -> Floats:
    """(rows, D) the memory itself of an IndexFlat: valid until rows are added."""
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    memory: Floats = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return memory


def allowed(ids: Ints, last: int) -> Any:
    """A selector of ids (N,) of an index whose greatest id is `last`."""
    if last > 64 * len(ids) + 1_000_000:
        return faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64))
    chosen = np.zeros(last + 1, bool)
    chosen[ids[(ids >= 0) & (ids <= last)]] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def best_rows(features: Floats, take: Callable[[Ints], Floats], rows: Ints, k: int) -> tuple[Floats, Ints]:
    """(B, D) against rows (N,), whose features `take` gives: scores (B, k) falling, rows (B, k); -1 pads, with -inf."""
    scores = np.full((len(features), k), -np.inf, np.float32)
    found = np.full((len(features), k), -1, np.int64)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        most = min(k, len(block))
        with one_thread():  # numpy's product would wait for all cores, and 20 times as long where one is busy
            fresh, at = faiss.knn(sent(features), sent(take(block)), most, metric=faiss.METRIC_INNER_PRODUCT)
        scores, found = np.concatenate([scores, fresh], axis=1), np.concatenate([found, block[at]], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, found = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
    return scores, found
