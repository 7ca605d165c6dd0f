"""Which features stand for a vehicle: near ones of one view are averaged, at most a handful are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.records import Floats


@dataclass(frozen=True)
class Prototype:
    """A unit feature (D,) of a vehicle from one view; `weight` sums the qualities of the `count` it was made of."""

    id: int
    view: str
    feature: Floats
    weight: float
    count: int


def unit(features: Floats, dim: int) -> Floats:
    """(N, D) of any length -> (N, D) float32 of unit length. Raises Refused for another D, a NaN, or a zero row."""
    rows = np.ascontiguousarray(features, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise Refused(
            f"features of shape {rows.shape} do not fit a gallery of dimension {dim}; use the gallery's own model"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < 1e-12).any():
        raise Refused("a feature is zero or not finite; verify the model with 'vreid doctor' and export it again")
    return np.asarray(rows / lengths, np.float32)


def from_blobs(blobs: Sequence[bytes], dim: int) -> Floats:
    """N stored features -> (N, D). Raises Refused for one of another length."""
    if not set(map(type, blobs)) <= {bytes} or not set(map(len, blobs)) <= {4 * dim}:
        fix = "let 'vreid gallery check --repair' mend it or restore a copy"
        raise Refused(f"the gallery is damaged (a feature of the wrong length); {fix}")
    return np.frombuffer(bytearray().join(blobs), np.dtype("<f4")).reshape(-1, dim).astype(np.float32, copy=False)


def merged(kept: Prototype, feature: Floats, weight: float) -> Prototype | None:
    """`kept` with a unit feature (D,) averaged in by quality, of unit length again; None when the two cancel out."""
    total = kept.weight * kept.feature + weight * feature
    length = float(np.linalg.norm(total))
    if length < 1e-12:
        return None
    mean = np.asarray(total / length, np.float32)
    return Prototype(kept.id, kept.view, mean, kept.weight + weight, kept.count + 1)


def home_of(kept: Sequence[Prototype], view: str, feature: Floats, above: float) -> Prototype | None:
    """The prototype of the same view that a unit feature (D,) belongs to: the nearest, when its cosine is `above`."""
    same = [prototype for prototype in kept if prototype.view == view]
    if not same:
        return None
    cosines = np.stack([prototype.feature for prototype in same]) @ feature  # (n,)
    best = int(np.argmax(cosines))
    return same[best] if cosines[best] >= above else None


def surplus(kept: Sequence[Prototype], most: int) -> list[Prototype]:
    """What is dropped when more than `most` are kept: the lightest, of equals the newest."""
    heaviest_first = sorted(kept, key=lambda prototype: (-prototype.weight, prototype.id))
    return heaviest_first[most:]
