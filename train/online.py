"""Online distillation: a teacher that sees every augmented batch next to the student.

It is learnt from in up to three ways. CDD (CVPR 2023; methods.md 1.3) has the first two, logits and pooled block outputs; the
third, the similarities between the embeddings of a batch, is Whiten-MTD's loss (AAAI 2024) and ranks as retrieval does
(methods.md 10.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.network import Features, ReidNetwork
from vreid.models.pruning import Compactor, Side, places_of
from vreid.train.devices import GraphRunner
from vreid.train.losses.outputs import blocks_loss, logits_loss
from vreid.train.losses.relations import similarity_loss
from vreid.train.pruning.channels import ChannelMap


class ActivationHooks:
    """Spatial means (B, C) by the number of a place: `before` and `after` its far compactor, and `near`, before its near one.

    In a network without compactors `before` and `after` are both what convolution and BN give. A near compactor drops inputs, so
    its means are of these, each times the norm of its column: what the convolution after it still gets of the channel. They hold
    the last forward pass in training or eval mode, in float32; without `pooled` they hold nothing, which costs nothing.
    """

    def __init__(self, network: ReidNetwork, pooled: bool = True) -> None:
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.near: dict[int, Tensor] = {}
        self.network, self.places = network, places_of(network)
        self._hooks = []
        for number, place in enumerate(self.places if pooled else ()):
            self._hooks.append(network.get_submodule(place.far).register_forward_hook(self._far(number)))
            if place.near:
                self._hooks.append(network.get_submodule(place.near).register_forward_hook(self._near(number)))

    def close(self) -> None:
        """Remove the hooks: with two sets of them on one network everything would be done twice."""
        for hook in self._hooks:
            hook.remove()

    def widths(self) -> list[int]:
        """Channels at every far place."""
        return [cast(nn.Conv2d, self.network.get_submodule(place.conv)).out_channels for place in self.places]

    def _far(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.before[number] = _means(inputs[0])
            self.after[number] = _means(output) if isinstance(module, Compactor) else self.before[number]

        return hook

    def _near(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            means = _means(inputs[0])
            self.near[number] = means * module.norms() if isinstance(module, Compactor) else means

        return hook


def _means(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C) float32, whatever the autocast."""
    return x.mean((2, 3), dtype=torch.float32)


@dataclass(frozen=True)
class OnlineDistillation:
    """The weights of the terms, 0 for none. `blocks` needs a student of the teacher's network, `logits` one of the same
    vehicles. `teacher_training` leaves the teacher's batch norms in training mode, as the published code of CDD does by
    oversight; it is there for the ablation, and makes the teacher drift."""

    logits: float = 1.0
    blocks: float = 0.5
    similarity: float = 0.0
    tau: float = 0.05
    teacher_training: bool = False


class OnlineTeacher:
    """A teacher in online distillation. `maps` say how the channels that the student has left are made of the
    teacher's (pruning/channels.py); none without compression. The blocks' outputs are pooled where there is a loss on them, or
    `resetting` looks at them. Raises Refused where there is such a loss and the blocks are not equally wide."""

    def __init__(
        self, rules: OnlineDistillation, student: ReidNetwork, teacher: ReidNetwork, resetting: bool = True
    ) -> None:
        self.rules, self.teacher, self.pools = rules, teacher, resetting or rules.blocks > 0
        self.student_hooks, self.hooks = ActivationHooks(student, self.pools), ActivationHooks(teacher, self.pools)
        self.maps: Sequence[ChannelMap] = ()
        if rules.blocks and self.student_hooks.widths() != self.hooks.widths():
            raise Refused(
                "the teacher's blocks are not as wide as the student's; give a teacher of the same network, or a recipe "
                "that does not learn from its blocks"
            )
        self.teacher.train(rules.teacher_training)
        self._runner = GraphRunner(teacher)

    def follow(self, student: ReidNetwork) -> None:
        """Take the hooks of this network, the student or a narrower form of it, in place of those before."""
        self.student_hooks.close()
        self.student_hooks = ActivationHooks(student, self.pools)

    def pooled(self, number: int, side: Side) -> tuple[Tensor, Tensor]:
        """(B, K), (B, C): what student and teacher gave at that side of the site `number` in the last batch, pooled."""
        if side == "far":
            return self.student_hooks.after[number], self.hooks.after[number]
        return self.student_hooks.near[number], self.hooks.near[number]

    def losses(self, features: Features, pixels: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """The weighted terms of a batch that the student has just seen; equal `pictures` (B,) are copies of one picture.

        To be called as the student was, in or out of autocast; every term is computed in float32. Raises Refused for logits of
        other vehicles.
        """
        with torch.no_grad():
            teacher = self._runner(pixels)
        parts: dict[str, Tensor] = {}
        with torch.autocast(pixels.device.type, enabled=False):
            if self.rules.logits:
                if features.logits is None or teacher.logits is None or teacher.logits.shape != features.logits.shape:
                    raise Refused(
                        "the teacher was trained on other vehicles; give it and the student the same --data, cut and seed"
                    )
                parts["logits"] = self.rules.logits * logits_loss(features.logits.float(), teacher.logits.float())
            if self.rules.blocks:
                numbers = range(len(self.hooks.places))
                parts["blocks"] = self.rules.blocks * blocks_loss(
                    [self.student_hooks.before[number] for number in numbers],
                    [self._viewed(number) for number in numbers],
                )
            if self.rules.similarity:
                parts["similarity"] = self.rules.similarity * similarity_loss(
                    features.embedding, teacher.embedding, self.rules.tau, pictures
                )
        return parts

    def _viewed(self, number: int) -> Tensor:
        features = self.hooks.before[number]
        return self.maps[number].viewed(features) if self.maps else features
