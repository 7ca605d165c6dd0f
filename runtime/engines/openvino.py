"""OpenVINO on the CPU: often the fastest on Intel and AMD, and on the same ONNX file."""

from io import BytesIO
from threading import Lock
from typing import Any

import numpy as np
from openvino import Core
from openvino import frontend as frontends

from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest
from vreid.models.preprocess import Image
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.table import Port, refuse_ports
from vreid.runtime.records import Floats

# the failures of its ONNX reader derive from Exception directly
_FAULTS = (
    frontends.GeneralFailure,
    frontends.InitializationFailure,
    frontends.NotImplementedFailure,
    frontends.OpConversionFailure,
    frontends.OpValidationFailure,
    RuntimeError,
    ValueError,
)
# The process's only one. Its CPU plugin (2026.4.1) gives the thread that loads it a stack for signals, and takes the
# memory away when it is unloaded: in another thread, or two of them in the order of loading, that leaves the thread a
# stale address, and Python's next signal there is a segmentation fault. One Core loads the plugin once and keeps it.
CORE = Core()
_TYPES = {"u8": "uint8", "f32": "float32", "f16": "float16", "i64": "int64", "i32": "int32"}


class OpenVinoEngine:
    """One infer request, so callers on several threads wait for each other."""

    def __init__(self, manifest: Manifest, file: EngineFile, threads: int) -> None:
        onnx_from(file.data, file.path)  # OpenVINO itself runs an opset that it does not know
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            # two engines would be pinned to the same core
            "ENABLE_CPU_PINNING": False,
            # else bfloat16 on a CPU that has it, in place of float32 and of float16 alike; Q/DQ stays int8
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            # by name: Core.read_model lets every reader try, and TensorFlow's writes on stderr
            reader = frontends.FrontEndManager().load_by_framework("onnx")
            compiled = CORE.compile_model(reader.convert(reader.load(BytesIO(file.data))), "CPU", settings)
            inputs = [port_of(port, manifest.input.name) for port in compiled.inputs]
            outputs = [port_of(port, manifest.output.name) for port in compiled.outputs]
            self._request = compiled.create_infer_request()
        except _FAULTS as error:
            raise Refused(f"OpenVINO cannot load {file.path}; export the model again ({last_line(error)})") from error
        refuse_ports(manifest, file.path, inputs, outputs)
        self._manifest = manifest
        self._lock = Lock()

    def infer(self, pixels: Image) -> Floats:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32."""
        with self._lock:
            try:
                self._request.infer({self._manifest.input.name: np.ascontiguousarray(pixels)}, share_inputs=True)
            except _FAULTS as error:
                name = self._manifest.name
                raise Refused(f"OpenVINO cannot run {name}; export the model again ({last_line(error)})") from error
            return np.array(self._request.get_output_tensor(0).data, np.float32)


def port_of(port: Any, wanted: str = "", unnamed: str = "?") -> Port:
    """A tensor has several names where a node between them did nothing: `wanted` if it is one of them; or none."""
    names = port.get_names()
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return Port(wanted if wanted in names else min(names, default=unnamed), _TYPES.get(kind, kind), shape)


def last_line(error: Exception) -> str:
    """The last line that says something: the first ones name OpenVINO's own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
