"""Losses, optimiser, learning-rate schedule and averaging of a recipe, and the precision that it is trained in."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vreid.models.errors import Refused
from vreid.models.network import Features, ReidNetwork
from vreid.models.pruning import sites
from vreid.train.losses.cameras import CameraMeans
from vreid.train.losses.outputs import classification_loss, triplet_loss
from vreid.train.losses.table import cached_loss
from vreid.train.recipe import Recipe


def losses_of(
    recipe: Recipe,
    features: Features,
    truth: Tensor,
    teachers: Sequence[Tensor] = (),
    pictures: Tensor | None = None,
    generator: torch.Generator | None = None,
    cameras: Tensor | None = None,
    means: CameraMeans | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of a batch, by name; truth (B,) identities, teachers K x (B, E_k) their embeddings of it, cameras (B,),
    `means` the running mean embeddings of all cameras.

    A row of zeros in `teachers` is a picture that one has no embedding of; equal `pictures` (B,) are copies of one; what is
    drawn by chance is drawn from `generator`. A recipe without labels never looks at `truth`. Raises Refused for a network without
    a classifier, and as the losses do. To be called outside of autocast: distances between half-precision products are noise.
    """
    parts: dict[str, Tensor] = {}
    if recipe.labels:
        if features.logits is None:
            raise Refused("a network is trained with a classifier; give it classes")
        if recipe.classification:
            loss = classification_loss(features.logits.float(), truth, recipe.smoothing)
            parts["classification"] = recipe.classification * loss
        if recipe.triplet:
            where = cameras if recipe.mining == "cameras" else None
            parts["triplet"] = recipe.triplet * triplet_loss(features.pooled.float(), truth, recipe.margin, where)
    if teachers and recipe.distil:
        known = truth if recipe.labels else None
        loss_of_cached = cached_loss(recipe.cached, features.embedding, teachers, known, pictures, generator)
        if loss_of_cached is not None:
            parts["distil"] = recipe.distil * loss_of_cached
    if means is not None and cameras is not None:
        parts["cameras"] = recipe.cameras * means.loss(features.embedding, cameras)
    if not parts:  # every picture of the batch unknown to the teacher, and no labels: nothing to learn from it
        parts["distil"] = 0.0 * features.embedding.float().sum()
    return parts


def optimiser_of(network: ReidNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD in four groups: body and head, each with and without weight decay (none on norms and biases).

    Compactors are a fifth, with the momentum and weight decay of the recipe's capacity. Raises Refused for another optimiser.
    """
    compacting = {id(compactor.weight) for site in sites(network) for compactor in site.compactors()}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if id(parameter) not in compacting:
            groups.setdefault((name.startswith("head."), parameter.ndim > 1), []).append(parameter)
    given: list[dict[str, Any]] = [
        {
            "params": parameters,
            "weight_decay": recipe.weight_decay if decay else 0.0,
            "scale": recipe.head_lr if head else 1.0,
        }
        for (head, decay), parameters in groups.items()
    ]
    if compacting and recipe.capacity is not None:
        compactors = [parameter for parameter in network.parameters() if id(parameter) in compacting]
        own = {"weight_decay": recipe.capacity.weight_decay, "scale": 1.0}
        momentum = {"momentum": recipe.capacity.momentum} if recipe.optimiser == "sgd" else {}
        given.append({"params": compactors, **own, **momentum})
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(given, lr=recipe.lr)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(given, lr=recipe.lr, momentum=0.9)
    raise Refused(f"there is no optimiser '{recipe.optimiser}'; choose adamw or sgd")


def rate_at(recipe: Recipe, epoch: float) -> float:
    """Learning rate at a fractional epoch: linear warm-up from a tenth, flat, cosine to a thousandth or, with stochastic weight
    averaging, to `swa_lr`, where it stays while weights are averaged.

    Over more or fewer epochs than the recipe's own, warm-up and the constant part keep their shares.
    """
    warmup, flat = recipe.warmup * recipe.stretch, recipe.flat * recipe.stretch
    if epoch < warmup:
        return recipe.lr * (0.1 + 0.9 * epoch / warmup)
    start = max(warmup, flat)
    if epoch < start:
        return recipe.lr
    least, end = (recipe.swa_lr, (1 - recipe.swa) * recipe.epochs) if recipe.swa else (0.001, recipe.epochs)
    done = min(1.0, (epoch - start) / max(1e-9, end - start))
    return recipe.lr * (least + (1 - least) * 0.5 * (1 + math.cos(math.pi * done)))


def averaging(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """How AveragedModel averages after its n-th step: exponentially, by the least of `decay` and (1 + n) / (10 + n).

    A constant decay of 0.998 leaves half of a training of 300 steps to the weights that it began with.
    """

    def averaged(mean: Any, current: Any, steps: Tensor | int) -> None:
        count = int(steps)  # on a GPU a wait, so once
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(mean, current, steps)  # type: ignore[no-untyped-call]

    return averaged


def autocast_dtype(device: torch.device, bfloat16: bool = False) -> torch.dtype | None:
    """What autocast multiplies in, None for float32. On a GPU bfloat16 where it has it (since Ampere), for in float16
    compressing students overflowed; else float16, which needs a scaler of the loss. On a CPU bfloat16 where requested."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if bfloat16 else None


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
