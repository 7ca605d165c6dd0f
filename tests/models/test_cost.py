"""The cost of a network agrees with torch's own counter and with the papers' numbers, and counting leaves no trace."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vreid.models.cost import cost_of, total_of
from vreid.models.network import NetworkConfig, ReidNetwork


def small(body: str, **fields: object) -> ReidNetwork:
    return ReidNetwork(replace(NetworkConfig(body, height=64, width=96, dim=32), **fields)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("body", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
def test_flops_are_those_of_torchs_own_counter(body: str) -> None:
    with torch.device("meta"):
        network = small(body)
        pixels = torch.zeros((1, 64, 96, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        network(pixels)
    total = total_of(cost_of(network))
    assert total.flops == counter.get_total_flops()
    assert total.flops == 2 * total.macs
    assert total.params == sum(parameter.numel() for parameter in network.parameters())


def test_resnet101_costs_what_the_papers_say() -> None:
    with torch.device("meta"):
        network = ReidNetwork(NetworkConfig("resnet101", classes=1041)).eval()
    layers = cost_of(network)
    convolutions = total_of(layer for layer in layers if layer.kind == "Conv2d")
    assert round(total_of(layers).params / 1e6, 2) == 43.55
    assert round(convolutions.macs / 1e9, 2) == 12.96


def test_the_classifier_costs_nothing() -> None:
    assert cost_of(small("resnet18", classes=100)) == cost_of(small("resnet18"))


def test_layers_come_in_the_order_they_run_with_their_shapes() -> None:
    layers = cost_of(small("resnet18", pool="gem", options={"scale": 0.25}))
    names = [layer.name for layer in layers]
    assert names[:3] == ["body.conv1", "body.bn1", "body.layer1.0.conv1"]
    assert names[-4:] == ["head.pool", "head.neck", "head.embed", "head.norm"]
    found = {layer.name: layer for layer in layers}
    assert found["body.conv1"].shape == (16, 32, 48)
    assert found["body.conv1"].macs == 16 * 32 * 48 * 3 * 7 * 7
    assert found["head.pool"].kind == "GeM" and found["head.pool"].params == 1
    assert found["head.norm"].params == 64 and found["head.norm"].macs == 0


def test_a_depthwise_convolution_counts_one_input_for_each_output() -> None:
    found = {layer.name: layer for layer in cost_of(small("mobilenet_v2"))}
    layer = found["body.features.1.conv.0.0"]
    assert layer.params == 32 * 3 * 3
    assert layer.macs == 32 * 32 * 48 * 3 * 3


def test_counting_leaves_the_network_as_it_was() -> None:
    network = small("resnet18", options={"scale": 0.25}).train()
    network.head.neck.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    cost_of(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())
