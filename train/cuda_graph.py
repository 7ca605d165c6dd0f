"""Networks that see batch after batch on a GPU: their launches are recorded once and played again (CUDA graphs).

A small network is launched, layer by layer, for longer than it works.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vreid.models.network import Features, ReidNetwork


class Graphed:
    """Asks a network that is in eval mode, without gradients, as a teacher is.

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


class Passes:
    """How a student in training goes through a batch: `network` itself, or on a GPU its forward and backward passes played
    again. `network` is the plain student or one in step with others; only a plain one whose layers nobody reads off may be
    `recordable`, since hooks are run by the recording alone. A batch of another shape than the first goes as usual."""

    def __init__(self, network: nn.Module, recordable: bool) -> None:
        self.network, self._recordable = network, recordable
        self._played: Any = None
        self._shape = torch.Size()

    def __call__(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features, with gradients."""
        if self._recordable and pixels.device.type == "cuda":
            if self._played is None:
                self._record(pixels)
            if self._played is not None and pixels.shape == self._shape:
                pooled, embedding, *logits = self._played(pixels)
                return Features(pooled, embedding, logits[0] if logits else None)
        told: Features = self.network(pixels)
        return told

    def _record(self, pixels: Tensor) -> None:
        kept = [(value, value.clone()) for value in self.network.buffers()]
        half = torch.get_autocast_dtype("cuda")
        with torch.autocast("cuda", half, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
            self._played = torch.cuda.make_graphed_callables(_Tensors(self.network), (pixels.clone(),))
        for value, before in kept:  # running statistics have seen the batch too often
            value.copy_(before)
        self._shape = pixels.shape


class _Tensors(nn.Module):
    """A network that tells tensors alone, as recordings want it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(told for told in self.network(pixels) if told is not None)
