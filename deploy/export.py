"""From a checkpoint to ONNX with its manifest: everything but the resize is inside the graph."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vreid.deploy.compare import accuracy_from
from vreid.deploy.graph import half_precision, half_stored, simplified
from vreid.deploy.model import atomic_output, refuse_batch, refuse_other_than_onnx, refuse_replaced, written_and_opened
from vreid.deploy.settings import BATCH, ExportOptions
from vreid.models.checkpoint import fingerprint_of, load_checkpoint, network_from
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Cost, Input, Manifest, Match, Output, write_manifest
from vreid.models.network import ReidNetwork
from vreid.runtime.embedder import Embedder
from vreid.train.data.records import Dataset
from vreid.train.evaluate import evaluate

OPSET = 18
LEAST_COSINE = 0.9999
LEAST_HALF_COSINE = 0.999


class PixelsToEmbedding(nn.Module):
    """(B, H, W, 3) uint8 BGR -> (B, D) float32 of unit length: what the graph computes."""

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.embed(images)


def onnx_from_checkpoint(
    checkpoint: Path,
    out: Path,
    options: ExportOptions | None = None,
    data: Dataset | None = None,
) -> Manifest:
    """Write `out` (.onnx) and its manifest next to it; returns the manifest.

    With `data` the engine is evaluated on its test part and the manifest says how it did.

    The written engine is run through the runtime's own embedder and must agree with torch (cosine >= 0.9999, in half 0.999,
    on noise and flat pictures), otherwise nothing is left behind. Raises Refused.
    """
    refuse_other_than_onnx(out)
    options = options or ExportOptions()
    half, batch = options.half, options.batch or BATCH
    if half and options.half_weights:
        raise Refused("--half computes in half precision, whose weights are small already; leave --half-weights out")
    refuse_batch(batch)
    refuse_replaced(out, Path(checkpoint))
    stored = load_checkpoint(checkpoint)
    network = network_from(stored)
    config = stored.config
    with atomic_output(out) as temporary:
        graph = simplified(_traced(network, batch), batch[1])
        if half or options.half_weights:
            graph = half_precision(graph) if half else half_stored(graph)
        cost = total_of(cost_of(network))
        manifest = Manifest(
            name=out.stem,
            engine=out.name,
            sha256="0" * 64,  # of nothing yet: `written_and_opened` writes the file and its hash
            backend="onnxruntime",
            precision="fp16" if half else "fp32",
            input=Input(height=config.height, width=config.width, batch=list(batch)),
            output=Output(dim=config.dim),
            cost=Cost(params=cost.params, macs=cost.macs, flops=2 * cost.macs),
            accuracy=None,
            match=Match(**stored.metrics["match"]) if "match" in stored.metrics else None,
            fingerprint=fingerprint_of(stored),
            built_for=None,
            made_from=sha256_of(checkpoint),
        )
        manifest, embedder = written_and_opened(graph, manifest, temporary)
        cosine = least_cosine(network, embedder)
        if cosine < (LEAST_HALF_COSINE if half else LEAST_COSINE):
            raise Refused(f"the ONNX disagrees with the checkpoint (cosine {cosine:.5f}); report it with vreid doctor")
        if data is not None:
            manifest = manifest.model_copy(
                update={"accuracy": accuracy_from(data.name, evaluate(data, embedder.embed))}
            )
            write_manifest(manifest, temporary.with_suffix(".json"))
    return manifest


def least_cosine(network: ReidNetwork, embedder: Embedder) -> float:
    """The least cosine between torch and the engine over a batch of flat, striped and noisy pictures."""
    height, width = network.config.height, network.config.width
    random = np.random.default_rng(0)
    pictures = [np.full((height, width, 3), level, np.uint8) for level in (0, 90, 255)]
    pictures += [random.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(2)]
    pictures += [np.repeat(random.integers(0, 256, (height, 1, 3)).astype(np.uint8), width, 1) for _ in range(2)]
    with torch.inference_mode():
        reference = network.embed(torch.from_numpy(np.stack(pictures))).numpy()
    return float((reference * embedder.embed(pictures)).sum(1).min())


def _traced(network: ReidNetwork, batch: tuple[int, int, int]) -> onnx.ModelProto:
    """The graph with a dynamic batch. The tracing exporter keeps opset and node order, which the newer one does not."""
    pixels = torch.zeros((batch[1], network.config.height, network.config.width, 3), dtype=torch.uint8)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file, warnings.catch_warnings():
        # sides of maps are constants, since only the batch may change; paddings are merged into convolutions afterwards
        for message in ("Converting a tensor to a Python", "Constant folding"):
            warnings.filterwarnings("ignore", message)
        torch.onnx.export(
            PixelsToEmbedding(network).eval(),
            (pixels,),
            file.name,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embedding"],
            dynamic_axes={"images": {0: "batch"}, "embedding": {0: "batch"}},
            dynamo=False,
        )
        model = onnx.load(file.name)
    found = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if found != OPSET:
        raise Refused(f"the exporter wrote opset {found} instead of {OPSET}; use another torch version")
    return model
