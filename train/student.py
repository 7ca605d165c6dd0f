"""The state of a training: the network, its average, the optimiser, and how far it has come."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vreid.models.compactor import fold, insert, sites
from vreid.models.network import ReidNetwork
from vreid.models.pretrained import imagenet_weights, load_body
from vreid.train.capacity import Compression
from vreid.train.optimise import optimiser_of
from vreid.train.recipe import Recipe


class Student:
    """A network that learns. `epoch` counts those done, `best` is the best score so far (-1: none), `seconds` the time."""

    def __init__(
        self,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        seed: int,
        weights: str | None,
        teacher: ReidNetwork | None = None,
    ) -> None:
        torch.manual_seed(seed)
        network = ReidNetwork(replace(recipe.network, classes=classes))
        if weights is not None:
            load_body(network.body, imagenet_weights(recipe.network.body, weights))
        if recipe.capacity is not None:
            insert(network, recipe.capacity.both_sides)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean = get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=mean, use_buffers=True)
        self.optimiser = optimiser_of(self.network, recipe)
        self.scaler = torch.amp.GradScaler("cuda", enabled=device.type == "cuda")
        self.epoch, self.best, self.seconds = 0, -1.0, 0.0
        self.compression: Compression | None = None
        if (
            recipe.capacity is not None and teacher is not None
        ):  # after the average is copied: its forward is not tapped
            self.compression = Compression(recipe.capacity, self.network, teacher)

    def deployable(self) -> ReidNetwork:
        """What is evaluated and kept: the averaged network, folded when it has compactors."""
        average = cast(ReidNetwork, self.average.module)
        if self.compression is None:
            return average
        capacity = self.compression.capacity
        for ours, theirs in zip(self.compression.sites, sites(average), strict=True):
            for now, mean in zip(ours.compactors(), theirs.compactors(), strict=True):
                mean.mask.copy_(now.mask)  # a mask is a choice, which has no average
        return fold(average, capacity.threshold, capacity.multiple, masked=capacity.budget is not None)

    def state(self) -> dict[str, Any]:
        """Everything that --resume needs, as tensors, numbers and words."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "seconds": self.seconds,
            "compression": {} if self.compression is None else self.compression.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:  # empty when the epochs so far were trained on a CPU
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best, self.seconds = state["epoch"], state["best"], state["seconds"]
        if self.compression is not None:
            self.compression.restore(state["compression"])
