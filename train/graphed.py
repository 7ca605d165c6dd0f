"""A network that answers batch after batch on a GPU: its launches are recorded once and played again (CUDA graphs)."""

import torch
from torch import Tensor

from vreid.models.head import Features
from vreid.models.network import ReidNetwork


class Graphed:
    """Asks a network that is in eval mode, without gradients. A small network beside a training spends more time on being
    launched, layer by layer, than on its arithmetic; played again it is one launch.

    On a CPU, in training mode, and for a batch of another shape than the first, the network is asked as usual. What it
    told, and what hooks on it hold, is overwritten by the next question. Ask in or out of autocast, but always alike.
    """

    def __init__(self, network: ReidNetwork) -> None:
        self.network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        self._seen = torch.empty(0)
        self._told: Features | None = None

    def __call__(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features."""
        if pixels.device.type != "cuda" or self.network.training or torch.is_grad_enabled():
            return self._plain(pixels)
        if self._graph is None:
            self._record(pixels)
        if self._graph is None or self._told is None or self._seen.shape != pixels.shape:
            return self._plain(pixels)
        self._seen.copy_(pixels)
        self._graph.replay()
        return self._told

    def _plain(self, pixels: Tensor) -> Features:
        told: Features = self.network(pixels)
        return told

    def _record(self, pixels: Tensor) -> None:
        self._seen = pixels.clone()
        half = torch.get_autocast_dtype("cuda")
        # autocast's cache of weights would end with its context, and the recording go on reading them
        with torch.autocast("cuda", half, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):  # libraries set themselves up in their first calls
                for _ in range(3):
                    self.network(self._seen)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._told = self.network(self._seen)
        self._graph = graph
