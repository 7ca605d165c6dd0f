"""What a budget counts is what the folded network costs, in MACs and in parameters."""

from pathlib import Path

import pytest
import torch

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert, sites
from vreid.train.pruning.costs import Costs, SiteCost, costs_of, read_costs, write_costs

BODIES = [
    ("resnet18", False),
    ("resnet50", False),
    ("resnet50", True),
    ("mobilenet_v2", False),
    ("efficientnet_lite0", False),
]


@pytest.mark.parametrize("unit", ["macs", "params"])
@pytest.mark.parametrize(("body", "both_sides"), BODIES)
def test_costs_are_those_of_the_folded_network(body: str, both_sides: bool, unit: str) -> None:
    torch.manual_seed(0)
    options = {"scale": 0.25} if body.startswith("resnet") else {"scale": 0.375, "last": 96}
    network = ReidNetwork(NetworkConfig(body, 32, 32, 16, classes=3, options=options)).eval()
    whole = getattr(total_of(cost_of(network)), unit)
    insert(network, both_sides)
    costs = costs_of(network, sites(network), unit)
    assert costs.whole() == whole
    widths = []
    for site in sites(network):
        for compactor in site.compactors():
            compactor.mask.copy_(torch.rand(len(compactor.mask)) > 0.4)
            compactor.mask[0] = 1
        near = 1 if site.near is None else int(site.near.mask.sum())
        widths.append((near, int(site.far.mask.sum())))
    folded = total_of(cost_of(fold(network, masked=True)))
    assert costs.of(widths) == pytest.approx(getattr(folded, unit), rel=1e-12)


def test_costs_are_kept_and_what_is_none_is_refused(tmp_path: Path) -> None:
    costs = Costs("ms", 0.5, (SiteCost(0.1, 0.2, 0.3), SiteCost(0.0, 0.0, 1.0)), ((2, 3), (1, 4)))
    write_costs(costs, tmp_path / "new" / "costs.json")
    assert read_costs(tmp_path / "new" / "costs.json") == costs
    assert costs.whole() == pytest.approx(0.5 + (0.2 + 1.2 + 0.9) + 4)
    text = (tmp_path / "new" / "costs.json").read_text()
    for wrong in (
        text.replace("0.5,", '"a",'),
        text.replace("0.5,", "NaN,"),
        text.replace("0.5,", "-9,"),
        "[" * 100_000,
        '{"unit": "ms"}',
    ):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(Refused, match=r"wrong\.json holds no costs"):
            read_costs(tmp_path / "wrong.json")
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.25}))
    with pytest.raises(Refused, match="milliseconds have to be measured"):
        costs_of(network, insert(network), "ms")
