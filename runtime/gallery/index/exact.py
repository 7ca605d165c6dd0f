"""The best of some rows, by comparing all of them: what an index falls back to, in bounded memory."""

from collections.abc import Callable

import numpy as np

from vreid.runtime.gallery.index.with_faiss import faiss, one_thread, sent
from vreid.runtime.records import Floats, Ints

BLOCK = 1 << 14  # rows at a time: 32 MB of 512-d features


def best_of(features: Floats, take: Callable[[Ints], Floats], rows: Ints, k: int) -> tuple[Floats, Ints]:
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
