"""Two real processes: one network in step, the mean of two gradients, and files from rank 0 alone.

Run as a script under torchrun, this file is one of the processes: it trains and writes a digest of what it ended with.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vreid.models.checkpoint import load_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig
from vreid.train import loop
from vreid.train.datasets.table import join as joined
from vreid.train.datasets.table import read_dataset
from vreid.train.objective import losses_of
from vreid.train.parallel import Place, join, leave, share_of
from vreid.train.pictures import Pictures, loader_of
from vreid.train.recipe import Recipe
from vreid.train.sampler import pk_batches
from vreid.train.student import Student
from vreid.train.validation import cut

NETWORK = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.125})
CPU = torch.device("cpu")


def recipe_of(epochs: int) -> Recipe:
    """Plain gradient descent: after one step of rate 0.01 the weights tell the gradient."""
    return Recipe(
        NETWORK, epochs, optimiser="sgd", lr=0.01, head_lr=1.0, weight_decay=0.0, warmup=0, p=4, k=3, average=0.5
    )


def torchrun(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


def process(data: str, out: str, epochs: str) -> None:
    """What each of the two does; rank 1 also says that it saw no file of its own."""
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = join(rank, world, 0, "cpu")
    steps: list[int] = []
    digests: list[str] = []
    step_in_whole = loop.in_step

    def seen(network: torch.nn.Module, place: Place) -> torch.nn.Module:
        wrapped = step_in_whole(network, place)
        ended.append(network)
        return wrapped

    ended: list[torch.nn.Module] = []
    loop.in_step = seen
    training, validation = cut(read_dataset(data), 1 / 3)
    job = loop.Job(
        recipe_of(int(epochs)),
        [training],
        [validation],
        Path(out),
        place,
        watch=lambda epoch, step, whole: steps.append(step),
    )
    best = loop.train(job)
    digest = hashlib.sha256()
    for name, parameter in ended[0].named_parameters():
        digest.update(name.encode() + parameter.detach().contiguous().numpy().tobytes())
    digests.append(digest.hexdigest())
    report = {"digest": digests[0], "steps": len(steps), "epoch": best.metrics["epoch"]}
    Path(f"{out}.{rank}.json").write_text(json.dumps(report))
    leave(place)
