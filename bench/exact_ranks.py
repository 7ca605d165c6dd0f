"""Ranks in a gallery that does not fit in memory: exact, whatever the blocks it comes in."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.preprocess import Floats
from vreid.train.evaluate import Ints
from vreid.train.teacher_cache import DAMAGED

Doubles = NDArray[np.float64]

_STEPS = 2.0**25


def on_grid(features: NDArray[np.floating], what: str) -> Doubles:
    """(N, D) of unit length -> float64, every value rounded to a multiple of 2^-25.

    Products are then multiples of 2^-50 and sums of them below 8, which float64 holds exactly: a cosine is one number in
    whatever order BLAS adds it up, so ranks do not depend on the blocks. What rounding changes (about 2e-8) is less
    than float32 features know. Zero features stay and match nothing. Raises Refused for any other length, by `what`.
    """
    if features.ndim != 2:
        raise Refused(f"the features of {what} have the shape {features.shape}; give one row a picture")
    rounded = np.array(features, np.float64)
    rounded *= _STEPS
    np.round(rounded, out=rounded)
    rounded /= _STEPS
    squares = np.einsum("nd,nd->n", rounded, rounded)
    if not ((np.abs(squares - 1) < 1e-2) | (squares == 0)).all():  # half floats are off by 1e-3
        raise Refused(f"the features of {what} are not finite and of unit length; normalise them, or mend the network")
    return rounded


def cosines(left: Doubles, right: Doubles) -> Doubles:
    """(A, D) x (B, D), both on the grid -> (A, B), exact. Raises Refused when they are of two networks."""
    if left.shape[1] != right.shape[1]:
        widths = f"{left.shape[1]} and {right.shape[1]}"
        raise Refused(f"features of {widths} values cannot be compared; embed both parts with one network")
    return np.asarray(left @ right.T, np.float64)


def wrong_ahead(
    queries: Floats,
    gallery: Floats,
    marked: Sequence[Ints],
    distractors: Iterable[NDArray[np.floating]] = (),
    block: int = 4096,
) -> tuple[list[Ints], int]:
    """For every query and each gallery row in its `marked`: how many unmarked rows score at least as much.

    `queries` (Q, D), `gallery` (N, D): float32 of unit length. `marked`: Q arrays of rows of `gallery` that the truth
    names, right or junk. `distractors`: (M, D) blocks, read once, all unmarked. Equal scores count as ahead: among
    equals the wrong ones rank first. -> Q arrays as long as `marked`, and the rows seen. Memory: Q x `block` scores.
    """
    queries = on_grid(queries, "the queries")
    scores = [
        cosines(queries[row : row + 1], on_grid(gallery[rows], "the gallery"))[0] for row, rows in enumerate(marked)
    ]
    ahead = [np.zeros(len(rows), np.int64) for rows in marked]
    for start, part in _slices((gallery,), block):
        found = cosines(queries, on_grid(part, "the gallery"))  # (Q, B)
        for row, rows in enumerate(marked):
            found[row, rows[(rows >= start) & (rows < start + len(part))] - start] = -np.inf
        _count(found, scores, ahead)
    seen = len(gallery)
    for _, part in _slices(distractors, block):
        _count(cosines(queries, on_grid(part, "the distractors")), scores, ahead)
        seen += len(part)
    return ahead, seen


def _count(found: Doubles, scores: Sequence[Doubles], ahead: Sequence[Ints]) -> None:
    for values, wanted, counts in zip(found, scores, ahead, strict=True):
        if len(wanted):
            counts += len(values) - np.searchsorted(np.sort(values), wanted)


def ranks(ahead: Ints) -> Ints:
    """The rows ahead of each right one, in any order -> the rising ranks of the right ones, from 1."""
    return np.asarray(np.sort(ahead) + np.arange(1, len(ahead) + 1), np.int64)


def distractor_blocks(paths: Sequence[Path], rows: int = 65536) -> Iterator[NDArray[np.floating]]:
    """The features in .npy files, `rows` at a time, mapped and never held whole.

    Raises Refused, by name and at once, for a file that is missing, cut, pickled, or not a table of floats.
    """
    tables = [_mapped(path) for path in paths]
    return (np.asarray(table[start : start + rows]) for table in tables for start in range(0, len(table), rows))


def _mapped(path: Path) -> NDArray[np.floating]:
    try:
        table = np.load(regular(path), mmap_mode="r", allow_pickle=False)
    except (OSError, *DAMAGED) as error:
        raise Refused(f"{path} is not a .npy file that can be mapped; save the distractors' features again") from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or not np.issubdtype(table.dtype, np.floating):
        raise Refused(f"{path} does not hold a table of floats, one row a picture; save the features again")
    return table


def _slices(blocks: Iterable[NDArray[np.floating]], rows: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """(start within its block, part): no part has more than `rows` rows, so that the scores stay small too."""
    if rows < 1:
        raise Refused(f"a block of {rows} rows holds nothing; give 1 or more")
    for block in blocks:
        for start in range(0, len(block), rows):
            yield start, block[start : start + rows]
