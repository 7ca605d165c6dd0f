"""Data parallelism as torchrun starts it: one process per device, gloo on CPU and nccl on GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where this process stands among the others."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


def join(rank: int, world: int, local_rank: int, device: str) -> Place:
    """Join the process group when there is one; `device` is auto, cpu or cuda."""
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    place = Place(rank, world, torch.device("cuda", local_rank) if cuda else torch.device("cpu"))
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=world)
    return place


def leave(place: Place) -> None:
    """Leave the process group."""
    if place.world > 1:
        dist.destroy_process_group()


def share_of(batches: Sequence[T], place: Place) -> list[T]:
    """Every world-th batch, the same number for each process."""
    each = len(batches) // place.world
    return list(batches[place.rank : each * place.world : place.world])
