"""Two real processes under torchrun: one network in step, the mean of two gradients, and files from rank 0 only.

Run as a script, this file is one of the processes: it trains, and writes its first gradient and its last parameters.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from vreid.models.checkpoint import load_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig
from vreid.train.data.pictures import Pictures, loader_of
from vreid.train.data.sampler import pk_batches
from vreid.train.data.split import cut
from vreid.train.data.split import join as joined
from vreid.train.data.table import read_dataset
from vreid.train.devices import Place, device_of, join_processes, leave_processes, share_of, started_as
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.optimise import losses_of
from vreid.train.recipe import Recipe
from vreid.train.student import Student

NETWORK = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.125})
RECIPE = Recipe(NETWORK, epochs=2, p=4, k=3, average=0.5, validate_every=1)
CPU = torch.device("cpu")


def job_of(data: str, out: Path, place: Place) -> Job:
    training, validation = cut(read_dataset(data), 1 / 3)
    return Job(RECIPE, [training], [validation], out, place)


def process(data: str, out: Path) -> None:
    """What each of the two does."""
    torch.set_num_threads(1)
    place = join_processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]), "cpu")
    stepped: list[list[list[Tensor]]] = []

    def look(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        stepped.append([[p.grad.clone() for p in parameters], [p.detach().clone() for p in parameters]])

    register_optimizer_step_post_hook(look)
    best = train(job_of(data, out, place))
    found = {"gradient": stepped[0][0], "parameters": stepped[-1][1], "steps": len(stepped), "best": best.weights}
    torch.save(found, out.with_name(f"rank{place.rank}.pt"))
    leave_processes(place)


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )


def gradient_of(job: Job, rank: int) -> list[Tensor]:
    """The first gradient of one process, had it had only its half of the batches."""
    items = joined(job.training)
    student = Student(RECIPE, len({item.vehicle for item in items}), CPU, job.seed, None)
    student.network.train()
    vehicles = sorted({item.vehicle for item in items})
    labels = torch.tensor([vehicles.index(item.vehicle) for item in items])
    batches = share_of(pk_batches(items, RECIPE.p, RECIPE.k, job.seed, 0), Place(rank, 2, CPU))
    pictures = Pictures(items, RECIPE.augmentation, job.seed, 64)
    pictures.start(0, (32, 32))
    pixels = next(iter(loader_of(pictures, batches, rank * len(batches) * RECIPE.p * RECIPE.k, 0)))
    parts = losses_of(RECIPE, student.network(pixels), labels[batches[0]])
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    return [p.grad for group in student.optimiser.param_groups for p in group["params"]]


@pytest.mark.slow
def test_two_processes_learn_as_one(shapes: Callable[..., Path], tmp_path: Path) -> None:
    out, data = tmp_path / "run", str(shapes())
    done = torchrun(__file__, data, str(out))
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert ranks[0]["steps"] == ranks[1]["steps"] == 4  # 16 groups of 8 vehicles: 4 batches an epoch, 2 for each
    assert all(map(torch.equal, ranks[0]["parameters"], ranks[1]["parameters"]))
    # rank 1 returns only when rank 0 has written
    assert all(torch.equal(ranks[0]["best"][name], ranks[1]["best"][name]) for name in ranks[0]["best"])
    job = job_of(data, tmp_path / "single", Place(0, 1, CPU))
    halves = [gradient_of(job, rank) for rank in (0, 1)]
    assert not all(map(torch.allclose, *halves))
    for mean, first, second in zip(ranks[0]["gradient"], *halves, strict=True):
        assert torch.allclose(mean, (first + second) / 2, rtol=1e-4, atol=1e-6)
    # what is on disk is one training, which a single process could go on with
    assert {path.name for path in out.iterdir()} == {"best.pt", "last.pt", "log.jsonl"}
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2]
    state = load_checkpoint(out / "last.pt").training
    assert state is not None and state["epoch"] == 2 and int(state["average"]["n_averaged"]) == 4
    train(replace(job, out=out, resume=True))


@pytest.mark.slow
def test_the_command_under_torchrun_says_everything_once(shapes: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ["--recipe", "teacher_resnet18_small", "--epochs", "1", "--data", str(shapes(20, 4)), "--threads", "1"]
    done = torchrun("-m", "vreid.cli.main", "train", "teacher", *flags, "--out", str(out), "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["checkpoint"] == str(out / "best.pt") and document["epoch"] == 1
    assert list(document["validation"]) == ["shapes"]
    assert done.stderr.count("epoch 1/1") == 1
    assert {path.name for path in out.iterdir()} == {"best.pt", "last.pt", "log.jsonl", "pictures.json", "report.html"}
    assert len((out / "log.jsonl").read_text().splitlines()) == 1


def test_shares_are_apart_and_of_one_length() -> None:
    for count in (0, 1, 7, 8):
        shares = [share_of(range(count), Place(rank, 3, CPU)) for rank in range(3)]
        assert {len(share) for share in shares} == {count // 3}
        assert sorted(chain(*shares)) == list(range(count // 3 * 3))


def test_more_processes_than_batches_are_refused(shapes: Callable[..., Path], tmp_path: Path) -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(Refused, match="no batch for each of 5 processes; add data or start fewer"):
            train(job_of(str(shapes()), tmp_path / "run", Place(0, 5, CPU)))
    finally:
        dist.destroy_process_group()


def test_a_device_that_is_not_there_is_refused() -> None:
    assert join_processes(0, 1, 0, "cpu") == Place(0, 1, CPU)
    with pytest.raises(Refused, match="no device 'gpu'; choose auto, cpu or cuda"):
        join_processes(0, 1, 0, "gpu")
    with pytest.raises(Refused, match=r"torch sees \d+ CUDA devices; start one process for each"):
        join_processes(0, 1, torch.cuda.device_count(), "cuda")


def test_each_process_of_a_machine_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert started_as() == (0, 1, 0)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert started_as() == (5, 8, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto", 1) == torch.device("cuda", 1)
    assert device_of("cpu", 1) == CPU
    with pytest.raises(Refused, match="torch sees 2 CUDA devices"):
        device_of("cuda", 2)


if __name__ == "__main__":
    process(sys.argv[1], Path(sys.argv[2]))
