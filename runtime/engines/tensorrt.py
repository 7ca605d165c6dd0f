"""TensorRT, and TensorRT for RTX: runs a plan that `vreid build` made on this device, on TensorRT 10.3 to 11.

TensorRT's documentation wants an execution context of its own for every captured graph, since a change of shape in a
context makes the graphs that were captured from it undefined. So there is one context for batches of any size, and a second
only where a graph of the best batch was captured.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest
from vreid.models.preprocess import Image
from vreid.runtime.engines.cuda import Cuda, open_cuda
from vreid.runtime.engines.devices import machine_key, refuse_elsewhere
from vreid.runtime.engines.table import Port, refuse_ports
from vreid.runtime.records import Floats

OLDEST = (10, 3)
FIXES = {
    "tensorrt": "pip install tensorrt (on a Jetson JetPack brings it: sudo apt install nvidia-jetpack)",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}


def tensorrt_library(name: str) -> Any:
    """The module `tensorrt` or `tensorrt_rtx`, which share one interface. Raises Refused with the way to install it, and
    for a TensorRT before 10.3, which would take a graph's types for a suggestion."""
    try:
        library = import_module(name)
    except (ImportError, OSError) as error:  # not there, or its libraries are not
        said = str(error).partition("\n")[0]
        raise Refused(f"{name} does not import ({said}): {FIXES[name]}") from error
    version = str(library.__version__)
    if name == "tensorrt" and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise Refused(
            f"TensorRT {version} is older than the 10.3 that vreid needs; update it, on a Jetson with JetPack 6.2"
        )
    return library


def listener_of(trt: Any) -> Any:
    """A logger whose `said` gathers the errors, as stdout is not TensorRT's and a refusal wants the reason."""

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.said.append(message.partition("\n")[0])

    return Listener()


def first_error(listener: Any) -> str:
    """The first error that a listener heard: the others follow from it."""
    return str(listener.said[0]) if listener.said else "it gave no reason"


class TensorRtEngine:
    """One plan, one stream, and buffers for the largest batch, made once; callers on several threads take turns."""

    def __init__(self, trt: Any, cuda: Cuda, manifest: Manifest, file: EngineFile) -> None:
        self._cuda, self._manifest, self._lock = cuda, manifest, Lock()
        spec, (_, best, most) = manifest.input, manifest.input.batch
        with cuda.current():
            self._listener = listener_of(trt)
            self._runtime = trt.Runtime(self._listener)
            dla = (manifest.built_for or {}).get("dla")
            if dla is not None:
                self._runtime.DLA_core = int(dla)
            self._plan = self._runtime.deserialize_cuda_engine(file.data)
            if self._plan is None:
                said = first_error(self._listener)
                raise Refused(f"TensorRT cannot load {file.path} ({said}); run vreid build again here")
            refuse_ports(manifest, file.path, *plan_ports(trt, self._plan))
            self._refuse_profile(file.path)
            self._pixels: NDArray[np.uint8] = cuda.pinned((most, spec.height, spec.width, 3), np.uint8)
            self._features: Floats = cuda.pinned((most, manifest.output.dim), np.float32)
            self._in, self._out = cuda.memory(self._pixels.nbytes), cuda.memory(self._features.nbytes)
            self._context = self._opened()
            self._captured = self._graph(best) if cuda.captures else None

    def infer(self, pixels: Image) -> Floats:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32. The best batch is one launch of a graph where there is one."""
        count = len(pixels)
        most = self._manifest.input.batch[2]
        if count > most:
            raise Refused(f"{self._manifest.name} was built for at most {most} images at once, not {count}")
        with self._lock, self._cuda.current():
            self._pixels[:count] = pixels
            if self._captured is not None and count == self._manifest.input.batch[1]:
                self._captured()
            else:
                self._shape(self._context, count)
                self._launch(self._context, count)
            self._cuda.synchronise()
            return self._features[:count].copy()

    def _opened(self) -> Any:
        context = self._plan.create_execution_context()
        if context is None:
            said = first_error(self._listener)
            raise Refused(f"TensorRT has no room for {self._manifest.name} ({said}); free the GPU's memory")
        context.set_tensor_address(self._manifest.input.name, self._in.address)
        context.set_tensor_address(self._manifest.output.name, self._out.address)
        return context

    def _shape(self, context: Any, count: int) -> None:
        spec = self._manifest.input
        if not context.set_input_shape(spec.name, (count, spec.height, spec.width, 3)):
            raise self._failed()

    def _launch(self, context: Any, count: int) -> None:
        self._cuda.upload(self._pixels[:count], self._in)
        if not context.execute_async_v3(self._cuda.stream):
            raise self._failed()
        self._cuda.download(self._out, self._features[:count])

    def _graph(self, best: int) -> Callable[[], None] | None:
        context = self._opened()
        self._shape(context, best)
        self._pixels[:best] = 0
        self._launch(context, best)  # what TensorRT does only once it does here, outside the capture
        self._cuda.synchronise()
        launch = self._cuda.captured(lambda: self._launch(context, best))
        self._captured_context = context if launch is not None else None  # lives as long as its graph
        return launch

    def _refuse_profile(self, path: Path) -> None:
        spec = self._manifest.input
        least, _, most = (int(shape[0]) for shape in self._plan.get_tensor_profile_shape(spec.name, 0))
        if least > spec.batch[0] or most < spec.batch[2]:
            wanted = f"{spec.batch[0]} to {spec.batch[2]}"
            raise Refused(
                f"{path} takes {least} to {most} images and its manifest says {wanted}; run vreid build again"
            )

    def _failed(self) -> Refused:
        said = first_error(self._listener)
        return Refused(f"TensorRT cannot run {self._manifest.name} ({said}); run vreid build again here")


def plan_ports(trt: Any, plan: Any) -> tuple[list[Port], list[Port]]:
    """The inputs and the outputs of a deserialised plan."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    for index in range(plan.num_io_tensors):
        name = plan.get_tensor_name(index)
        shape = tuple(None if size < 0 else int(size) for size in plan.get_tensor_shape(name))
        kind = {trt.DataType.UINT8: "uint8", trt.DataType.FLOAT: "float32"}.get(plan.get_tensor_dtype(name), "other")
        into = inputs if plan.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        into.append(Port(name, kind, shape))
    return inputs, outputs


def _opened(library: str, manifest: Manifest, file: EngineFile) -> TensorRtEngine:
    if manifest.built_for is None:  # said before a device is looked for
        refuse_elsewhere(manifest, file.path, {})
    trt = tensorrt_library(library)
    refuse_elsewhere(manifest, file.path, machine_key(library, trt.__version__))
    return TensorRtEngine(trt, open_cuda(), manifest, file)


def open_tensorrt(manifest: Manifest, file: EngineFile, threads: int) -> TensorRtEngine:
    """The seam's entry for TensorRT; `threads` are of the CPU and not used."""
    return _opened("tensorrt", manifest, file)


def open_tensorrt_rtx(manifest: Manifest, file: EngineFile, threads: int) -> TensorRtEngine:
    """The seam's entry for TensorRT for RTX."""
    return _opened("tensorrt_rtx", manifest, file)
