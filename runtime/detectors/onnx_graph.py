"""A detector's ONNX file, run by ONNX Runtime on the CPU."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.detectors.graph import Arrays, Port
from vreid.runtime.engines.onnxruntime import EXACT_INT8, FAULTS

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32"}


class OnnxGraph:
    """One session. `inputs` and `outputs` are as the file declares them, `names` its class names, if it holds any."""

    def __init__(self, path: Path, threads: int) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.add_session_config_entry(*EXACT_INT8)
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except FAULTS as error:
            raise Refused(
                f"{path} is not an ONNX file that this ONNX Runtime can run ({_first(error)}); export it again"
            ) from error
        self.path = path
        self.inputs = [_port(node) for node in self._session.get_inputs()]
        self.outputs = [_port(node) for node in self._session.get_outputs()]
        self.names = _names(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Inputs by name -> outputs in the file's order. Raises Refused where the graph does not run."""
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(feeds))]
        except FAULTS as error:
            raise Refused(f"ONNX Runtime cannot run {self.path} ({_first(error)}); export it again") from error


def _port(node: onnxruntime.NodeArg) -> Port:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Port(node.name, _TYPES.get(node.type, node.type), shape)


def _names(metadata: Mapping[str, str]) -> Sequence[str]:
    """The value of `names`, as exporters of YOLO write it: a Python dict of number to name, or a list."""
    try:
        names = ast.literal_eval(metadata.get("names", "[]"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if whole else ()


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]
