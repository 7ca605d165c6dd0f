"""A resumed training is made longer or shorter: rates, input size and compression go on as they should, and it is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from vreid.models.checkpoint import load_checkpoint, network_from
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.online import OnlineDistillation
from vreid.train.optimise import rate_at
from vreid.train.pruning.budget import BudgetRules
from vreid.train.pruning.controller import Capacity
from vreid.train.pruning.resetting import ResettingRules


class CutOffError(Exception):
    """Stands for a power cut."""


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    def say(record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            raise CutOffError

    return say


def log_of(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]


def of(job: Job, epochs: int, **changes: Any) -> Job:
    """The job over that many epochs, with the warm-up's share of the recipe's own."""
    return replace(job, recipe=replace(job.recipe, epochs=epochs), **changes)


def begun_with(job: Job, epochs: int, done: int) -> Job:
    """Trained for `done` of `epochs` epochs."""
    if done == epochs:
        train(of(job, epochs))
    else:
        with pytest.raises(CutOffError):
            train(of(job, epochs, on_epoch=stop_after(done)))
    return job


@pytest.mark.parametrize(("before", "done", "now"), [(2, 2, 4), (4, 1, 5), (6, 2, 3)])
def test_a_training_goes_on_to_another_epoch_with_the_rates_of_that_length(
    job: Job, before: int, done: int, now: int
) -> None:
    begun_with(job, before, done)
    heard: list[str] = []
    train(of(job, now, resume=True, change_epochs=True, on_note=heard.append))
    log, recipe = log_of(job), replace(job.recipe, epochs=now)
    assert [record["epoch"] for record in log] == [*range(1, now + 1)]
    assert [record["lr"] for record in log[done:]] == [rate_at(recipe, epoch) for epoch in range(done, now)]
    assert rate_at(recipe, now - 1e-9) < 0.002 * recipe.lr  # it anneals
    (said,) = heard
    assert f"goes on after epoch {done} to epoch {now} instead of {before}" in said
    assert [record.get("note") for record in log] == [said if n == done else None for n in range(now)]
    stored = load_checkpoint(job.out / "last.pt").metrics
    assert (stored["recipe"]["epochs"], stored["recipe"]["planned"], stored["epoch"]) == (now, 4, now)


@pytest.mark.slow
def test_a_longer_training_that_is_cut_off_goes_on_bit_for_bit(job: Job, tmp_path: Path) -> None:
    ends = []
    for name in ("whole", "cut"):
        again = begun_with(replace(job, out=tmp_path / name), 2, 2)
        longer = of(again, 5, resume=True, change_epochs=True)
        if name == "cut":
            with pytest.raises(CutOffError):
                train(replace(longer, on_epoch=stop_after(3)))
            heard: list[str] = []
            train(replace(longer, change_epochs=False, on_note=heard.append))  # the length is that of the folder now
            assert heard == []
        else:
            train(longer)
        ends.append((load_checkpoint(again.out / "last.pt").weights, [record["lr"] for record in log_of(again)]))
    assert ends[0][1] == ends[1][1]
    assert all(torch.equal(value, ends[1][0][key]) for key, value in ends[0][0].items())


def test_a_finished_training_of_the_same_length_is_said_to_be_done(job: Job) -> None:
    begun_with(job, 2, 2)
    before, heard = (job.out / "last.pt").read_bytes(), list[str]()
    for change in (True, False):
        train(of(job, 2, resume=True, change_epochs=change, on_note=heard.append))
    assert len(heard) == 2 and all("the training is done, 2 of 2 epochs" in said for said in heard)
    assert (job.out / "last.pt").read_bytes() == before


def test_what_cannot_be_the_end_is_refused(job: Job) -> None:
    begun_with(job, 4, 2)
    for epochs in (1, 2):
        with pytest.raises(Refused, match=rf"2 of 4 epochs done, so the training cannot end after {epochs}; .* over 2"):
            train(of(job, epochs, resume=True, change_epochs=True))
    for epochs in (1, 6):  # the recipe's, that nobody gave with --epochs
        with pytest.raises(Refused, match=f"training of 4 epochs, and the recipe has {epochs}; give --epochs 4"):
            train(of(job, epochs, resume=True))
    other = of(job, 6, resume=True, change_epochs=True)
    with pytest.raises(Refused, match="another lr; resume"):
        train(replace(other, recipe=replace(other.recipe, lr=1e-3)))
    assert [record["epoch"] for record in log_of(job)] == [1, 2]


def test_a_table_of_settings_that_is_taken_away_is_another_recipe(job: Job) -> None:
    online = replace(job.recipe, online=OnlineDistillation(), distil=1.0, epochs=1)
    teacher = network_from(train(of(replace(job, out=job.out / "teacher"), 1)), classifier=True)
    train(replace(job, recipe=online, teacher=teacher))
    with pytest.raises(Refused, match="another online; resume"):
        train(replace(job, recipe=replace(online, online=None), teacher=teacher, resume=True))


@pytest.mark.slow
def test_the_input_does_not_shrink_again(job: Job) -> None:
    growing = replace(job, recipe=replace(job.recipe, sizes=((0.0, 16), (0.5, 32))))
    train(of(growing, 2))
    train(of(growing, 6, resume=True, change_epochs=True))
    assert [record["size"] for record in log_of(growing)] == [16] + [32] * 5
    early = begun_with(replace(growing, out=job.out.with_name("early")), 4, 1)
    train(of(early, 6, resume=True, change_epochs=True))
    assert [record["size"] for record in log_of(early)] == [16] * 3 + [32] * 3


RULES = ResettingRules(memory=24, consensus=0.6)
BUDGET = BudgetRules(share=0.5, start=0.0, until=0.8, every=1, by="taylor", survivors=0.0)


@pytest.mark.parametrize(
    ("budget", "shrink", "done"),
    [
        (BUDGET, 0.3, 2),
        pytest.param(BUDGET, 0.0, 1, marks=pytest.mark.slow),
        pytest.param(None, 0.3, 2, marks=pytest.mark.slow),
    ],
)
def test_a_compression_does_not_go_back(job: Job, budget: BudgetRules | None, shrink: float, done: int) -> None:
    """Of 2 epochs 6 are made; at the share that is done of 6 the budget would be larger, and resetting not yet begun."""
    network = NetworkConfig("resnet18", 32, 32, 32, options={"scale": 0.25, "last_stride": 1})
    teaching = replace(job.recipe, network=network, epochs=1)
    teacher = network_from(train(replace(job, recipe=teaching, out=job.out / "teacher")), classifier=True)
    capacity = Capacity(strength=0.4, start=4, rules=RULES, budget=budget, weight_decay=0, shrink=shrink)
    recipe = replace(
        teaching, optimiser="sgd", lr=0.1, epochs=8, planned=8, average=0.0, capacity=capacity, online=OnlineDistillation(),
        validate_every=8,
    )  # fmt: skip
    student = begun_with(replace(job, recipe=recipe, teacher=teacher), 2, done)
    before = compression_in(student)
    kept = train(of(student, 6, resume=True, change_epochs=True))
    log, after = log_of(student), compression_in(student)
    assert len(log) == 6 and kept.metrics["epoch"] == 6
    masked = [sum(map(sum, record["masked"])) for record in log]
    assert masked[done - 1] > 0
    if (
        budget is None
    ):  # masks once set stay, and every batch is looked at, though resetting begins with half of a training
        assert all(one <= other for one, other in pairwise(masked))
        seen = {name: memory["count"] - before["memories"][name]["count"] for name, memory in after["memories"].items()}
        assert seen and set(seen.values()) == {(after["steps"] - before["steps"]) * recipe.p * recipe.k}
    else:
        shares = [record["share"] for record in log]
        assert all(other <= one for one, other in pairwise(shares)), shares
        assert shares[-1] <= 0.5 < shares[0]


def compression_in(job: Job) -> dict[str, Any]:
    training = load_checkpoint(job.out / "last.pt").training
    assert training is not None
    found: dict[str, Any] = training["compression"]
    return found
