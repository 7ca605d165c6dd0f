"""The two sides of a comparison: a candidate whose numbers are handed on as they are, and the reference it must match."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.bundled import is_checkpoint, manifest_path
from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest, read_model
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.engines.table import Engine, open_engine
from vreid.runtime.records import Floats

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
    from vreid.train.reference import embed_with

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
