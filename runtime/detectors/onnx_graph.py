"""A detector's ONNX file, run by ONNX Runtime on the CPU."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.detectors.graph import Arrays
from vreid.runtime.engines.onnxruntime import CPU, FAULTS, first_line, port_of, session_options


class OnnxGraph:
    """One session. `inputs` and `outputs` are as the file declares them, `names` its class names, if it holds any."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            self._session = onnxruntime.InferenceSession(str(path), session_options(threads, True), providers=[CPU])
        except FAULTS as error:
            raise Refused(
                f"{path} is not an ONNX file that this ONNX Runtime can run ({first_line(error)}); export it again"
            ) from error
        self.path = path
        self.inputs = [port_of(node) for node in self._session.get_inputs()]
        self.outputs = [port_of(node) for node in self._session.get_outputs()]
        self.names = _names(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Inputs by name -> outputs in the file's order. Raises Refused where the graph does not run."""
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(feeds))]
        except FAULTS as error:
            raise Refused(f"ONNX Runtime cannot run {self.path} ({first_line(error)}); export it again") from error


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
