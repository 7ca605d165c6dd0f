"""Losses that compare the rankings of the pictures in a batch with a teacher's."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from vreid.models.errors import Refused
from vreid.train.losses.outputs import aligned
from vreid.train.losses.relations import others

# Contextual similarity distillation (Wu et al., Contextual Similarity Distillation for Asymmetric Image Retrieval, CVPR 2022,
# section 3): KL between the softmaxes of a picture's similarities to its k nearest in the teacher's space.
#
# Asymmetric in the paper: the student's query is compared with the teacher's vectors, itself among them, which draws the two
# spaces together; hence equal dimensions. Here, as in methods.md 6, the context comes from the batch instead of a stored
# gallery, with teacher T 0.01, student T 1 and k 96. At two temperatures the loss is not zero, nor least, at the teacher's
# own vectors.


@dataclass(frozen=True)
class Context:
    """The k nearest of each picture in the teacher's space, nearest first, all (B, k): the teacher's similarities `teacher`,
    the student's `student`, and `held`, False where a row has fewer than k; the similarities are 0 there."""

    teacher: Tensor
    student: Tensor
    held: Tensor


def context_of(student: Tensor, teacher: Tensor, pictures: Tensor | None, k: int, method: str) -> Context:
    """student (B, D), teacher (B, E) -> Context, k cut to B.

    Other copies of a picture are left out of its context: they would take the places of other pictures. The picture itself
    is the first of it. Raises Refused when k is below 2, or when D is not E.
    """
    if k < 2:
        raise Refused(f"{method} ranks the k nearest, but k is {k}; give it 2 or more")
    student, teacher = aligned(student, teacher, method)
    scores = student @ teacher.T
    left_out = (~others(student, pictures)).fill_diagonal_(False)
    wanted, place = (teacher @ teacher.T).masked_fill(left_out, -torch.inf).topk(min(k, len(teacher)), dim=1)
    held = wanted.isfinite()
    return Context(wanted.masked_fill(~held, 0.0), scores.gather(1, place).masked_fill(~held, 0.0), held)


def csd_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 96,
    teacher_tau: float = 0.01,
    student_tau: float = 1.0,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar: mean over rows of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, "csd")
    wanted = (context.teacher / teacher_tau).masked_fill(~context.held, -1e4)
    found = (context.student / student_tau).masked_fill(~context.held, -1e4)
    return kl_div(found.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True)


# Decoupled differential distillation (D3still: Xie et al., CVPR 2024): not the similarities but their differences, by which
# a ranking is made, those that the student has the wrong way round weighed more.
#
# Three parts: `alpha` times the error of the similarity to the first of the teacher's ranking (the picture itself: this is
# feature regression); `beta` times the differences among the k first whose sign the student has wrong ("hard"); `gamma` times
# the others ("simple"). A difference's error is (dS - dT) / (0.1 + |dT|). Values from methods.md 6, which gives alpha 50 to
# 100 and beta 2 to 5. Reconstruction: each part is the Euclidean norm over the batch, divided by B, as the text has it for the
# first; each pair is counted once, and the picture itself is one of the k. Asymmetric in the paper (student's query, teacher's
# gallery).


FLOOR = 0.1  # of what a difference's error is relative to


def norm(x: Tensor) -> Tensor:
    """Any shape -> scalar, the Euclidean norm of all entries, with an epsilon so that the gradient at zero is finite."""
    return x.pow(2).sum().clamp(min=1e-12).sqrt()


def d3still_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 10,
    alpha: float = 50.0,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar; of the order of 1 / sqrt(B), as its weights were chosen at 256.

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, "d3still")
    size = context.held.shape[1]
    first, second = torch.triu_indices(size, size, offset=1, device=student.device)
    held = context.held[:, first] & context.held[:, second]  # (B, pairs)
    found = context.student[:, first] - context.student[:, second]
    wanted = context.teacher[:, first] - context.teacher[:, second]
    errors = (found - wanted) / (FLOOR + wanted.abs()) * held
    hard = found * wanted < 0
    regression = norm(context.student[:, 0] - context.teacher[:, 0])
    return (alpha * regression + beta * norm(errors * hard) + gamma * norm(errors * ~hard)) / len(student)


# Rank order preservation (Wu et al., A General Rank Preserving Framework for Asymmetric Image Retrieval, ICLR 2023): of every
# two among a picture's k nearest, the student should put first the one that the teacher puts first.
#
# The Heaviside step of "l lies before j" is a sigmoid of the difference of similarities, nearly a step for the teacher
# (tau 1e-6), soft for the student (tau 0.1), compared by their squares and weighted by the softmax of 0.2 times the teacher's
# similarity and by the position (methods.md 6). Reconstruction, since that text leaves it open: the position's weight is the
# discount 1 / log2(1 + rank) of DCG, the product of the two weights is brought to a sum of 1 a row, and the squares are
# averaged over l. With two temperatures the loss is not zero at the teacher's own vectors. Asymmetric in the paper (student's
# query, teacher's gallery).


def weights_of(context: Context, sharpness: float) -> Tensor:
    """(B, k) of sum 1 a row, 0 where nothing is held: softmax of `sharpness` times the similarity, times 1 / log2(1 + rank)."""
    rank = torch.arange(1, context.teacher.shape[1] + 1, device=context.teacher.device)
    shares = (sharpness * context.teacher).masked_fill(~context.held, -1e4).softmax(1) * context.held
    weights = shares / torch.log2(1.0 + rank)
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-12)


def rop_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    k: int = 96,
    teacher_tau: float = 1e-6,
    student_tau: float = 0.1,
    sharpness: float = 0.2,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar in [0, 1]: the mean over rows of the weighted squares.

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once. Raises Refused as `context_of` does.
    """
    context = context_of(student, teacher, pictures, k, "rop")

    def before(similarity: Tensor, tau: float) -> Tensor:
        """(B, k) -> (B, k, k): how far the last axis lies before the one in the middle."""
        return ((similarity[:, None] - similarity[:, :, None]) / tau).sigmoid()

    squares = (before(context.student, student_tau) - before(context.teacher, teacher_tau)).pow(2)
    pairs = context.held[:, None] & context.held[:, :, None]
    pairs = pairs & ~torch.eye(pairs.shape[1], dtype=torch.bool, device=pairs.device)
    errors = (squares * pairs).sum(2) / pairs.sum(2).clamp(min=1)  # (B, k)
    return (weights_of(context, sharpness) * errors).sum(1).mean()


# Absolute and relational distillation across resolutions (RAML: Suma and Tolias, Large-to-small Image Resolution Asymmetry in
# Deep Metric Learning, WACV 2023): the vector itself, its similarities to the teacher's vectors, and those among the student's.
#
# The weights are those of methods.md 6, absolute 1, `between` the spaces 0.7482, `within` the student's 0.6778; the text notes
# that the published library weighs both by the first. Reconstruction: the means run over all B x B entries, diagonals included.


def raml_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    between: float = 0.7482,
    within: float = 0.6778,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar: the mean of (1 - cosine)^2 of each picture's two vectors, plus
    `between` and `within` times the mean squared errors of student-teacher and student-student cosines.

    `pictures` changes nothing: a copy is to be as similar as the teacher finds it, and spoils no other pair. Raises
    Refused when the dimensions differ.
    """
    student, teacher = aligned(student, teacher, "raml")
    wanted = teacher @ teacher.T
    absolute = (1 - (student * teacher).sum(1)).pow(2).mean()
    across = (student @ teacher.T - wanted).pow(2).mean()
    inside = (student @ student.T - wanted).pow(2).mean()
    return absolute + between * across + within * inside
