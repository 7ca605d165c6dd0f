"""A student that is compressed while it learns ends as an ordinary, narrower network, and resumes bit for bit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import insert, sites
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.devices import Place
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.online import ActivationHooks, OnlineDistillation, OnlineTeacher
from vreid.train.pruning.budget import BudgetRules
from vreid.train.pruning.controller import Capacity, Compression
from vreid.train.pruning.resetting import ResettingRules
from vreid.train.recipe import Recipe

NETWORK = NetworkConfig("resnet50", 32, 32, 32, options={"scale": 0.125, "last_stride": 1})
# small, and with a lasso strong enough to kill channels within a few steps; the memory is smaller than what passes by
CAPACITY = Capacity(
    both_sides=True,
    strength=0.4,
    start=2,
    rules=ResettingRules(memory=24, consensus=0.6),
    threshold=0.1,
    weight_decay=0,
)
TEACHING = Recipe(NETWORK, epochs=3, lr=1e-2, head_lr=1.0, warmup=1, p=4, k=3, average=0.7, validate_every=1)
RECIPE = replace(
    TEACHING,
    optimiser="sgd",
    lr=0.1,
    epochs=8,
    planned=8,
    average=0.0,
    capacity=CAPACITY,
    validate_every=2,
    online=OnlineDistillation(),
)


@pytest.fixture(scope="module")
def job(shapes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A compressing job with its teacher trained."""
    torch.set_num_threads(1)
    training, validation = cut(read_dataset(shapes()), 1 / 3)
    folder, cpu = tmp_path_factory.mktemp("capacity"), Place(0, 1, torch.device("cpu"))
    teacher = train(Job(TEACHING, [training], [validation], folder / "teacher", cpu))
    return Job(
        RECIPE, [training], [validation], folder / "student", cpu, teacher=network_from(teacher, classifier=True)
    )


@pytest.fixture(scope="module")
def whole(job: Job) -> Checkpoint:
    """What the job ends with; its folder `cut` is as a power cut after the fourth epoch leaves it."""
    torch.set_num_threads(1)
    return train(replace(job, on_epoch=copied_after(4, job.out)))


def copied_after(epoch: int, out: Path) -> Callable[[dict[str, Any]], None]:
    """A listener that copies a training's folder to its neighbour cut-NAME at the end of an epoch."""

    def say(record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            shutil.copytree(out, out.with_name(f"cut-{out.name}"))

    return say


def resumed(job: Job) -> Checkpoint:
    """What the job ends with when it goes on from the copy that `copied_after` made."""
    return train(replace(job, out=job.out.with_name(f"cut-{job.out.name}"), resume=True))


def log_of(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_student_ends_narrower_and_resumes_bit_for_bit(job: Job, whole: Checkpoint) -> None:
    log = log_of(job)
    # masks are sticky; the MACs may waver on the way, since a dead channel swings about zero until the rate has fallen
    masked = [sum(map(sum, record["masked"])) for record in log]
    assert all(now >= before for before, now in pairwise(masked))
    assert masked[1] == 0 < masked[-1]  # resetting begins after the second epoch
    assert {"logits", "blocks", "classification", "triplet"} <= set(log[0]["losses"])
    network = network_from(whole)
    cost = total_of(cost_of(network))
    assert (cost.params, cost.macs) == (log[-1]["params"], log[-1]["macs"])
    assert cost.macs < 0.9 * total_of(cost_of(ReidNetwork(NETWORK))).macs
    assert not sites(network) and whole.metrics["epoch"] == 8
    again = resumed(job)
    assert again.config == whole.config
    assert all(torch.equal(value, whole.weights[key]) for key, value in again.weights.items())
    assert load_checkpoint(job.out / "last.pt").training["compression"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, BudgetRules(share=0.5, until=0.7, every=1, by="taylor")])
def test_a_student_that_shrinks_ends_as_one_pruned_at_the_end_and_resumes_bit_for_bit(
    job: Job, whole: Checkpoint, budget: BudgetRules | None
) -> None:
    name = "macs" if budget else "rules"
    wide = job  # which `whole` has trained
    if budget:
        wide = replace(
            job, recipe=replace(RECIPE, capacity=replace(CAPACITY, budget=budget)), out=job.out.with_name("wide")
        )
        train(wide)
    shrinking = replace(CAPACITY, budget=budget, shrink=0.3)
    narrow = replace(job, recipe=replace(RECIPE, capacity=shrinking), out=job.out.with_name(f"narrow-{name}"))
    done = train(replace(narrow, on_epoch=copied_after(6, narrow.out)))
    ends = {}
    for word, again in (("wide", wide), ("narrow", narrow)):
        learning = load_checkpoint(again.out / "last.pt").training
        widths = [len(value) for key, value in learning["network"].items() if key.endswith("far.mask")]
        ends[word] = (log_of(again)[-1]["share"], sum(widths))
    assert ends["narrow"][1] < 0.9 * ends["wide"][1]  # what learnt was narrower, not only what was kept
    assert ends["narrow"][0] == pytest.approx(ends["wide"][0], abs=0.15 if budget is None else 0.01)
    assert all(torch.equal(value, done.weights[key]) for key, value in resumed(narrow).weights.items())


@pytest.mark.parametrize("average", [0.0, pytest.param(0.9, marks=pytest.mark.slow)])
def test_a_budget_is_met_by_the_folded_network(job: Job, average: float) -> None:
    rules = BudgetRules(share=0.5, start=0.2, every=1)
    recipe = replace(RECIPE, average=average, capacity=replace(CAPACITY, budget=rules))
    out = job.out.with_name(f"budget{average}")
    kept = train(replace(job, recipe=recipe, out=out))
    masked = [json.loads(line)["masked"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert masked[2] != masked[3] == masked[-1]  # of 8 epochs; 0.4 of them are for masks, the others to recover
    share = total_of(cost_of(network_from(kept))).macs / total_of(cost_of(ReidNetwork(NETWORK))).macs
    assert 0.49 <= share <= 0.5


def test_a_budget_that_the_last_step_does_not_meet_is_refused(job: Job) -> None:
    recipe = replace(RECIPE, epochs=1, planned=1, capacity=replace(CAPACITY, budget=BudgetRules(0.5, until=1.0)))
    with pytest.raises(
        Refused, match=r"met at 100% of the training, after the last of its \d+ steps; give more --epochs"
    ):
        train(replace(job, recipe=recipe, out=job.out.with_name("short")))
    assert not job.out.with_name("short").exists()


@pytest.mark.slow
@pytest.mark.parametrize("body", ["mobilenet_v2", "efficientnet_lite0"])
def test_inverted_residuals_are_compressed_alike(job: Job, body: str) -> None:
    """Under a budget and by resetting; the student shrinks, meets the budget, resumes bit for bit, and ends as an ordinary one."""
    network = NetworkConfig(body, 32, 32, 32, options={"scale": 0.375, "last": 48})
    teaching = replace(TEACHING, network=network, epochs=1, planned=1)
    teacher = train(replace(job, recipe=teaching, out=job.out.with_name(f"{body}-teacher"), teacher=None))
    job = replace(job, teacher=network_from(teacher, classifier=True), out=job.out.with_name(body))
    budget = BudgetRules(share=0.5, start=0.0, until=0.3, every=1, by="taylor")
    capacity = replace(CAPACITY, budget=budget, shrink=0.3, multiple=8)
    short = replace(RECIPE, network=network, epochs=4, planned=4, validate_every=4, capacity=capacity, inherit=True)
    done = train(replace(job, recipe=short, on_epoch=copied_after(2, job.out)))
    learning = load_checkpoint(job.out / "last.pt").training
    kept, log = network_from(done), log_of(job)
    masks = [len(value) for key, value in learning["network"].items() if key.endswith("far.mask")]
    assert sum(masks) < 0.9 * sum(width for widths in log[-1]["whole"].values() for width in widths.values())
    assert total_of(cost_of(kept)).macs == log[-1]["macs"] <= 0.5 * total_of(cost_of(ReidNetwork(network))).macs
    options = kept.config.options
    assert all(width % 8 == 0 for stage in options["inner"] for block in stage for width in block)
    assert log[-1]["widths"]["stage2.0"]["expansion"] == options["inner"][1][0][0]
    assert log[-1]["widths"]["last"]["conv"] == options["last"] and log[-1]["whole"]["stem"]["conv"] == 16
    again = resumed(replace(job, recipe=short))
    assert all(torch.equal(value, done.weights[key]) for key, value in again.weights.items())
    resetting = replace(short, epochs=1, planned=1, capacity=replace(CAPACITY, start=0, multiple=8))
    train(replace(job, recipe=resetting, out=job.out.with_name(f"{body}-reset")))
    assert sum(map(sum, log_of(replace(job, out=job.out.with_name(f"{body}-reset")))[-1]["masked"])) > 0


def test_without_strength_nothing_is_lost_and_the_teacher_is_in_eval_mode(job: Job) -> None:
    before = [value.clone() for value in job.teacher.state_dict().values()]
    idle = replace(CAPACITY, strength=0.0, rules=None)
    kept = train(replace(job, recipe=replace(RECIPE, epochs=1, capacity=idle), out=job.out.with_name("idle")))
    assert total_of(cost_of(network_from(kept))).macs == total_of(cost_of(ReidNetwork(NETWORK))).macs
    assert all(map(torch.equal, before, job.teacher.state_dict().values())) and not job.teacher.training


def test_hooks_see_what_stands_before_and_after_the_compactors() -> None:
    torch.manual_seed(0)
    network = ReidNetwork(NETWORK).eval()
    insert(network, both_sides=True)
    with torch.no_grad():
        for site in sites(network):
            site.far.weight.mul_(2)
            site.near.weight.mul_(3)
            site.near.weight[:, 0] = 0
    hooks, seen = ActivationHooks(network), []
    for norm in (sites(network)[0].before[1], sites(network)[0].norm):
        norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    left = torch.tensor([1e-6] + [3.0] * 7)  # the norms of the columns
    torch.testing.assert_close(hooks.near[0], left * seen[0].relu().mean((2, 3)))
    torch.testing.assert_close(hooks.before[0], seen[1].mean((2, 3)))
    torch.testing.assert_close(hooks.after[0], 2 * seen[1].mean((2, 3)))
    assert len(hooks.after) == 16


def test_what_cannot_be_compressed_is_refused(job: Job) -> None:
    with pytest.raises(Refused, match="while it learns from a teacher"):
        train(replace(job, teacher=None, out=job.out.with_name("never")))
    student = ReidNetwork(NETWORK)
    insert(student)
    other = ReidNetwork(replace(NETWORK, options={"scale": 0.25}))
    with pytest.raises(Refused, match="not as wide"):
        OnlineTeacher(OnlineDistillation(), student, other)
    with pytest.raises(Refused, match="not as wide"):
        Compression(CAPACITY, student, OnlineTeacher(OnlineDistillation(blocks=0), student, other))
    teacher = OnlineTeacher(
        OnlineDistillation(blocks=0), ReidNetwork(replace(NETWORK, classes=5)), ReidNetwork(NETWORK)
    )
    pixels = torch.from_numpy(np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(Refused, match="trained on other vehicles"):
        teacher.losses(ReidNetwork(replace(NETWORK, classes=5))(pixels), pixels, torch.arange(2))
    assert not job.out.with_name("never").exists()
