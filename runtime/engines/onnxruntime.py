"""ONNX Runtime on the CPU: the plain engine, everywhere at hand."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from vreid.models.errors import Refused
from vreid.models.manifest import Manifest
from vreid.models.preprocess import Image
from vreid.runtime.records import Floats

# ONNX Runtime's own errors are no RuntimeErrors: each derives from Exception directly.
FAULTS = (
    faults.EPFail,
    faults.Fail,
    faults.InvalidArgument,
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoSuchFile,
    faults.NotImplemented,
    faults.RuntimeException,
    RuntimeError,
    ValueError,
)


class OnnxRuntimeEngine:
    """One session; threads are set explicitly and never spin, since an edge box shares its cores with the decoder."""

    def __init__(self, manifest: Manifest, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except FAULTS as error:
            raise Refused(f"ONNX Runtime cannot load {path}; export the model again ({_first_line(error)})") from error
        inputs = [(node.name, node.type, list(node.shape)[1:]) for node in self._session.get_inputs()]
        expected = (manifest.input.name, "tensor(uint8)", [manifest.input.height, manifest.input.width, 3])
        if inputs != [expected]:
            raise Refused(f"{path} takes {inputs} and its manifest says {expected}; export the model again")
        outputs = {node.name: list(node.shape)[1:] for node in self._session.get_outputs()}
        if outputs.get(manifest.output.name) != [manifest.output.dim]:
            wanted = f"{manifest.output.name} of {manifest.output.dim} numbers"
            raise Refused(f"{path} gives {outputs} and its manifest says {wanted}; export the model again")
        self._manifest = manifest

    def infer(self, pixels: Image) -> Floats:
        """(B, H, W, 3) uint8 BGR -> (B, D) float32."""
        try:
            out = self._session.run([self._manifest.output.name], {self._manifest.input.name: pixels})[0]
        except FAULTS as error:
            name = self._manifest.name
            raise Refused(f"ONNX Runtime cannot run {name}; export the model again ({_first_line(error)})") from error
        return np.asarray(out, np.float32)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def open_onnxruntime(manifest: Manifest, path: Path, threads: int) -> OnnxRuntimeEngine:
    """The seam's entry."""
    return OnnxRuntimeEngine(manifest, path, threads)
