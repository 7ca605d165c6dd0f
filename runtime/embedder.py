"""From crops to features: the one resize, batches of the manifest's size, the engine."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.models.manifest import Manifest, Match, read_model
from vreid.models.preprocess import Image, batch_of
from vreid.models.zoo import manifest_path
from vreid.runtime.engines.table import Engine, open_engine
from vreid.runtime.records import Floats

DEFAULT_THRESHOLD = 0.6


class Embedder:
    """A manifest and its engine. Without `finite`, NaN and infinity are handed on, to be counted."""

    def __init__(self, manifest: Manifest, engine: Engine, finite: bool = True) -> None:
        self.manifest = manifest
        self.engine = engine
        self._finite = finite

    @property
    def threshold(self) -> float:
        """The least cosine of a known vehicle: the manifest's calibrated one, or DEFAULT_THRESHOLD where it has none."""
        match = self.manifest.match
        return DEFAULT_THRESHOLD if match is None else match.threshold

    @property
    def match(self) -> Match:
        """The manifest's open-set point, or an assumed one at DEFAULT_THRESHOLD."""
        return match_of(self.manifest)

    def embed(self, images: Sequence[Image]) -> Floats:
        """N crops of any size and camera -> (N, D) float32 of unit length. Refuses an engine that gives NaN or infinity."""
        spec = self.manifest.input
        most = spec.batch[-1]
        starts = range(0, len(images), most)
        parts = [self.infer(batch_of(images[start : start + most], spec.height, spec.width)) for start in starts]
        return np.concatenate(parts) if parts else np.zeros((0, self.manifest.output.dim), np.float32)

    def infer(self, pixels: Image) -> Floats:
        """(N, H, W, 3) of the manifest's size, as `batch_of` makes them -> (N, D), as `embed`."""
        spec, out = self.manifest.input, np.zeros((len(pixels), self.manifest.output.dim), np.float32)
        most = spec.batch[-1]
        for start in range(0, len(pixels), most):
            batch = pixels[start : start + most]
            if len(batch) < spec.batch[0]:  # an engine built for whole batches: fill up, and drop the filling below
                batch = np.concatenate((batch, np.zeros((spec.batch[0] - len(batch), *batch.shape[1:]), np.uint8)))
            part = self.engine.infer(batch)[: len(pixels) - start]
            if part.shape != out[start : start + most].shape or (self._finite and not np.isfinite(part).all()):
                name = self.manifest.name
                raise Refused(
                    f"the engine of {name} gave {part.shape}, NaN or infinity; export or build the model again"
                )
            out[start : start + most] = part
        return out


def match_of(manifest: Manifest) -> Match:
    """A manifest's open-set point, or an assumed one at DEFAULT_THRESHOLD."""
    return manifest.match or Match(threshold=DEFAULT_THRESHOLD, false_match_rate=0.05, gallery=20)


def open_embedder(model: str | Path, threads: int = 1) -> Embedder:
    """The embedder of a manifest .json or of a bundled name; every program opens a lowered model by this function.

    Its engine is read once; the bytes that were hashed are those that run. Raises Refused.
    """
    manifest, file = read_model(manifest_path(str(model)))
    return Embedder(manifest, open_engine(manifest, file, threads))
