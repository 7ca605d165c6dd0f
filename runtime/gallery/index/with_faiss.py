"""FAISS, loaded so that its threads sleep while they wait, and what its members share. Import it from here alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vreid.runtime.records import Floats, Ints

# Its OpenMP reads this once, while it is loaded. Threads that spin after each search take the cores from the networks.
_OURS = "OMP_WAIT_POLICY" not in os.environ
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import faiss as _faiss  # noqa: E402

if _OURS:
    del os.environ["OMP_WAIT_POLICY"]  # whoever loads OpenMP next decides for itself

faiss: Any = _faiss  # its type stubs know neither its Python classes' keywords nor its GPU part
__all__ = ["allowed", "batches_by_blas", "faiss", "one_thread", "rows_of", "sent"]

MANY = 4096  # rows from which all cores are worth their start


def batches_by_blas(dim: int) -> None:
    """Batches of more than four features go through BLAS.

    faiss-cpu 1.15 asks for batch x dim above 128000: a batch of 64 is 8 times slower than need be.
    """
    faiss.cvar.distance_compute_blas_threshold = 4 * dim


@contextmanager
def one_thread(rows: int = 0) -> Iterator[None]:
    """One thread inside, which leaves the other cores to the networks; all cores to build with MANY `rows` or more."""
    before = faiss.omp_get_max_threads()
    if rows < MANY:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def sent(features: Floats) -> Floats:
    """As FAISS wants them."""
    return np.ascontiguousarray(features, np.float32)


def rows_of(flat: Any) -> Floats:
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
