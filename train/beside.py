"""A teacher beside the student: it sees the same augmented pixels at every step, and is learnt from in up to three ways.

CDD (CVPR 2023; methods.md 1.3) has the first two, logits and pooled block outputs; the third, the similarities between the
embeddings of a batch, is Whiten-MTD's loss (AAAI 2024) and ranks as retrieval does (methods.md 10.3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.head import Features
from vreid.models.network import ReidNetwork
from vreid.train.graphed import Graphed
from vreid.train.losses.blocks import blocks_loss
from vreid.train.losses.logits import logits_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.taps import Taps


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
    left are made of the teacher's C; None while they are the same (models/shrinking.py). The blocks' outputs are pooled where
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
