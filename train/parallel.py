"""Data parallelism as torchrun starts it: one process per device, gloo on CPU and nccl on GPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vreid.models.errors import Refused

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


def join(rank: int, world: int, local_rank: int, device: str) -> Place:
    """Join the process group when there is one; `device` is auto, cpu or cuda. Raises Refused for one that is not there."""
    place = Place(rank, world, device_of(device, local_rank))
    cuda = place.device.type == "cuda"
    if cuda:
        torch.cuda.set_device(place.device)  # else nccl's barrier would meet on device 0
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world, timeout=PATIENCE)
    return place


def leave(place: Place) -> None:
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
