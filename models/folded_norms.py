"""Statistics for the batch norms of a folded network, with which it can be trained further.

`fold` (models/pruning.py) leaves batch norms that only add a bias. That is right for inference, but their statistics are not
those of their inputs: in training mode such a norm would scale by the batch, and the network would be another function.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from vreid.models.network import ReidNetwork

_NEAR = 1e-3  # of 1, which a checkpoint in float16 has instead of 1 - eps


def bias_only(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch norms that only add a bias in eval mode."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and _adds_only(module)]


@torch.no_grad()
def measure_folded_norms(network: ReidNetwork, batches: Iterable[Tensor]) -> int:
    """Give the batch norms of `bias_only` the statistics of their inputs for `batches` of (B, H, W, 3) uint8.

    The network computes the same in eval mode as before, and in training mode nearly so. Returns the number of such norms; no
    batch is read where there are none.
    """
    norms = bias_only(network)
    if not norms:
        return 0
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x = inputs[0].double().cpu()
        sums[cast(nn.BatchNorm2d, module)] += torch.stack(
            [torch.full_like(x[0, :, 0, 0], x[:, 0].numel()), x.sum((0, 2, 3)), x.pow(2).sum((0, 2, 3))]
        )

    hooks = [norm.register_forward_hook(note) for norm in norms]
    training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        for pixels in batches:
            network(pixels.to(device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        spread = (squares / count - mean.pow(2)).clamp(min=0)
        before = cast(Tensor, norm.running_var)
        scale = (before.double().cpu() + norm.eps).rsqrt()  # nearly 1
        norm.weight.copy_((spread + norm.eps).sqrt() * scale)
        norm.bias.add_((mean * scale).to(norm.bias))
        cast(Tensor, norm.running_mean).copy_(mean)
        before.copy_(spread)
    return len(norms)


def _adds_only(norm: nn.BatchNorm2d) -> bool:
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None or not norm.affine:
        return False
    return bool((mean == 0).all() and (norm.weight == 1).all() and ((var - 1).abs() < _NEAR).all())
