"""The state of a training: the network, its average, the optimiser, and how far it has come."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, update_bn

from vreid.models.checkpoint import imagenet_weights, is_classifier, load_body
from vreid.models.errors import Refused
from vreid.models.folded_norms import measure_folded_norms
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert, sites
from vreid.models.shrinking import shrunk, variances
from vreid.train.losses.cameras import CameraMeans
from vreid.train.online import OnlineTeacher
from vreid.train.optimise import autocast_dtype, averaging, optimiser_of
from vreid.train.pruning.controller import Compression
from vreid.train.pruning.costs import Costs
from vreid.train.recipe import Recipe


class Student:
    """A network that learns. `epoch` counts those done, `best` is the best score so far (-1: none), `seconds` the time.

    `average` is the exponential moving average of the network, `swa` the mean of stochastic weight averaging (None without).
    `reached` is the share of the training that was over when its number of epochs was changed: input size and compression
    do not go back behind it.
    """

    def __init__(
        self,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        seed: int,
        weights: str | None,
        teacher: ReidNetwork | None = None,
        costs: Costs | None = None,
        start: ReidNetwork | None = None,
        numbered: bool = True,
        sets: Sequence[int] = (),
    ) -> None:
        """`start` is the network to begin as; `numbered`: its classifier is of the vehicles of this training; `sets` has the data
        set of each camera, where the recipe has a loss on cameras' means.

        Raises Refused for weights or a start that do not fit, and as `OnlineTeacher` and `Compression` do.
        """
        torch.manual_seed(seed)
        network = ReidNetwork(replace(recipe.network, classes=classes))
        if weights is not None:
            load_body(network.body, imagenet_weights(recipe.network.body, weights))
        source = start or (teacher if recipe.inherit else None)
        if source is not None:
            _inherit(network, source, numbered or start is None)
        self.recipe, self.device = recipe, device
        self.epoch, self.best, self.seconds, self.reached = 0, -1.0, 0.0, 0.0
        self._adopt(self._compacting(network))
        self.scaler = torch.amp.GradScaler("cuda", enabled=autocast_dtype(device) is torch.float16)
        self.means = CameraMeans(sets, recipe.network.dim, device) if recipe.cameras and sets else None
        # after the average is copied: that has no hooks
        resetting = recipe.capacity is not None and recipe.capacity.budget is None and recipe.capacity.rules is not None
        self.teacher: OnlineTeacher | None = None
        if recipe.online is not None and teacher is not None:
            self.teacher = OnlineTeacher(recipe.online, self.network, teacher, resetting)
        self.compression: Compression | None = None
        if recipe.capacity is not None and self.teacher is not None:
            capacity = replace(recipe.capacity, start=round(recipe.capacity.start * recipe.stretch))
            self.compression = Compression(capacity, self.network, self.teacher, costs)

    def shrink(self, pixels: Tensor) -> bool:
        """Rebuild the student without the channels that are gone, its average and the optimiser's momentum with it; False
        when there are none. pixels (B, H, W, 3) uint8: a batch to see the variances of."""
        kept = None if self.compression is None else self.compression.droppable()
        if self.compression is None or kept is None:
            return False
        narrow = shrunk(self.network, kept, variances(self.network, pixels))
        average = cast(ReidNetwork, self.average.module)
        mean = shrunk(average, kept, variances(average, pixels)).network
        averaged, old, names = self.average.n_averaged, self.optimiser, dict(self.network.named_parameters())
        self._adopt(narrow.network)
        self.average.module.load_state_dict(mean.state_dict())
        self.average.n_averaged.copy_(averaged)
        for name, parameter in self.network.named_parameters():
            velocity = old.state.get(names[name], {}).get("momentum_buffer")
            if velocity is not None and name not in narrow.anew:
                change = narrow.changes.get(name)
                self.optimiser.state[parameter]["momentum_buffer"] = velocity if change is None else change(velocity)
        self.compression.follow(narrow, kept)
        return True

    def measure_folded(self, batches: Iterable[Tensor]) -> None:
        """Give the batch norms of a folded network, with which the training begins, their statistics (models/folded_norms.py);
        batches of (B, H, W, 3) uint8."""
        if measure_folded_norms(self.network, batches):
            for mean in (self.average, self.swa):
                if mean is not None:
                    mean.module.load_state_dict(self.network.state_dict())

    def average_epoch(self, batches: Iterable[Tensor]) -> None:
        """Take the weights into the mean of stochastic weight averaging where the epoch is in its share of the training. The
        statistics of its batch norms are measured anew on batches of (B, H, W, 3) uint8, as in the paper."""
        if self.swa is None or self.epoch <= (1 - self.recipe.swa) * self.recipe.epochs:
            return
        self.swa.update_parameters(self.network)
        update_bn(batches, self.swa, self.device)

    def at(self, epoch: float) -> float:
        """The epoch, from 0, that input size and compression follow: not before `reached` when a training is made longer."""
        return max(epoch, self.reached * self.recipe.epochs)

    def deployable(self) -> ReidNetwork:
        """What is evaluated and kept: the averaged network, folded when it has compactors."""
        kept = self.average if self.swa is None or not int(self.swa.n_averaged) else self.swa
        average = cast(ReidNetwork, kept.module)
        if self.compression is None:
            return average
        capacity = self.compression.capacity
        for now_site, mean_site in zip(sites(self.network), sites(average), strict=True):
            for now, mean in zip(now_site.compactors(), mean_site.compactors(), strict=True):
                mean.mask.copy_(now.mask)  # a mask is a choice, which has no average
        return fold(average, capacity.threshold, capacity.multiple, masked=capacity.budget is not None)

    def _compacting(self, network: ReidNetwork) -> ReidNetwork:
        if self.recipe.capacity is not None:
            insert(network, self.recipe.capacity.both_sides)
        return network

    def _adopt(self, network: ReidNetwork) -> None:
        """Take this network as the one that learns, with new averages and a new optimiser."""
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=averaging(self.recipe.average), use_buffers=True)
        self.swa = AveragedModel(self.network) if self.recipe.swa else None
        self.optimiser = optimiser_of(self.network, self.recipe)

    def state(self) -> dict[str, Any]:
        """Everything that --resume needs, as tensors, numbers and words."""
        return {
            "options": self.network.config.options,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "swa": {} if self.swa is None else self.swa.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "seconds": self.seconds,
            "reached": self.reached,
            "cameras": {} if self.means is None else self.means.state(),
            "compression": {} if self.compression is None else self.compression.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, whose "epochs", where it has them, are those that the training was to have until now."""
        earlier = (
            {"inner": state["inner"]} if state.get("inner") else {}
        )  # of checkpoints before bodies had other widths
        if (options := self.network.config.options | earlier | state.get("options", {})) != self.network.config.options:
            self._adopt(self._compacting(ReidNetwork(replace(self.network.config, options=options))))
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:  # empty when the epochs so far were trained in another precision
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best, self.seconds = state["epoch"], state["best"], state["seconds"]
        self.reached = state.get("reached", 0.0)
        if (before := state.get("epochs", self.recipe.epochs)) != self.recipe.epochs:
            self.reached = max(self.reached, self.epoch / before)
        elif self.swa is not None and state.get("swa"):  # of other epochs the mean begins anew
            self.swa.load_state_dict(state["swa"])
        if self.means is not None:
            self.means.restore(state["cameras"])
        if self.compression is not None:
            self.compression.restore(state["compression"], self.network)


def _inherit(student: ReidNetwork, source: ReidNetwork, classifier: bool) -> None:
    """The student's weights become the source's; without `classifier` its own layer of the vehicles stays, if it has one."""
    weights = source.state_dict()
    if not classifier:
        own = {key: value for key, value in student.state_dict().items() if is_classifier(key)}
        weights = {key: value for key, value in weights.items() if not is_classifier(key)} | own
    try:
        student.load_state_dict(weights)
    except RuntimeError as error:
        raise Refused(
            f"the student cannot begin as its teacher: {_difference(student.config, source.config)}; give a teacher of the "
            "same recipe, --dim and --data, or a recipe that does not inherit"
        ) from error


def _difference(student: NetworkConfig, teacher: NetworkConfig) -> str:
    """What of the networks differs, such as "dim is 512 here and 128 in the teacher"."""
    pairs = {
        name: (getattr(student, name), getattr(teacher, name)) for name in ("body", "options", "dim", "pool", "classes")
    }
    found = [
        f"{name} is {here} here and {there} in the teacher" for name, (here, there) in pairs.items() if here != there
    ]
    return ", ".join(found) or "their weights have other names or sizes"
