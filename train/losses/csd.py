"""Contextual similarity distillation (Wu et al., Contextual Similarity Distillation for Asymmetric Image Retrieval, CVPR 2022,
section 3): KL between the softmaxes of a picture's similarities to its k nearest in the teacher's space.

Asymmetric in the paper: the student's query is compared with the teacher's vectors, itself among them, which draws the two
spaces together; hence equal dimensions. Here, as in methods.md 6, the context comes from the batch instead of a stored
gallery, with teacher T 0.01, student T 1 and k 96. At two temperatures the loss is not zero, nor least, at the teacher's
own vectors. `symmetric` is ours: the student's own similarities, a picture no longer in its own context.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.losses.fitnet import aligned
from vreid.train.losses.pkt import others


@dataclass(frozen=True)
class Context:
    """The k nearest of each picture in the teacher's space, nearest first, all (B, k): the teacher's similarities `theirs`,
    the student's `ours`, and `held`, False where a row has fewer than k; the similarities are 0 there."""

    theirs: Tensor
    ours: Tensor
    held: Tensor


def context_of(
    student: Tensor, teacher: Tensor, pictures: Tensor | None, k: int, symmetric: bool, method: str
) -> Context:
    """student (B, D), teacher (B, E) -> Context, k cut to B.

    Other copies of a picture are left out of its context: they would take the places of other pictures. The picture itself
    is the first of it, or left out too when `symmetric`, where it is 1 by definition. Raises Refused when k is below 2, or
    when D is not E and `symmetric` is False.
    """
    if k < 2:
        raise Refused(f"{method} ranks the k nearest, but k is {k}; give it 2 or more")
    if symmetric:
        student, teacher = unit(student), unit(teacher.detach())
        ours = student @ student.T
    else:
        student, teacher = aligned(student, teacher, method, " or the loss symmetric=True")
        ours = student @ teacher.T
    left_out = ~others(student, pictures)
    if not symmetric:
        left_out.fill_diagonal_(False)
    theirs, place = (teacher @ teacher.T).masked_fill(left_out, -torch.inf).topk(min(k, len(teacher)), dim=1)
    held = theirs.isfinite()
    return Context(theirs.masked_fill(~held, 0.0), ours.gather(1, place).masked_fill(~held, 0.0), held)


def csd_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 96,
    teacher_tau: float = 0.01,
    student_tau: float = 1.0,
    symmetric: bool = False,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar: mean over rows of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, symmetric, "csd")
    theirs = (context.theirs / teacher_tau).masked_fill(~context.held, -1e4)
    ours = (context.ours / student_tau).masked_fill(~context.held, -1e4)
    return kl_div(ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
