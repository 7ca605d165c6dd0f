"""What a network costs, layer by layer: parameters, multiply-accumulates (MACs) and FLOPs = 2 x MACs of one image."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from vreid.models.network import ReidNetwork


@dataclass(frozen=True)
class LayerCost:
    """One layer on one image: `shape` is what it gives without the batch, `params` are its own, `macs` of convolutions
    and linear layers only. The papers' "FLOPs" are these MACs."""

    name: str
    kind: str
    shape: tuple[int, ...]
    params: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiply and an add for each MAC."""
        return 2 * self.macs


def cost_of(network: ReidNetwork) -> list[LayerCost]:
    """Every layer that owns parameters or MACs, in order of execution, for one image of the network's own size.

    Counted as the pruning papers do (methods.md 1.7): batch norms unfolded, no MACs of biases, activations and
    pooling, the classifier left out. A layer that runs twice is listed twice, its parameters the first time only.
    The network is run once in eval mode on its own device (meta will do) and left as it was.
    """
    layers: list[LayerCost] = []
    counted: set[int] = set()
    left_out = set(network.head.classifier.modules()) if network.head.classifier is not None else set()
    names = {module: name for name, module in network.named_modules() if module not in left_out and _owned(module)}

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        new = [parameter for parameter in _owned(module) if id(parameter) not in counted]
        counted.update(id(parameter) for parameter in new)
        params = sum(parameter.numel() for parameter in new)
        layers.append(
            LayerCost(names[module], type(module).__name__, tuple(output.shape[1:]), params, _macs(module, output))
        )

    modes = {module: module.training for module in network.modules()}
    hooks = [module.register_forward_hook(note) for module in names]
    device = next(network.parameters()).device
    try:
        network.eval()
        with torch.inference_mode():
            network(torch.zeros((1, network.config.height, network.config.width, 3), dtype=torch.uint8, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return layers


def total_of(layers: Iterable[LayerCost]) -> LayerCost:
    """The sum over `layers`, as one nameless layer that gives what the last one gives."""
    layers = list(layers)
    shape = layers[-1].shape if layers else ()
    return LayerCost("", "total", shape, sum(layer.params for layer in layers), sum(layer.macs for layer in layers))


def _owned(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of the module itself, not those of its children."""
    return list(module.parameters(recurse=False))


def _macs(module: nn.Module, output: Tensor) -> int:
    """Multiply-accumulates of one image: every output number is a sum over one row of the weight."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return prod(output.shape[1:]) * prod(module.weight.shape[1:])
    return 0
