"""A detector as OpenVINO IR (an .xml with its .bin next to it), run by OpenVINO on the CPU; needs the extra `openvino`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.detectors.graph import Arrays
from vreid.runtime.engines.openvino import CORE, last_line, port_of


class OpenVinoGraph:
    """One infer request. `names` are the file's class names, if it holds any (`model_info/labels`)."""

    def __init__(self, path: Path, threads: int) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # else it shares a core with the embedder's engine
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if not path.with_suffix(".bin").is_file():
            raise Refused(f"{path} has no weights; put {path.with_suffix('.bin').name} next to it")
        try:
            model = CORE.read_model(path)
            self._request = CORE.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise Refused(f"OpenVINO cannot load {path} ({last_line(error)}); convert the network again") from error
        self.path = path
        self.inputs = [port_of(port, unnamed="input") for port in model.inputs]
        self.outputs = [port_of(port, unnamed="output") for port in model.outputs]
        self.names = _names(model)

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Inputs by name -> outputs in the file's order. Raises Refused where the graph does not run."""
        inputs = [feeds[port.name] for port in self.inputs]
        try:
            self._request.infer(inputs)
        except RuntimeError as error:
            raise Refused(f"OpenVINO cannot run {self.path} ({last_line(error)}); convert the network again") from error
        return [np.array(self._request.get_output_tensor(place).data) for place in range(len(self.outputs))]


def _names(model: Any) -> Sequence[str]:
    if not model.has_rt_info(["model_info", "labels"]):
        return ()
    return tuple(str(model.get_rt_info(["model_info", "labels"]).value).replace(",", " ").split())
