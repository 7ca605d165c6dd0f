"""Losses of a network's outputs: by labels (classification, triplets), and against a teacher's, one picture at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, softplus

from vreid.models.errors import Refused
from vreid.models.network import unit

# Cross-entropy with label smoothing (Szegedy et al., CVPR 2016, section 7).


def classification_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """logits (B, ids), labels (B,) -> scalar."""
    return cross_entropy(logits, labels, label_smoothing=smoothing)


# Batch-hard triplet loss (Hermans et al., 2017, equation 5) on Euclidean distances.
#
# With `cameras` the positive is the farthest of those in other cameras and the negative the nearest of those in the anchor's own:
# a camera's light and view make strangers alike, and those are the confusions that retrieval across cameras suffers from. That
# choice of candidates is ours; batch-hard, the distances and the margin are the paper's. An anchor without such a positive,
# or without such a negative, takes it from all.


def distances(x: Tensor) -> Tensor:
    """(B, D) -> (B, B) Euclidean, with an epsilon so that the gradient at zero is finite."""
    square = x.pow(2).sum(1)
    return (square[:, None] + square[None] - 2 * x @ x.T).clamp(min=1e-12).sqrt()


def triplet_loss(x: Tensor, labels: Tensor, margin: float | None = 0.3, cameras: Tensor | None = None) -> Tensor:
    """x (B, D), labels (B,), cameras (B,) -> scalar; `margin` None takes the soft margin log(1 + exp(.))."""
    distance = distances(x)
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    positive, negative = same & ~itself, ~same
    if cameras is not None:
        there = cameras[:, None] == cameras[None]
        positive, negative = _preferred(positive, ~there), _preferred(negative, there)
    far = distance.masked_fill(~positive, 0.0).amax(1)
    near = distance.masked_fill(~negative, float("inf")).amin(1)
    gap = far - near
    return softplus(gap).mean() if margin is None else (gap + margin).clamp(min=0).mean()


def _preferred(pairs: Tensor, wanted: Tensor) -> Tensor:
    """Both (B, B) bool -> in each row the pairs that are wanted or, where none is, all."""
    found = pairs & wanted
    return torch.where(found.any(1, keepdim=True), found, pairs)


# Distillation of logits (Hinton et al., 2015), as CDD weighs it: T = 2, times T squared, the mean over the batch.


def logits_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """student, teacher (B, ids) -> scalar KL(teacher || student); no gradient reaches the teacher."""
    student = (student / temperature).log_softmax(1)
    teacher = (teacher.detach() / temperature).log_softmax(1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


# A student's vectors near its teacher's own, not only alike among themselves: the mean of 1 - cosine.
#
# Feature regression (FitNets, Romero et al., ICLR 2015, equation 3) of vectors of unit length, up to the factor of two: what DRD
# calls the joint space of teacher and student may be this (losses/interpolation.py). A teacher of fewer axes is taken as one
# whose others are 0; one of more has been turned into the student's space before (train/projection.py).


def alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar from 0 to 2, no gradient to the teacher; Refused where E > D."""
    axes = teacher.shape[1]
    if axes > student.shape[1]:
        raise Refused(
            f"a teacher of {axes} axes does not fit a student of {student.shape[1]}; turn it by fit_rotation, or "
            "whiten it to fewer axes"
        )
    return (1 - (unit(student)[:, :axes] * unit(teacher.detach())).sum(1)).mean()


# Distance between the blocks of student and teacher (CDD, CVPR 2023): pooled conv2+BN outputs, before any compactor.
#
# Taken before the compactor it needs no adapter, since student and teacher are equally wide there, and it goes on
# supervising channels that the compactor drops.


def blocks_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Per block (B, C), student and teacher -> scalar: sum over blocks of the batch mean of the L2 distance."""
    terms = [
        (of_student - of_teacher.detach()).pow(2).sum(1).clamp(min=1e-12).sqrt().mean()
        for of_student, of_teacher in zip(student, teacher, strict=True)
    ]
    return torch.stack(terms).sum()


# Feature regression (FitNets: Hints for Thin Deep Nets, Romero et al., ICLR 2015, section 2.2, equation 3).
#
# As the comparisons of retrieval networks use it (methods.md 6): on the retrieval embedding at unit length instead of a middle
# layer, so there is no regressor, and the mean of the squares instead of half their sum. At unit length that is
# 2 (1 - cosine) / D, small for a long embedding.


WEIGHT = 2.0


def aligned(student: Tensor, teacher: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """student (B, D), teacher (B, E) -> both at unit length, the teacher without gradient.

    Raises Refused when D is not E, for a method that compares vectors of one space with vectors of the other.
    """
    axes, wanted = student.shape[1], teacher.shape[1]
    if axes != wanted:
        raise Refused(
            f"{method} compares the student's embedding with the teacher's axis by axis, but they have {axes} and {wanted} "
            f"axes; give the student's network the dim {wanted}"
        )
    return unit(student), unit(teacher.detach())


def fitnet_loss(student: Tensor, teacher: Tensor, pictures: Tensor | None = None, weight: float = WEIGHT) -> Tensor:
    """student, teacher (B, D), any lengths -> scalar: `weight` times the mean over pictures and axes of the squares.

    `pictures` changes nothing: no pair is looked at. Raises Refused when the dimensions differ.
    """
    student, teacher = aligned(student, teacher, "fitnet")
    return weight * (student - teacher).pow(2).mean()
