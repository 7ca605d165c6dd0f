"""Two sets of embeddings of the same pictures, side by side: how near they are, and what no embedding may be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vreid.models.bundled import is_checkpoint, manifest_path
from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest, read_model
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.engines.table import Engine, open_engine
from vreid.train.evaluate import Embedded, Floats

_NO_NUMBER = np.finfo(np.float32).max
_NOT_RUN = np.finfo(np.float32).min


@dataclass(frozen=True)
class Side:
    """`embed`: N pictures -> (N, D) as the engine gave them; `fingerprint` names the embedding space."""

    name: str
    fingerprint: str
    embed: Callable[[Sequence[Image]], Floats]


@dataclass(frozen=True)
class Candidate(Side):
    """A side with its manifest and the engine that runs."""

    manifest: Manifest
    engine: EngineFile


def open_unchecked(path: Path, threads: int, failures: dict[int, str] | None = None) -> Candidate:
    """The manifest's engine in the runtime's embedder, NaN and infinities let through as NaN: they are to be counted, where
    a run refuses the first. With `failures`, a batch that the engine cannot run gives rows of infinity, and the size of the
    batch and the engine's message are put there. Raises Refused as `open_embedder`, and without `failures` what the engine
    raises."""
    manifest, file = read_model(path)
    embedder = Embedder(manifest, _Marked(open_engine(manifest, file, threads), manifest.output.dim, failures))

    def embed(images: Sequence[Image]) -> Floats:
        found = embedder.embed(images)
        found[found == _NO_NUMBER] = np.nan
        found[found == _NOT_RUN] = np.inf
        return found

    return Candidate(manifest.name, manifest.fingerprint, embed, manifest, file)


def open_reference(model: str, threads: int) -> Side:
    """A checkpoint .pt in torch, a manifest .json or a bundled name in its engine. Raises Refused."""
    if not is_checkpoint(model):
        side = open_unchecked(manifest_path(model), threads)
        return Side(side.name, side.fingerprint, side.embed)
    try:
        import torch
    except ModuleNotFoundError as error:
        raise Refused("a checkpoint needs torch: pip install 'vreid[train]', or verify against a manifest") from error
    from vreid.models.checkpoint import fingerprint_of, load_checkpoint, network_from
    from vreid.train.evaluate import embed_with

    torch.set_num_threads(threads)
    stored = load_checkpoint(model)
    return Side(Path(model).stem, fingerprint_of(stored), embed_with(network_from(stored)))


class _Marked:
    """An engine in which what is no number, or was not computed, is a number that no embedding holds."""

    def __init__(self, engine: Engine, dim: int, failures: dict[int, str] | None) -> None:
        self._engine, self._dim, self._failures = engine, dim, failures

    def infer(self, pixels: Image) -> Floats:
        wanted = len(pixels), self._dim
        try:
            found = self._engine.infer(pixels)
            if found.shape != wanted and self._failures is not None:
                raise Refused(f"the engine gave {found.shape} and not {wanted}")
        except (Refused, RuntimeError, ValueError) as error:
            if self._failures is None:
                raise
            self._failures.setdefault(len(pixels), str(error))
            return np.full(wanted, _NOT_RUN, np.float32)
        return np.where(np.isfinite(found), found, _NO_NUMBER).astype(np.float32)


LENGTH = 1e-3  # how far from 1 a length may be: float32 is within 1e-6 of it, float16 is not within 5e-4
DEAD = 0.25  # of the reference's spread over the pictures; sound INT8 keeps more than 0.9 of it (docs/verify.md)
LEAST_SPREAD = 1e-6  # a dimension that is constant in the reference too has lost nothing


@dataclass(frozen=True)
class Agreement:
    """Cosines between the two embeddings of a picture: least, first percentile, mean; the largest difference of one number."""

    cosine_min: float
    cosine_p1: float
    cosine_mean: float
    error_max: float


def agreement(candidate: Floats, reference: Floats) -> Agreement:
    """Of (N, D) and (N, D), the reference finite; an embedding that is zero or no number has the cosine 0 to its reference."""
    cosines = (at_length_one(candidate) * at_length_one(reference)).sum(1)
    finite = np.isfinite(candidate).all(1)
    error = float(np.abs(candidate[finite] - reference[finite]).max(initial=0.0))
    return Agreement(float(cosines.min()), float(np.percentile(cosines, 1)), float(cosines.mean()), error)


def at_length_one(features: Floats) -> Floats:
    """(N, D) -> rows of unit length; a row that is zero or no number becomes zero."""
    rows = np.where(np.isfinite(features).all(1, keepdims=True), features, 0).astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12), np.float32)


def answers(query: Embedded, gallery: Embedded, camera_rule: bool = True) -> NDArray[np.int64]:
    """(Q,): the vehicle of the nearest gallery picture, the query's own vehicle in its own camera left out; -1 for none."""
    found = np.full(len(query.vehicles), -1, np.int64)
    for start in range(0, len(found), 256):
        rows = slice(start, start + 256)
        scores = query.features[rows] @ gallery.features.T  # (B, G)
        if camera_rule:
            junk = query.vehicles[rows, None] == gallery.vehicles
            scores[junk & (query.cameras[rows, None] == gallery.cameras)] = -np.inf
        best = scores.argmax(1)
        some = np.isfinite(scores[np.arange(len(best)), best])
        found[rows] = np.where(some, gallery.vehicles[best], -1)
    return found


def ailments(candidate: Floats, reference: Floats) -> list[str]:
    """What is wrong with the numbers themselves, a sentence each; (N, D) as the engine gave them, the reference finite."""
    total, found = len(candidate), []
    finite = np.isfinite(candidate).all(1)
    no_numbers = ~finite
    if no_numbers.any():
        found.append(
            f"{no_numbers.sum()} of {total} embeddings are no numbers (NaN or infinity): something overflows, in half "
            "precision most often the L2 norm or a large activation, or a weight is damaged; keep such nodes in FP32 "
            "and look at the weights"
        )
    lengths = np.linalg.norm(candidate[finite].astype(np.float64), axis=1)
    zero = lengths < LENGTH
    if zero.any():
        found.append(
            f"{zero.sum()} of {total} embeddings are zero, so these vehicles can never be found: the sum of squares of the "
            "L2 norm overflows to infinity, or nothing passes the last layer; keep the norm in FP32"
        )
    odd = lengths[~zero & (np.abs(lengths - 1) > LENGTH)]
    if len(odd):
        found.append(
            f"{len(odd)} of {total} embeddings are not of unit length but of {odd.min():.4g} to {odd.max():.4g}, so their "
            "inner products are no cosines: the L2 norm is missing from the graph, or its sum of squares overflows in half "
            "precision; keep the norm in FP32"
        )
    if candidate.shape == reference.shape and finite.sum() > 1:
        found += _dead(candidate[finite], reference[finite])
    return found


def _dead(candidate: Floats, reference: Floats) -> list[str]:
    """A dimension need not be constant to be dead: one whose weights are gone still varies with the length of the others."""
    spread, before = candidate.std(0, dtype=np.float64), reference.std(0, dtype=np.float64)
    alive = before > LEAST_SPREAD
    dead = alive & (spread < DEAD * before)
    if not dead.any():
        return []
    if dead[alive].all():
        return [
            "the embedding is nearly the same for every picture: nothing of the picture reaches the output; look at the "
            "ranges that INT8 was calibrated to and at the first layers"
        ]
    some = ", ".join(str(place) for place in np.flatnonzero(dead)[:5])
    return [
        f"{dead.sum()} of {len(dead)} dimensions (such as {some}) hardly change from picture to picture, which they do in the "
        "reference: what they told is lost; look at the last layer's weights and at its ranges"
    ]
