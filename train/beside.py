"""A teacher beside the student: it sees the same augmented pixels at every step, and is learnt from in up to three ways.

CDD (CVPR 2023; methods.md 1.3) has the first two, logits and pooled block outputs; the third, the similarities between the
embeddings of a batch, is Whiten-MTD's loss (AAAI 2024) and ranks as retrieval does (methods.md 10.3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.network import Features, ReidNetwork
from vreid.models.pruning import Compactor
from vreid.models.resnet import Block
from vreid.train.graphed import Graphed
from vreid.train.losses.outputs import blocks_loss, logits_loss
from vreid.train.losses.relations import similarity_loss


class Taps:
    """Spatial means of what goes into and comes out of the `far` place of every block, and into `near`, as (B, C) each.

    In a network without compactors both of `far` are what conv2+BN gives. A near compactor drops inputs, so its means are
    of these, each times the norm of its column: what the convolution after it still gets of the channel. They hold the last
    forward pass in training or eval mode, in float32; without `pooled` they hold nothing, which costs nothing.
    """

    def __init__(self, network: ReidNetwork, pooled: bool = True) -> None:
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.near: dict[int, Tensor] = {}
        self.blocks = [block for block in network.body.modules() if isinstance(block, Block)]
        self._hooks = []
        for place, block in enumerate(self.blocks if pooled else ()):
            self._hooks.append(block.far.register_forward_hook(self._far(place)))
            self._hooks.append(block.near.register_forward_hook(self._near(place)))

    def close(self) -> None:
        """Read no more: two taps on one network would do everything twice."""
        for hook in self._hooks:
            hook.remove()

    def widths(self) -> list[int]:
        """Channels that conv2 of every block gives (conv1 of a basic one)."""
        return [block.unit(-2)[0].out_channels for block in self.blocks]

    def _far(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.before[place] = _means(inputs[0])
            self.after[place] = _means(output) if isinstance(module, Compactor) else self.before[place]

        return hook

    def _near(self, place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            means = _means(inputs[0])
            self.near[place] = means * module.norms() if isinstance(module, Compactor) else means

        return hook


def _means(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C) float32, whatever the autocast."""
    return x.mean((2, 3), dtype=torch.float32)


@dataclass(frozen=True)
class Distillation:
    """The weights of the terms, 0 for none. `blocks` needs a student of the teacher's network, `logits` one of the same
    vehicles. `teacher_training` leaves the teacher's batch norms in training mode, as the published code of CDD does by
    oversight; it is there for the ablation, and makes the teacher drift."""

    logits: float = 1.0
    blocks: float = 0.5
    similarity: float = 0.0
    tau: float = 0.05
    teacher_training: bool = False


class Beside:
    """The teacher's side of a training. `views[place]` (K, C) tells how the K channels that a block of the student has
    left are made of the teacher's C; None while they are the same (models/pruning.py). The blocks' outputs are pooled where
    there is a loss on them, or `resetting` looks at them."""

    def __init__(self, rules: Distillation, student: ReidNetwork, teacher: ReidNetwork, resetting: bool = True) -> None:
        self.rules, self.teacher, self.pooled = rules, teacher, resetting or rules.blocks > 0
        self.ours, self.theirs = Taps(student, self.pooled), Taps(teacher, self.pooled)
        self.views: list[Tensor | None] = [None] * len(self.ours.blocks)
        if rules.blocks and self.ours.widths() != self.theirs.widths():
            raise Refused(
                "the teacher's blocks are not as wide as the student's; give a teacher of the same network, or a recipe "
                "that does not learn from its blocks"
            )
        self.teacher.train(rules.teacher_training)
        self._ask = Graphed(teacher)

    def follow(self, student: ReidNetwork) -> None:
        """From now on the student is this network: the one before, or it made narrower."""
        self.ours.close()
        self.ours = Taps(student, self.pooled)

    def losses(self, features: Features, pixels: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """The weighted terms of a batch that the student has just seen; pictures (B,) tells equal ones.

        To be called as the student was, in or out of autocast; every term is reckoned in float32.
        """
        with torch.no_grad():
            told = self._ask(pixels)
        parts: dict[str, Tensor] = {}
        with torch.autocast(pixels.device.type, enabled=False):
            if self.rules.logits:
                if features.logits is None or told.logits is None or told.logits.shape != features.logits.shape:
                    raise Refused(
                        "the teacher was trained on other vehicles; give it and the student the same --data, cut and seed"
                    )
                parts["logits"] = self.rules.logits * logits_loss(features.logits.float(), told.logits.float())
            if self.rules.blocks:
                parts["blocks"] = self.rules.blocks * blocks_loss(
                    [self.ours.before[place] for place in range(len(self.views))],
                    [self._viewed(place) for place in range(len(self.views))],
                )
            if self.rules.similarity:
                parts["similarity"] = self.rules.similarity * similarity_loss(
                    features.embedding, told.embedding, self.rules.tau, pictures
                )
        return parts

    def _viewed(self, place: int) -> Tensor:
        view, theirs = self.views[place], self.theirs.before[place]
        return theirs if view is None else theirs @ view.T
