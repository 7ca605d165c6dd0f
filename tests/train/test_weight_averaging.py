"""Stochastic weight averaging: the plain mean of the weights after the last epochs, with batch norms of its own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vreid.models.checkpoint import load_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import recipe_named
from vreid.train.recipes.limits import refuse_unsound
from vreid.train.student import Student

RECIPE = Recipe(NetworkConfig("resnet18", 16, 16, 8, options={"scale": 0.125}), epochs=4, swa=0.5)


def pixels(seed: int) -> Tensor:
    return torch.randint(0, 256, (8, 16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_mean_is_of_the_weights_after_each_of_the_last_epochs() -> None:
    student = Student(RECIPE, 4, torch.device("cpu"), 0, None)
    weights: list[dict[str, Tensor]] = []
    for epoch in range(4):
        torch.manual_seed(epoch)
        for parameter in student.network.parameters():
            torch.nn.init.normal_(parameter)
        student.average.update_parameters(student.network)
        weights.append({name: value.detach().clone() for name, value in student.network.named_parameters()})
        student.epoch = epoch + 1
        student.average_epoch([pixels(epoch)])
        kept = dict(student.deployable().named_parameters())
        last = weights[2:] or [dict(student.average.module.named_parameters())]
        for name, value in kept.items():
            assert torch.allclose(value, torch.stack([one[name] for one in last]).mean(0), atol=1e-6), (epoch, name)


def test_the_batch_norms_of_the_mean_see_the_batches_anew() -> None:
    student = Student(replace(RECIPE, epochs=1), 4, torch.device("cpu"), 0, None)
    student.epoch, batches = 1, [pixels(1), pixels(2)]
    student.average_epoch(batches)
    network = student.deployable().eval()
    first = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    means: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda module, given: means.append(given[0].mean((0, 2, 3))))
    with torch.no_grad():
        for batch in batches:
            network(batch)
    hook.remove()
    assert torch.allclose(first.running_mean, torch.stack(means).mean(0), atol=1e-5)


def test_a_training_that_is_resumed_goes_on_with_the_mean(job: Job) -> None:
    recipe = replace(job.recipe, swa=0.75, swa_lr=0.5)
    whole, halves = replace(job, recipe=recipe), replace(job, recipe=recipe, out=job.out.with_name("halves"))
    train(whole)

    def stop(record: dict[str, object]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(halves, on_epoch=stop))
    train(replace(halves, resume=True))
    for name in ("best.pt", "last.pt"):
        one, other = load_checkpoint(whole.out / name), load_checkpoint(halves.out / name)
        assert all(torch.equal(value, other.weights[key]) for key, value in one.weights.items())
    training = load_checkpoint(whole.out / "last.pt").training
    assert training is not None and int(training["swa"]["n_averaged"]) == 3
    student = Student(recipe, 8, torch.device("cpu"), 0, None)
    student.restore({**training, "epochs": 2})  # of a training of another length
    assert int(student.swa.n_averaged) == 0


def test_a_network_that_shrinks_has_no_mean() -> None:
    with pytest.raises(Refused, match="leave swa out where there is a capacity"):
        refuse_unsound(replace(recipe_named("cdd2_resnet50_small"), swa=0.5))
    assert isinstance(Student(replace(RECIPE, swa=0.0), 4, torch.device("cpu"), 0, None).deployable(), ReidNetwork)
