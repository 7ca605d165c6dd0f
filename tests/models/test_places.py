"""The layers that a place names are those that lose something with a channel, as Torch-Pruning finds them by tracing."""

import warnings

import pytest
import torch
import torch_pruning
from torch import nn

from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.places import PlacedBody
from vreid.models.pruning import places_of, resized

BODIES = ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0", "efficientnet_lite2"]


def network(body: str) -> ReidNetwork:
    torch.manual_seed(0)
    options = {"scale": 0.25} if body.startswith("resnet") else {"scale": 0.375, "last": 48}
    return ReidNetwork(NetworkConfig(body, 32, 32, 16, options=options)).eval()


@pytest.mark.parametrize("body", BODIES)
def test_a_place_names_every_layer_that_is_tied_to_its_channels(body: str) -> None:
    whole = network(body).requires_grad_(True)
    names = {module: name for name, module in whole.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(
            whole, torch.zeros((1, 32, 32, 3), dtype=torch.uint8), output_transform=lambda features: features.embedding
        )

    def tied(name: str) -> set[str]:
        conv = whole.get_submodule(name)
        group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, [0])
        return {names[dep.target.module] for dep, _ in group if dep.target.module in names}

    for place in places_of(whole):
        assert tied(place.conv) == {place.conv, place.norm, *place.channelwise, place.reader}
        if place.before is not None:
            assert tied(place.before[0]) == {*place.before, place.conv}


@pytest.mark.parametrize("body", BODIES)
def test_a_network_of_other_widths_has_them_at_its_places_and_the_same_output(body: str) -> None:
    whole = network(body)
    assert isinstance(whole.body, PlacedBody)
    wanted = [tuple(3 + number for _ in place.kinds) for number, place in enumerate(places_of(whole))]
    narrow = resized(whole, wanted)
    assert resized(narrow, wanted).config == narrow.config
    for place, widths in zip(places_of(narrow), wanted, strict=True):
        layers = (*((place.before[0],) if place.before else ()), place.conv)
        assert tuple(narrow.get_submodule(name).out_channels for name in layers) == widths
        after = narrow.get_submodule(place.reader)
        assert isinstance(after, nn.Conv2d | nn.Linear) and after.weight.shape[1] == widths[-1]
    pixels = torch.zeros((2, 32, 32, 3), dtype=torch.uint8)
    assert narrow.eval()(pixels).embedding.shape == whole(pixels).embedding.shape
