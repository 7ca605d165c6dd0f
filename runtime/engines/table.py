"""The seam of engines: what runs a lowered network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vreid.models.errors import Refused, refuse_threads
from vreid.models.manifest import EngineFile, Manifest
from vreid.models.preprocess import Image
from vreid.models.seam import open_seam
from vreid.runtime.records import Floats


@dataclass(frozen=True)
class Port:
    """One input or output of a network; None in `shape` is a length that may vary."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join('any' if size is None else str(size) for size in self.shape)})"


def refuse_ports(manifest: Manifest, path: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raises Refused unless the engine at `path` has one input and one output, and they are the manifest's.

    The batch may vary, or is the one batch that the manifest knows.
    """
    spec, out = manifest.input, manifest.output
    wanted = Port(spec.name, spec.dtype, (None, spec.height, spec.width, 3)), Port(out.name, "float32", (None, out.dim))
    for verb, ports, port in (("takes", inputs, wanted[0]), ("gives", outputs, wanted[1])):
        if [_unbatched(found) for found in ports] != [_unbatched(port)]:
            there = ", ".join(map(str, ports)) or "nothing"
            raise Refused(f"{path} {verb} {there} and its manifest says {port}; export the model again")
        batch = ports[0].shape[0]
        if batch is not None and set(spec.batch) != {batch}:
            says = " ".join(map(str, spec.batch))
            raise Refused(
                f"{path} {verb} {batch} images at a time and its manifest says {says}; export the model again"
            )


def _unbatched(port: Port) -> Port:
    return Port(port.name, port.dtype, (None, *port.shape[1:]))


ENGINES = {
    "onnxruntime": "vreid.runtime.engines.onnxruntime:open_onnxruntime",
    "onnxruntime_cuda": "vreid.runtime.engines.onnxruntime:open_cuda_provider",
    "onnxruntime_tensorrt": "vreid.runtime.engines.onnxruntime:open_tensorrt_provider",
    "openvino": "vreid.runtime.engines.openvino:OpenVinoEngine",
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
    refuse_threads(threads)
    engine: Engine = open_seam("engine", ENGINES, manifest.backend)(manifest, file, threads)
    return engine
