"""Models on disk: opened (a checkpoint in torch, a manifest or bundled name in its engine, or hsv), and written atomically."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vreid.models.errors import MOST_BATCH, MissingExtra, Refused, shown
from vreid.models.files import refuse_same, sha256_of
from vreid.models.manifest import Accuracy, Cost, EngineFile, Manifest, read_model, write_manifest
from vreid.models.preprocess import Embed, Floats, Image
from vreid.models.zoo import is_checkpoint, manifest_path
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.table import Engine

if TYPE_CHECKING:
    import onnx

ON_CPU = ("onnxruntime", "openvino", "torch")
BASELINE = "hsv"  # histograms of colours


@dataclass(frozen=True, kw_only=True)
class Model:
    """An open model: `embed` takes N pictures and gives (N, D).

    `fingerprint` names the embedding space, one for a checkpoint and everything lowered from it; `largest` is the batch that
    it takes at once, None for any; `file_bytes` are of the engine or checkpoint; `trained` holds the keys of the pictures that
    a checkpoint learnt from, where it names them.
    """

    name: str
    backend: str
    precision: str
    fingerprint: str
    embed: Embed
    height: int
    width: int
    file_bytes: int
    cost: Cost
    largest: int | None = None
    accuracy: Accuracy | None = None
    trained: frozenset[int] = frozenset()

    @property
    def on_cpu(self) -> bool:
        """Whether its engine is one for the CPU."""
        return self.backend in ON_CPU

    def noise(self, count: int, seed: int = 0) -> list[Image]:
        """`count` pictures of noise at the model's own size, so that no resize is timed."""
        if self.largest is not None and count > self.largest:
            raise Refused(f"{self.name} takes at most {self.largest} images at once; bench it with smaller --batches")
        random = np.random.default_rng(seed)
        return list(random.integers(0, 256, (count, self.height, self.width, 3)).astype(np.uint8))


@dataclass(frozen=True, kw_only=True)
class LoweredModel(Model):
    """A model that runs in an engine, with its manifest."""

    manifest: Manifest


def open_model(model: str, threads: int = 1, device: str = "cpu", finite: bool = True) -> Model:
    """A checkpoint .pt (on auto, cpu or cuda), a manifest .json, a bundled name, or hsv. Raises Refused.

    With `finite` an engine that gives NaN or infinity is refused, else they are handed on as NaN. A checkpoint runs in eager
    torch, whose number of threads is of the whole process.
    """
    if model == BASELINE:
        return _baseline()
    return (
        _from_checkpoint(Path(model), threads, device) if is_checkpoint(model) else open_lowered(model, threads, finite)
    )


def open_lowered(
    model: str | Path, threads: int = 1, finite: bool = True, failures: dict[int, str] | None = None
) -> LoweredModel:
    """A manifest .json or a bundled name. With `failures` (and without `finite`), a batch that the engine cannot run gives
    rows of infinity, and {size of the batch: the engine's message} is put there. Raises Refused as `open_embedder`."""
    path = manifest_path(str(model))
    embedder = open_embedder(path, threads)
    about = embedder.manifest
    if not finite:
        embedder = Embedder(about, _Observed(embedder.engine, about.output.dim, failures), finite=False)
    return LoweredModel(
        name=about.name,
        backend=about.backend,
        precision=about.precision,
        fingerprint=about.fingerprint,
        embed=embedder.embed,
        height=about.input.height,
        width=about.input.width,
        file_bytes=path.with_name(about.engine).stat().st_size,
        cost=about.cost,
        largest=about.input.batch[-1],
        accuracy=about.accuracy,
        manifest=about,
    )


def read_onnx(model: str | Path) -> tuple[Manifest, EngineFile]:
    """The manifest and the ONNX file, whose graph is to be read, of a manifest .json or a bundled name. Raises Refused for a
    built engine, and for what no engine takes: weights in another file, unknown opsets."""
    path = manifest_path(str(model))
    manifest, engine = read_model(path)
    if manifest.built_for is not None or engine.path.suffix != ".onnx":
        raise Refused(f"{path} is of a built engine; give the manifest of the ONNX model that it was built from")
    onnx_from(engine.data, engine.path)
    return manifest, engine


class _Observed:
    """An engine whose infinities are NaN, and whose failed batches, where they are wanted, are rows of infinity."""

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
            return np.full(wanted, np.inf, np.float32)
        return np.where(np.isfinite(found), found, np.nan).astype(np.float32)


def _from_checkpoint(path: Path, threads: int, device: str) -> Model:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra("a checkpoint needs torch: pip install 'vreid[train]', or give a manifest") from error
    from vreid.models.checkpoint import fingerprint_of, load_checkpoint, network_from
    from vreid.models.cost import cost_of, total_of
    from vreid.train.devices import device_of, started_as
    from vreid.train.evaluate import embed_with

    torch.set_num_threads(threads)
    stored = load_checkpoint(path)
    network = network_from(stored)
    total = total_of(cost_of(network))
    return Model(
        name=path.stem,
        backend="torch",
        precision="fp32",
        fingerprint=fingerprint_of(stored),
        embed=embed_with(network.to(device_of(device, started_as()[2]))),
        height=network.config.height,
        width=network.config.width,
        file_bytes=path.stat().st_size,
        cost=Cost(params=total.params, macs=total.macs, flops=total.flops),
        trained=stored.learnt_keys(),
    )


def _baseline() -> Model:
    from vreid.train.evaluate import hsv_histograms

    none = Cost(params=0, macs=0, flops=0)
    return Model(
        name=BASELINE, backend="numpy", precision="fp32", fingerprint=BASELINE, embed=hsv_histograms,
        height=64, width=64, file_bytes=0, cost=none,
    )  # fmt: skip


@contextmanager
def atomic_output(out: Path) -> Iterator[Path]:
    """A temporary path for `out`; when the body succeeds, its file and the .json next to it take their places.

    Raises Refused for another ending than .onnx, and for what the file system refuses; nothing half-written stays.
    """
    refuse_other_than_onnx(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            temporary = Path(folder) / out.name
            yield temporary
            temporary.replace(out)
            temporary.with_suffix(".json").replace(out.with_suffix(".json"))
    except OSError as error:
        raise Refused(f"cannot write {out} ({error.strerror or error}); make room or choose another --out") from error


def refuse_other_than_onnx(out: Path) -> None:
    """Before any work is done."""
    if out.suffix != ".onnx":
        raise Refused(f"--out is the ONNX file, such as build/student.onnx, not {out}")


def refuse_replaced(out: Path, *inputs: Path) -> None:
    """Before any work is done: `out` and the manifest that is written with it must be none of the files that are read."""
    for written in (out, out.with_suffix(".json")):
        refuse_same(written, *inputs)


def refuse_batch(batch: tuple[int, int, int]) -> None:
    """Before any work is done."""
    if not 1 <= batch[0] <= batch[1] <= batch[2] <= MOST_BATCH:
        given = shown(" ".join(map(str, batch)))
        raise Refused(f"--batch is least, best, most in rising order from 1 to {MOST_BATCH}, not {given}")


def written_and_opened(
    graph: "onnx.ModelProto", manifest: Manifest, temporary: Path, threads: int = 1
) -> tuple[Manifest, Embedder]:
    """The graph written to `temporary`, `manifest` next to it with its name and hash, and both opened as the runtime does."""
    temporary.write_bytes(graph.SerializeToString())
    manifest = manifest.model_copy(update={"engine": temporary.name, "sha256": sha256_of(temporary)})
    write_manifest(manifest, temporary.with_suffix(".json"))
    return manifest, open_embedder(temporary.with_suffix(".json"), threads)
