"""What a detector's graph is, whoever runs it, and what it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.engines.table import Port

Arrays = list[NDArray[np.generic]]
GRAPHS = {
    ".onnx": "vreid.runtime.detectors.onnx_graph:OnnxGraph",
    ".xml": "vreid.runtime.detectors.openvino_graph:OpenVinoGraph",
}


class Graph(Protocol):
    """A network from a file."""

    path: Path
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    names: Sequence[str]  # of its classes, empty where the file does not say

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Inputs by name -> outputs in the order of `outputs`. Raises Refused where the graph does not run."""
        ...


def open_graph(path: Path, threads: int) -> Graph:
    """The graph in an .onnx file, or in an .xml of OpenVINO. Raises Refused, MissingExtra without OpenVINO."""
    kind = path.suffix.lower() if path.suffix.lower() in GRAPHS else ".onnx"
    graph: Graph = open_seam("kind of graph", GRAPHS, kind, "openvino" if kind == ".xml" else "")(path, threads)
    return graph


@dataclass(frozen=True)
class Inputs:
    """A detector's inputs: the picture's, `height` and `width` in pixels, and that of the picture's size, if it has one."""

    picture: Port
    size: Port | None
    height: int
    width: int
    dynamic: bool  # whether any number of pictures go in together

    def feeds(self, pictures: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """(N, 3, H, W) float32 -> what the graph is to be run with."""
        feeds: dict[str, NDArray[np.generic]] = {self.picture.name: pictures.astype(self.picture.dtype, copy=False)}
        if self.size is not None:
            feeds[self.size.name] = np.tile([[self.width, self.height]], (len(pictures), 1)).astype(self.size.dtype)
        return feeds


def inputs_of(graph: Graph, height: int, width: int) -> Inputs:
    """The inputs of `graph`; `height` and `width` are used where the graph leaves its sides open, 0: not given.

    Raises Refused where it does not take float pictures N x 3 x H x W.
    """
    pictures = [port for port in graph.inputs if len(port.shape) == 4]
    sizes = [port for port in graph.inputs if len(port.shape) == 2 and port.shape[1] in (2, None)]
    takes = ", ".join(map(str, graph.inputs))
    if len(pictures) != 1 or len(sizes) > 1 or len(pictures) + len(sizes) != len(graph.inputs):
        raise Refused(f"{graph.path} takes {takes}, and a detector takes one picture N x 3 x H x W; export it again")
    port = pictures[0]
    if port.dtype not in ("float32", "float16") or port.shape[1] != 3 or port.shape[0] not in (1, None):
        raise Refused(
            f"{graph.path} takes {takes}, and a detector takes float N x 3 x H x W, N 1 or open; export it again"
        )
    sides = []
    for name, own, given in (("height", port.shape[2], height), ("width", port.shape[3], width)):
        if own is None and not given:
            raise Refused(
                f"{graph.path} leaves the size of its picture open; write ?height=640&width=640 with that of its training"
            )
        if own is not None and given not in (0, own):
            raise Refused(f"{graph.path} takes pictures of {name} {own}, not {given}; leave {name}= out")
        sides.append(own or given)
    return Inputs(port, sizes[0] if sizes else None, sides[0], sides[1], port.shape[0] is None)
