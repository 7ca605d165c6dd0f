"""The seam of the distillation losses: what each is given, and which ones there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.train.losses.interpolation import interpolated, ranking_loss
from vreid.train.losses.outputs import alignment_loss
from vreid.train.losses.relations import fusion_loss, similarity_loss

LOSSES = {
    "similarity": "vreid.train.losses.relations:similarity_loss",
    "fitnet": "vreid.train.losses.outputs:fitnet_loss",
    "rkd": "vreid.train.losses.relations:rkd_loss",
    "pkt": "vreid.train.losses.relations:pkt_loss",
    "correlation": "vreid.train.losses.relations:correlation_loss",
    "csd": "vreid.train.losses.rankings:csd_loss",
    "rop": "vreid.train.losses.rankings:rop_loss",
    "raml": "vreid.train.losses.rankings:raml_loss",
    "d3still": "vreid.train.losses.rankings:d3still_loss",
}


class DistillationLoss(Protocol):
    """How far the embeddings of a batch are from the teacher's; no gradient reaches the teacher."""

    def __call__(
        self, student: Tensor, teacher: Tensor, /, *, pictures: Tensor | None = None, **options: Any
    ) -> Tensor:
        """student (B, D), teacher (B, E), any lengths -> scalar, the method's published weights included.

        `pictures` (B,) numbers the pictures, where a batch may hold one more than once; give it by its name. `options` are
        the method's own. Raises Refused when D is not E and the method compares the two spaces directly.
        """


def loss_named(name: str) -> DistillationLoss:
    """The distillation loss `name`; Refused lists the names there are."""
    loss: DistillationLoss = open_seam("distillation loss", LOSSES, name, "train")
    return loss


# How the embeddings of teachers that saw every picture once are learnt from: one loss, or several teachers fused.
#
# The teachers' features of a batch are columns of what train/teacher_cache.py keeps; the student is free to have other dimensions.


@dataclass(frozen=True)
class CachedDistillation:
    """`by` names the loss for one teacher (LOSSES, or "ranking" for DRD); of several, or with `by` "fusion", the
    similarities are fused by `fusion` (losses/relations.py). `whiten` is the dimensions that each teacher is whitened to
    (0: not), with `by_camera` after they were standardised camera by camera (train/camera_scale.py). `tau` is for
    similarities, fusions, and rankings of a form that has one. Ranking: `mixed` interpolated rows a batch, of weights
    Beta(alpha, alpha) or uniform (None), compared by `form` over `pairs`; `align` weighs the distance of the student's
    vectors from the teacher's own (losses/outputs.py)."""

    by: str = "similarity"
    fusion: str = "maxmin"
    whiten: int = 0
    by_camera: bool = False
    tau: float = 0.05
    mixed: int = 0
    alpha: float | None = None
    form: str = "huber"
    pairs: str = "all"
    align: float = 0.0

    @property
    def tempered(self) -> bool:
        """Whether `tau` is looked at."""
        return self.by in ("similarity", "fusion") or (self.by == "ranking" and self.form not in ("huber", "mse"))

    def axes(self, dim: int) -> int:
        """The axes that a teacher of more is turned to, for a student of `dim`; 0 where only relations are learnt from."""
        return dim if self.by == "ranking" and self.align else 0


def cached_loss(
    rules: CachedDistillation,
    embedding: Tensor,
    teachers: Sequence[Tensor],
    truth: Tensor | None,
    pictures: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor | None:
    """embedding (B, D), teachers K x (B, E_k), truth (B,) or None, pictures (B,), equal for copies of one -> scalar.

    A row of zeros is a picture that a teacher has no embedding of, which is left out; None where fewer than two are left. Raises
    Refused for a ranking without a generator, and as the losses do.
    """
    known = torch.stack([rows.any(1) for rows in teachers]).all(0)
    if int(known.sum()) < 2:  # by chance a batch may hold no pair that the teachers know
        return None
    student, features = embedding[known].float(), [rows[known].float() for rows in teachers]
    same = None if pictures is None else pictures[known]
    if rules.by == "fusion" or len(features) > 1:
        labels = None if truth is None else truth[known]
        return fusion_loss(student, features, labels, rules.fusion, rules.tau, same, generator)
    if rules.by == "similarity":
        return similarity_loss(student, features[0], rules.tau, same)
    if rules.by != "ranking":
        return loss_named(rules.by)(student, features[0], pictures=same)
    if generator is None:
        raise Refused("interpolation needs a torch.Generator, or a resumed training would not go on as it was")
    mixed_student, mixed_teacher = interpolated(student, features[0], rules.mixed, rules.alpha, generator)
    loss = ranking_loss(mixed_student, mixed_teacher, rules.form, rules.tau, rules.pairs, rules.mixed, same)
    return loss + rules.align * alignment_loss(student, features[0]) if rules.align else loss
