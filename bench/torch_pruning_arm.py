"""The control arm of the pruning comparison: a trained ReidNetwork, made smaller by Torch-Pruning, as a ReidNetwork again.

Torch-Pruning 1.6 (MIT) is the code of Fang et al., DepGraph, CVPR 2023: channels that shortcuts and batch norms tie together
are one group, weighed by the mean squared norm over all its layers (GroupMagnitudeImportance, p = 2, divided by the group's
mean) and ranked against the groups of the same form (isomorphic, Fang et al., ECCV 2024) all over the network. As in the
library's own script for a speed-up (reproduce/main.py, 400 steps), the ratio rises in small steps and importance is weighed
anew after each. We differ: MACs are those of models/cost.py, the last step stops at the first group that meets the target, and
every layer keeps an eighth of its channels (the library's max_pruning_ratio). Of inverted residuals only what stands between their
shortcuts is cut, as by compactors.
Training is not part of it: sparse training beforehand and fine-tuning after are the caller's.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from typing import Any, cast

import torch
import torch_pruning
from torch import nn

from vreid.models.cost import cost_of
from vreid.models.errors import Refused
from vreid.models.mobilenet import InvertedResidual, MobileNet
from vreid.models.network import ReidNetwork
from vreid.models.pruning import insert, sites
from vreid.models.resnet import Block, ResNet


@dataclass(frozen=True)
class Rules:
    """How the library cuts: `most` of a layer's channels may go (looked at before each of at most `steps` steps)."""

    isomorphic: bool = True
    most: float = 7 / 8
    steps: int = 400


USUAL = Rules()


def pruned_by_torch_pruning(network: ReidNetwork, share: float, multiple: int = 1, rules: Rules = USUAL) -> ReidNetwork:
    """`network` at most at `share` of its MACs, as near to it as one group of channels allows; stem, stages and blocks shrink.

    The embedding keeps its dimension and the classifier its weights. Widths are cut to a multiple of `multiple` wherever a
    cut is made. `network` is not changed. Raises Refused for other bodies, for compactors in them, and for a share out of reach.
    """
    return reid_network_from(cut_to(network, share, multiple, rules)).train(network.training)


def cut_to(network: ReidNetwork, share: float, multiple: int = 1, rules: Rules = USUAL) -> ReidNetwork:
    """A copy in eval mode whose modules the library has cut; its `config` still has the widths of `network`."""
    if not isinstance(network.body, ResNet | MobileNet):
        raise Refused(f"this arm reads the widths of a ResNet or MobileNet, not of {network.config.body}")
    if sites(network):
        raise Refused("the network has compactors; fold it first")
    if not 0 < share < 1:
        raise Refused(f"the share of the MACs to keep lies between 0 and 1, not at {share}")
    narrow = deepcopy(network).eval().requires_grad_(True)  # the library traces by autograd
    areas = areas_of(narrow)
    target = share * macs_of(areas)
    pruner = pruner_of(narrow, multiple, rules)
    while pruner.current_step < rules.steps:
        for group in pruner.step(interactive=True):
            group.prune()
            if macs_of(areas) <= target:
                return narrow
    raise Refused(
        f"{share:.0%} of the MACs is out of reach while every layer keeps {1 - rules.most:.1%}; give a larger share"
    )


def reid_network_from(narrow: ReidNetwork) -> ReidNetwork:
    """An ordinary network with the widths and weights of what the library has cut, in eval mode."""
    found = ReidNetwork(replace(narrow.config, options=narrow.config.options | widths_of(narrow)))
    found.load_state_dict(narrow.state_dict())
    return found.to(next(narrow.parameters()).device).eval()


def pruner_of(narrow: ReidNetwork, multiple: int, rules: Rules) -> Any:
    """The library's pruner over the whole network, ignoring the embedding's outputs and, after them, the classifier."""
    config = narrow.config
    device = next(narrow.parameters()).device
    head = narrow.head
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")  # the power of GeM, ignored below
        return torch_pruning.pruner.BasePruner(
            narrow,
            (torch.zeros((1, config.height, config.width, 3), dtype=torch.uint8, device=device),),
            torch_pruning.importance.GroupMagnitudeImportance(p=2, group_reduction="mean", normalizer="mean"),
            global_pruning=True,
            isomorphic=rules.isomorphic,
            pruning_ratio=1.0,
            max_pruning_ratio=rules.most - 1e-6,  # the library's own test lets a layer that is at the limit lose more
            iterative_steps=rules.steps,
            ignored_layers=[
                head.embed,
                *([head.classifier] if head.classifier else []),
                *head.pool.parameters(),
                *projections(narrow),
            ],
            round_to=multiple if multiple > 1 else None,
            output_transform=lambda features: features.embedding,  # 1.6.1 cannot walk an output that holds None
        )


def projections(network: ReidNetwork) -> list[nn.Conv2d]:
    """The last convolutions of inverted residuals, whose outputs the shortcuts tie together."""
    blocks = [module for module in network.body.modules() if isinstance(module, InvertedResidual)]
    return [cast(nn.Conv2d, block.conv[-2]) for block in blocks]


def areas_of(network: ReidNetwork) -> dict[nn.Conv2d | nn.Linear, int]:
    """How many places of the map every layer with MACs is computed at: pruning changes weights, never these."""
    found: dict[nn.Conv2d | nn.Linear, int] = {}
    for layer in cost_of(network):
        module = network.get_submodule(layer.name)
        if isinstance(module, nn.Conv2d | nn.Linear):
            found[module] = prod(layer.shape[1:])
    return found


def macs_of(areas: dict[nn.Conv2d | nn.Linear, int]) -> int:
    """The same number as models/cost.py, of the weights as they are now, without a forward pass."""
    return sum(area * module.weight.numel() for module, area in areas.items())


def widths_of(narrow: ReidNetwork) -> dict[str, Any]:
    """The options of a body that has the widths of these modules."""
    if isinstance(narrow.body, MobileNet):
        return narrow.body.options_for([site.widths(0, site.conv.out_channels) for site in insert(deepcopy(narrow))])
    body = cast(ResNet, narrow.body)
    stages = [[block for block in stage.children() if isinstance(block, Block)] for stage in body.stages()]
    return {
        "stem": body.conv1.out_channels,
        "outer": [blocks[-1].unit(-1)[0].out_channels for blocks in stages],
        "inner": [
            [[block.unit(place)[0].out_channels for place in range(1, block.depth)] for block in blocks]
            for blocks in stages
        ],
    }
