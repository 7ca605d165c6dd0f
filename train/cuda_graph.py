"""Networks that see batch after batch on a GPU: their launches are captured once and replayed (CUDA graphs).

A small network is launched, layer by layer, for longer than it works.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vreid.models.network import Features, ReidNetwork


class GraphRunner:
    """Runs a network that is in eval mode, without gradients, as a teacher is, by a captured graph.

    On a CPU, in training mode, and for a batch of another shape than the first, the network is run as usual. Its output, and
    what hooks on it hold, is overwritten by the next call. Call it in or out of autocast, but always alike.
    """

    def __init__(self, network: ReidNetwork) -> None:
        self.network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        self._seen = torch.empty(0)
        self._output: Features | None = None

    def __call__(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features."""
        if pixels.device.type != "cuda" or self.network.training or torch.is_grad_enabled():
            return self._plain(pixels)
        if self._graph is None:
            self._capture(pixels)
        if self._graph is None or self._output is None or self._seen.shape != pixels.shape:
            return self._plain(pixels)
        self._seen.copy_(pixels)
        self._graph.replay()
        return self._output

    def _plain(self, pixels: Tensor) -> Features:
        features: Features = self.network(pixels)
        return features

    def _capture(self, pixels: Tensor) -> None:
        self._seen = pixels.clone()
        half = torch.get_autocast_dtype("cuda")
        # autocast's cache of weights would end with its context, and the graph go on reading them
        with torch.autocast("cuda", half, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries set themselves up in their first calls
                for _ in range(3):
                    self.network(self._seen)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._output = self.network(self._seen)
        self._graph = graph


class TrainingGraphRunner:
    """Runs a student in training: `network` itself, or on a GPU the captured graphs of its forward and backward passes.
    `network` is the plain student or one in step with others; only a plain one without hooks may be `capturable`, since
    hooks run while the graph is captured, and never again. A batch of another shape than the first goes as usual."""

    def __init__(self, network: nn.Module, capturable: bool) -> None:
        self.network, self._capturable = network, capturable
        self._captured_calls: Any = None
        self._shape = torch.Size()

    def __call__(self, pixels: Tensor) -> Features:
        """(B, H, W, 3) uint8 BGR -> Features, with gradients."""
        if self._capturable and pixels.device.type == "cuda":
            if self._captured_calls is None:
                self._capture(pixels)
            if self._captured_calls is not None and pixels.shape == self._shape:
                pooled, embedding, *logits = self._captured_calls(pixels)
                return Features(pooled, embedding, logits[0] if logits else None)
        features: Features = self.network(pixels)
        return features

    def _capture(self, pixels: Tensor) -> None:
        kept = [(value, value.clone()) for value in self.network.buffers()]
        half = torch.get_autocast_dtype("cuda")
        with torch.autocast("cuda", half, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
            self._captured_calls = torch.cuda.make_graphed_callables(_Tensors(self.network), (pixels.clone(),))
        for value, before in kept:  # running statistics have seen the batch too often
            value.copy_(before)
        self._shape = pixels.shape


class _Tensors(nn.Module):
    """A network that gives tensors only, as graphs are captured of."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for part in self.network(pixels) if part is not None)
