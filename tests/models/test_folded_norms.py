"""A folded network goes on learning from what it computes, not from another network of the same weights."""

from copy import deepcopy

import pytest
import torch

from vreid.models.folded_norms import bias_only, measure_folded_norms
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert, sites


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (32, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def compacted(body: str, both_sides: bool) -> ReidNetwork:
    """Compactors mix and scale its channels, and its batch norms know `pixels`."""
    torch.manual_seed(0)
    options = {"scale": 0.25} if body.startswith("resnet") else {"scale": 0.375, "last": 48}
    network = ReidNetwork(NetworkConfig(body, 32, 32, 16, classes=7, options=options))
    insert(network, both_sides)
    with torch.no_grad():
        for site in sites(network):
            for compactor in site.compactors():
                width = len(compactor.mask)
                compactor.weight.add_(torch.randn(width, width) / (2 * width**0.5))
                compactor.weight.mul_(compactor.per_channel(torch.linspace(0.3, 2, width)))
        for _ in range(60):
            network(pixels())
    return network.eval()


def agreement(network: ReidNetwork) -> float:
    """Mean cosine of the logits in eval and in training mode."""
    with torch.no_grad():
        still, learning = network.eval()(pixels()).logits, network.train()(pixels()).logits
    return float(torch.nn.functional.cosine_similarity(still, learning).mean())


@pytest.mark.parametrize(("body", "both_sides"), [("resnet18", False), ("resnet50", True), ("mobilenet_v2", False)])
@pytest.mark.parametrize("half", [False, True])
def test_training_mode_computes_what_eval_mode_did(body: str, both_sides: bool, half: bool) -> None:
    unfolded = compacted(body, both_sides)
    network = fold(unfolded)
    if half:  # as a stored checkpoint's weights are
        network.load_state_dict({key: value.half().to(value.dtype) for key, value in network.state_dict().items()})
    with torch.no_grad():
        before = network(pixels()).embedding
    count = len(bias_only(network))
    assert count == len(sites(unfolded))
    assert agreement(deepcopy(network)) < 0.5  # what the measurement is for; as long as this holds it is needed
    assert measure_folded_norms(network.train(), pixels().split(8)) == count
    assert network.training
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(pixels()).embedding, before, atol=1e-3, rtol=1e-3)
    assert agreement(network) > agreement(unfolded) - 0.05
    assert measure_folded_norms(network, pixels().split(8)) == 0  # they have statistics now
