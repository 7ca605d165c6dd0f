"""A model as the bench sees it: a checkpoint in torch or a manifest in its engine, with one way to embed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.bundled import is_checkpoint, manifest_path
from vreid.models.errors import Refused
from vreid.models.manifest import Accuracy, Cost, read_model
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.engines.table import open_engine
from vreid.runtime.records import Floats

ON_CPU = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Candidate:
    """An opened model; `largest` is the batch it takes at once, `file_bytes` of the engine or checkpoint."""

    name: str
    backend: str
    precision: str
    height: int
    width: int
    largest: int | None
    file_bytes: int
    cost: Cost
    accuracy: Accuracy | None
    embed: Callable[[Sequence[Image]], Floats]
    on_cpu: bool = True

    def pictures(self, count: int, seed: int = 0) -> list[Image]:
        """`count` pictures of noise at the model's own size, so that no resize is timed."""
        if self.largest is not None and count > self.largest:
            raise Refused(f"{self.name} takes at most {self.largest} images at once; bench it with smaller --batches")
        random = np.random.default_rng(seed)
        return list(random.integers(0, 256, (count, self.height, self.width, 3)).astype(np.uint8))


def open_candidate(model: str, threads: int) -> Candidate:
    """The candidate of a checkpoint .pt, a manifest .json or a bundled name. Raises Refused.

    A checkpoint runs in eager torch, whose number of threads is of the whole process.
    """
    return _from_checkpoint(Path(model), threads) if is_checkpoint(model) else _from_manifest(model, threads)


def _from_manifest(model: str, threads: int) -> Candidate:
    about, file = read_model(manifest_path(model))
    embedder = Embedder(about, open_engine(about, file, threads))
    return Candidate(
        name=about.name,
        backend=about.backend,
        precision=about.precision,
        height=about.input.height,
        width=about.input.width,
        largest=about.input.batch[-1],
        file_bytes=len(file.data),
        cost=about.cost,
        accuracy=about.accuracy,
        embed=embedder.embed,
        on_cpu=about.backend in ON_CPU,
    )


def _from_checkpoint(path: Path, threads: int) -> Candidate:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise Refused("a checkpoint needs torch: pip install 'vreid[train]', or bench its manifest") from error
    from vreid.models.checkpoint import load_checkpoint, network_from
    from vreid.models.cost import cost_of, total_of
    from vreid.train.evaluate import embed_with

    torch.set_num_threads(threads)
    stored = load_checkpoint(path)
    network = network_from(stored)
    total = total_of(cost_of(network))
    return Candidate(
        name=path.stem,
        backend="torch",
        precision="fp32",
        height=network.config.height,
        width=network.config.width,
        largest=None,
        file_bytes=path.stat().st_size,
        cost=Cost(params=total.params, macs=total.macs, flops=total.flops),
        accuracy=None,
        embed=embed_with(network),
    )
