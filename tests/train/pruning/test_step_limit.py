"""A compactor that reads large values learns in shorter steps, so that its output does not outgrow the layers after it."""

import math
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import Site, insert
from vreid.train.pruning.controller import limit_steps
from vreid.train.recipes.bundled import cdd2_mobilenet

MOBILE = NetworkConfig("mobilenet_v2", 32, 32, 16, classes=8)
RESNET = NetworkConfig("resnet50", 32, 32, 16, classes=8, options={"scale": 0.125})


def learning(config: NetworkConfig, both_sides: bool = False) -> tuple[ReidNetwork, list[Site], Tensor, Tensor]:
    """A network with compactors and gains like those of a trained one, and a batch of 32 pictures of 8 vehicles."""
    torch.manual_seed(3)
    network = ReidNetwork(config)
    for norm in (each for each in network.modules() if isinstance(each, nn.BatchNorm2d)):
        nn.init.constant_(norm.weight, 0.2)
    found = insert(network, both_sides)
    truth = torch.arange(32) % 8
    means = torch.randint(0, 256, (8, config.height, config.width, 3))
    pixels = (means[truth] + torch.randint(-60, 61, (32, config.height, config.width, 3))).clamp(0, 255).to(torch.uint8)
    return network.train(), found, pixels, truth


def backward(network: ReidNetwork, pixels: Tensor, truth: Tensor) -> None:
    network.zero_grad()
    cross_entropy(cast(Tensor, network(pixels).logits), truth).backward()


@pytest.mark.parametrize("config, both_sides", [(MOBILE, False), (RESNET, True)])
def test_gradients_are_divided_by_what_the_input_has_over_the_most(config: NetworkConfig, both_sides: bool) -> None:
    network, found, pixels, truth = learning(config, both_sides)
    with torch.no_grad():
        found[-1].norm.weight.fill_(1.5)
        found[-1].norm.bias.fill_(-0.5)
        if found[0].before is not None:
            found[0].before[1].weight.fill_(3.0)
    backward(network, pixels, truth)
    before = {name: cast(Tensor, each.grad).clone() for name, each in network.named_parameters()}
    limit_steps(found, 8.0)
    divided = {f"{found[-1].place.far}.weight": len(found[-1].norm.weight) * (1.5**2 + 0.5**2) / 8}
    if found[0].before is not None:
        divided[f"{found[0].place.near}.weight"] = len(found[0].before[1].weight) * 3.0**2 / 8
    for site in found[:-1]:
        divided[f"{site.place.far}.weight"] = max(1.0, len(site.norm.weight) * 0.2**2 / 8)
    for site in found[1:]:
        if site.before is not None:
            divided[f"{site.place.near}.weight"] = max(1.0, len(site.before[1].weight) * 0.2**2 / 8)
    assert sum(factor > 1 for factor in divided.values()) > 1 and sum(factor == 1 for factor in divided.values()) > 1
    for name, each in network.named_parameters():
        torch.testing.assert_close(each.grad, before[name] / divided.get(name, 1.0))


def test_an_output_that_would_outgrow_its_activation_stays() -> None:
    def spread_after(most: float) -> float:
        network, found, pixels, truth = learning(MOBILE)
        last = found[-1]
        nn.init.constant_(last.norm.weight, 1.5)  # as in ImageNet's weights
        nn.init.normal_(cast(nn.Linear, network.head.classifier).weight)
        optimiser = torch.optim.SGD([each.far.weight for each in found], lr=0.02, momentum=0.9)
        outputs = list[Tensor]()
        last.far.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
        for _ in range(40):
            backward(network, pixels, truth)
            limit_steps(found, most)
            optimiser.step()
        return float(outputs[-1].std() / outputs[0].std())

    rules = cdd2_mobilenet().capacity
    assert rules is not None
    assert spread_after(math.inf) > 1.4 and 0.9 < spread_after(rules.most_power) < 1.1
