"""A budget is met, in as many small steps as it takes, and its arithmetic is that of the folded network."""

import pytest
import torch

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert, sites
from vreid.train.pruning.budget import Budget, BudgetRules
from vreid.train.pruning.channels import channel_maps, state_of

BODIES = [
    ("resnet18", False),
    ("resnet50", False),
    ("resnet50", True),
    ("mobilenet_v2", False),
    ("efficientnet_lite0", False),
]


def scores_of(budget: Budget) -> dict[str, torch.Tensor]:
    return state_of(budget.maps, scores=True)["scores"]


def student(body: str, both_sides: bool) -> ReidNetwork:
    torch.manual_seed(0)
    options = {"scale": 0.25} if body.startswith("resnet") else {"scale": 0.375, "last": 96}
    network = ReidNetwork(NetworkConfig(body, 32, 32, 16, options=options))
    insert(network, both_sides)
    with torch.no_grad():
        for site in sites(network):
            for compactor in site.compactors():
                compactor.weight.mul_(compactor.per_channel(torch.rand(len(compactor.mask)) + 0.1))
    return network.eval()


@pytest.mark.parametrize(("body", "both_sides"), BODIES)
@pytest.mark.parametrize("target", [0.7, 0.45])
def test_the_budget_is_met_within_a_point_and_is_that_of_the_folded_network(
    body: str, both_sides: bool, target: float
) -> None:
    network = student(body, both_sides)
    whole = total_of(cost_of(ReidNetwork(network.config))).macs
    budget = Budget(network, channel_maps(network), BudgetRules(target, start=0.2, until=0.6))
    assert budget.kept() == pytest.approx(1.0)
    shares = [budget.choose(done / 10) for done in range(1, 11)]
    assert shares[:2] == [1.0, 1.0]
    for done, share in enumerate(shares[2:5], start=3):  # in a straight line
        assert share == pytest.approx(1 - (1 - target) * (done / 10 - 0.2) / 0.4, abs=0.01)
    assert all(target - 0.01 <= share <= target for share in shares[5:])
    assert len(set(shares[5:])) == 1  # met, it stays
    with torch.no_grad():
        for site in sites(network):
            for compactor in site.compactors():
                compactor.weight.mul_(compactor.per_channel(compactor.mask))
    assert total_of(cost_of(fold(network))).macs == pytest.approx(shares[-1] * whole, rel=1e-9)


def test_widths_that_are_rounded_up_are_counted() -> None:
    network = student("resnet50", True)
    budget = Budget(network, channel_maps(network), BudgetRules(0.6), multiple=8)
    share = budget.choose()
    assert share == pytest.approx(budget.kept()) and 0.5 <= share <= 0.6
    folded = total_of(cost_of(fold(network, multiple=8, masked=True))).macs
    assert folded == pytest.approx(share * budget.whole, rel=1e-9)


def test_a_step_that_leads_far_under_the_goal_is_not_taken_where_a_shorter_one_is_left() -> None:
    network = ReidNetwork(NetworkConfig("resnet50", 64, 64, 16, options={"scale": 0.5}))
    insert(network, both_sides=True)
    weakest = sites(network)[0].near
    assert weakest is not None
    with torch.no_grad():
        weakest.weight[:, :16] *= 0.5  # 16 of 32: more than a point of the whole, widths in sixteens
    budget = Budget(network, channel_maps(network), BudgetRules(0.998), multiple=16)
    assert 0.993 <= budget.choose() == budget.left == budget.kept() <= 0.998
    assert weakest.mask.all()
    blind = Budget(network, channel_maps(network), BudgetRules(0.98, until=0.4), multiple=16)
    assert blind.choose() <= 0.98 and not weakest.mask.all()  # with further to go it is


def test_the_weakest_go_first_and_may_come_back() -> None:
    network = student("resnet50", True)
    compactor = sites(network)[3].far
    budget = Budget(network, channel_maps(network), BudgetRules(0.99))
    with torch.no_grad():
        compactor.weight[:3] *= 1e-3
    budget.choose()
    assert compactor.mask[:3].tolist() == [0, 0, 0]
    assert budget.kept() < 0.99 < budget.kept() + 0.01
    with torch.no_grad():
        compactor.weight[0] *= 1e6
    budget.choose()
    assert compactor.mask[:3].tolist() == [1, 0, 0]


def test_of_two_equally_weak_channels_the_dearer_goes() -> None:
    network = student("resnet18", False)
    with torch.no_grad():
        for site in sites(network):
            site.far.weight.copy_(torch.eye(len(site.far.mask)))
    budget = Budget(network, channel_maps(network), BudgetRules(0.9999))
    budget.choose()
    hit = next(place for place, site in enumerate(sites(network)) if (site.far.mask == 0).any())
    assert budget.costs.sites[hit].c == max(cost.c for cost in budget.costs.sites)


def test_what_cannot_be_met_is_refused() -> None:
    network = student("resnet50", False)
    for target in (0.05, 1.5):
        with pytest.raises(Refused, match="cannot be met"):
            Budget(network, channel_maps(network), BudgetRules(target))


def test_channels_that_rounding_keeps_are_not_masked() -> None:
    network = student("resnet50", True)
    budget = Budget(network, channel_maps(network), BudgetRules(0.6), multiple=8)
    budget.choose()
    for site in sites(network):
        for compactor in site.compactors():
            assert int(compactor.mask.sum()) % 8 == 0 or compactor.mask.all()


def test_an_overflow_leaves_the_scores_as_they_were() -> None:
    network = student("resnet50", True)
    budget = Budget(network, channel_maps(network), BudgetRules(0.6, by="taylor"))
    compactor = sites(network)[0].far
    compactor.weight.grad = torch.ones_like(compactor.weight)
    budget.observe()
    before = {name: score.clone() for name, score in scores_of(budget).items()}
    compactor.weight.grad[0] = torch.inf
    budget.observe()
    assert any(score.any() for score in before.values())
    assert all(torch.equal(score, before[name]) for name, score in scores_of(budget).items())
