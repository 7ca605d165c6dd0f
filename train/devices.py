"""Where a training runs: a process per device as torchrun starts them (gloo on CPU, nccl on GPU), and CUDA graphs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vreid.models.errors import Refused
from vreid.models.network import Features, ReidNetwork

T = TypeVar("T")

# rank 0 validates while the others wait, perhaps for longer than nccl's ten minutes; a dead process ends all at once
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """Where this process stands among the others."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def started_as() -> tuple[int, int, int]:
    """(rank, world, local rank) as torchrun sets them for a process that it has started; (0, 1, 0) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))


def device_of(device: str, local_rank: int) -> torch.device:
    """auto, cpu or cuda -> the device of a machine's process of that rank. Raises Refused for one that is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise Refused(f"there is no device '{device}'; choose auto, cpu or cuda")
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda and local_rank >= torch.cuda.device_count():
        raise Refused(
            f"torch sees {torch.cuda.device_count()} CUDA devices; start one process for each, or give --device cpu"
        )
    return torch.device("cuda", local_rank) if cuda else torch.device("cpu")


def join_processes(rank: int, world: int, local_rank: int, device: str) -> Place:
    """Join the process group when there is one; `device` is auto, cpu or cuda. Raises Refused for one that is not there."""
    place = Place(rank, world, device_of(device, local_rank))
    cuda = place.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(place.device)  # else nccl's barrier would meet on device 0
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world, timeout=PATIENCE)
    return place


def leave_processes(place: Place) -> None:
    """Leave the process group."""
    if place.world > 1:
        dist.destroy_process_group()


def wait(place: Place) -> None:
    """Until every process has come here."""
    if place.world > 1:
        dist.barrier()


def in_step(network: nn.Module, place: Place) -> nn.Module:
    """The network itself, or wrapped so that gradients are the mean over the processes.

    Every forward pass in training starts from rank 0's buffers: the batch norms' running statistics are of its share.
    """
    return network if place.world == 1 else DistributedDataParallel(network)


def share_of(batches: Sequence[T], place: Place) -> list[T]:
    """Every world-th batch, the same number for each process."""
    each = len(batches) // place.world
    return list(batches[place.rank : each * place.world : place.world])


# Networks that see batch after batch on a GPU: their launches are captured once and replayed (CUDA graphs).
#
# A small network is launched, layer by layer, for longer than it works.


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
