"""The seam of engines: what runs a lowered network."""

from typing import Protocol

from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest
from vreid.models.preprocess import Image
from vreid.models.seam import open_seam
from vreid.runtime.records import Floats

ENGINES = {
    "onnxruntime": "vreid.runtime.engines.onnxruntime:open_onnxruntime",
    "onnxruntime_cuda": "vreid.runtime.engines.onnxruntime:open_cuda",
    "onnxruntime_tensorrt": "vreid.runtime.engines.onnxruntime:open_tensorrt_provider",
    "openvino": "vreid.runtime.engines.openvino:open_openvino",
    "tensorrt": "vreid.runtime.engines.tensorrt:open_tensorrt",
    "tensorrt_rtx": "vreid.runtime.engines.tensorrt:open_tensorrt_rtx",
}


class Engine(Protocol):
    """Runs one network."""

    def infer(self, pixels: Image) -> Floats:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32 of unit length; B at most the manifest's largest batch."""
        ...


def open_engine(manifest: Manifest, file: EngineFile, threads: int) -> Engine:
    """The engine of `manifest` in `file`, on `threads` CPU threads where it uses any."""
    if threads < 1:
        raise Refused(f"an engine needs at least 1 thread, not {threads}")
    engine: Engine = open_seam("engine", ENGINES, manifest.backend)(manifest, file, threads)
    return engine
