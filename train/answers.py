"""How the answers of teachers that were asked once a picture are learnt from: one loss, or several teachers fused.

The teachers' features of a batch are columns of what train/told.py keeps; the student is free to have other dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.train.fusion import fusion_loss
from vreid.train.losses.interpolation import interpolated, ranking_loss
from vreid.train.losses.outputs import alignment_loss
from vreid.train.losses.relations import similarity_loss
from vreid.train.losses.table import loss_named


@dataclass(frozen=True)
class Answers:
    """`by` names the loss for one teacher (losses/table.py, or "ranking" for DRD); of several, or with `by` "fusion", the
    similarities are fused by `fusion` (train/fusion.py). `whiten` is the dimensions that each teacher is whitened to
    (0: not). `tau` is for similarities, fusions, and rankings of a form that has one. Ranking: `mixed` interpolated rows a
    batch, of weights Beta(alpha, alpha) or uniform (None), compared by `form` over `pairs`; `align` weighs the student's
    vectors beside the teacher's own (losses/outputs.py)."""

    by: str = "similarity"
    fusion: str = "maxmin"
    whiten: int = 0
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


def answers_loss(
    rules: Answers,
    embedding: Tensor,
    told: Sequence[Tensor],
    truth: Tensor | None,
    pictures: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor | None:
    """embedding (B, D), told K x (B, E_k), truth (B,) or None, pictures (B,) tells equal ones -> scalar.

    A row of zeros is a picture that a teacher was not asked about, which is left out; None where fewer than two are left.
    """
    asked = torch.stack([rows.any(1) for rows in told]).all(0)
    if int(asked.sum()) < 2:  # by chance a batch may hold no pair that the teachers know
        return None
    student, teachers = embedding[asked].float(), [rows[asked].float() for rows in told]
    same = None if pictures is None else pictures[asked]
    if rules.by == "fusion" or len(teachers) > 1:
        labels = None if truth is None else truth[asked]
        return fusion_loss(student, teachers, labels, rules.fusion, rules.tau, same, generator)
    if rules.by == "similarity":
        return similarity_loss(student, teachers[0], rules.tau, same)
    if rules.by != "ranking":
        return loss_named(rules.by)(student, teachers[0], pictures=same)
    if generator is None:
        raise Refused("interpolation needs a torch.Generator, or a resumed training would not go on as it was")
    ours, theirs = interpolated(student, teachers[0], rules.mixed, rules.alpha, generator)
    loss = ranking_loss(ours, theirs, rules.form, rules.tau, rules.pairs, rules.mixed, same)
    return loss + rules.align * alignment_loss(student, teachers[0]) if rules.align else loss
