"""The schedule's points, the head's own rate, and that norms and biases do not decay."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.optimise import autocast_dtype, averaging, optimiser_of, rate_at, set_rate
from vreid.train.recipe import Recipe, side_at
from vreid.train.recipes.bundled import RECIPES, recipe_named

NETWORK = NetworkConfig("resnet18", 32, 32, 16, pool="gem", classes=5, options={"scale": 0.125})
RECIPE = Recipe(NETWORK, epochs=20, lr=0.1, head_lr=3.0, weight_decay=0.5, warmup=2, flat=8)


@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0, 0.1), (1, 0.55), (2, 1.0), (5, 1.0), (7.99, 1.0), (8, 1.0), (14, 0.5005), (20, 0.001), (25, 0.001)],
)
def test_the_rate_at_its_points(epoch: float, share: float) -> None:
    assert rate_at(RECIPE, epoch) == pytest.approx(share * RECIPE.lr)


def test_the_rate_has_no_jump_and_never_rises_after_the_warm_up() -> None:
    for recipe in (RECIPE, replace(RECIPE, flat=0), replace(RECIPE, warmup=0, flat=0)):
        rates = [rate_at(recipe, step / 1000) for step in range(1000 * recipe.epochs + 1)]
        after = [rate_at(recipe, recipe.warmup + step / 1000) for step in range(20000)]
        assert max(abs(a - b) for a, b in pairwise(rates)) < 0.002 * recipe.lr
        assert all(a >= b for a, b in pairwise(after))
        assert min(rates) > 0


def test_while_weights_are_averaged_the_rate_stays_where_the_cosine_ended() -> None:
    recipe = replace(RECIPE, swa=0.25, swa_lr=0.2)
    points = {0: 0.1, 2: 1.0, 8: 1.0, 11.5: 0.6, 15: 0.2, 17: 0.2, 20: 0.2}
    assert {epoch: rate_at(recipe, epoch) / recipe.lr for epoch in points} == pytest.approx(points)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 30, 200])
def test_a_training_of_any_length_anneals_with_the_shares_of_its_recipe(name: str, epochs: int) -> None:
    full = recipe_named(name)
    short = replace(full, epochs=epochs)
    assert rate_at(short, epochs - 1e-9) < 0.002 * full.lr
    for done in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        assert rate_at(short, done * epochs) == pytest.approx(rate_at(full, done * full.epochs))
    assert full.stretch == 1.0 and max(rate_at(short, done / 100 * epochs) for done in range(101)) >= 0.99 * full.lr


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_every_parameter_is_in_the_group_it_belongs_to(kind: str) -> None:
    network = ReidNetwork(NETWORK)
    optimiser = optimiser_of(network, replace(RECIPE, optimiser=kind))
    set_rate(optimiser, 0.01)
    of = {id(parameter): group for group in optimiser.param_groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(network.parameters()))
    norms = {
        id(p) for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for p in m.parameters()
    }
    assert norms
    for name, parameter in network.named_parameters():
        group = of[id(parameter)]
        assert group["lr"] == pytest.approx(0.03 if name.startswith("head.") else 0.01)
        decays = id(parameter) not in norms and name != "head.pool.p"
        assert group["weight_decay"] == (0.5 if decays else 0.0), name


def test_decay_moves_weights_and_leaves_norms() -> None:
    network = ReidNetwork(NETWORK)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimiser = optimiser_of(network, RECIPE)
    set_rate(optimiser, 0.01)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in network.named_parameters():
        shrink = 1 - (0.03 if name.startswith("head.") else 0.01) * 0.5 if before[name].ndim > 1 else 1.0
        assert torch.allclose(parameter, shrink * before[name]), name


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(Refused, match="no optimiser 'lion'; choose adamw or sgd"):
        optimiser_of(ReidNetwork(NETWORK), replace(RECIPE, optimiser="lion"))


def test_the_input_grows_at_its_share_of_the_epochs() -> None:
    recipe = replace(RECIPE, epochs=10, sizes=((0.0, 16), (0.45, 24), (0.8, 32)))
    assert [side_at(recipe, epoch)[0] for epoch in range(10)] == [16] * 5 + [24] * 3 + [32] * 2
    assert side_at(replace(RECIPE, sizes=()), 3) == (32, 32)


@pytest.mark.parametrize(("capable", "wanted"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_multiplies_in_bfloat16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, capable: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: capable)
    assert autocast_dtype(torch.device("cuda")) is wanted


def test_a_cpu_multiplies_in_float32_unless_set_otherwise() -> None:
    assert autocast_dtype(torch.device("cpu")) is None
    assert autocast_dtype(torch.device("cpu"), bfloat16=True) is torch.bfloat16


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.95])
def test_the_average_forgets_the_first_weights_of_a_short_training(decay: float) -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    mean = AveragedModel(layer, multi_avg_fn=averaging(decay))
    expected = 0.0
    for step in range(60):
        torch.nn.init.constant_(layer.weight, 100.0 if step == 0 else step % 7)
        mean.update_parameters(layer)
        share = 0.0 if step == 0 else min(decay, (1 + step) / (10 + step))  # the first is taken as it is
        expected = share * expected + (1 - share) * layer.weight.item()
        assert mean.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert expected < 7.0


def moved(job: Job, clip: float) -> float:
    """How far an epoch moves the weights, at most, and then some."""
    recipe = replace(
        job.recipe, epochs=1, optimiser="sgd", lr=0.01, head_lr=1.0, weight_decay=0.0, average=0.0, clip=clip
    )
    torch.manual_seed(job.seed)
    before = dict(ReidNetwork(replace(recipe.network, classes=8)).named_parameters())
    after = train(replace(job, recipe=recipe, out=job.out.with_name(f"clip {clip}"))).weights
    squares = [((after[name] - value.detach()) ** 2).sum() for name, value in before.items() if name in after]
    return float(torch.stack(squares).sum().sqrt())


def test_a_clipped_gradient_moves_the_weights_no_further_than_its_length(job: Job) -> None:
    most = 0.01 * 0.001 / (1 - 0.9)  # of one step, with all that its momentum will ever bring
    steps = 50  # in the epoch there are fewer
    assert 0 < moved(job, 0.001) <= steps * most < moved(job, 0.0)
