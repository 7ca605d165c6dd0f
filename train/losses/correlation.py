"""Correlation congruence (Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, sections 3.2 and 3.3): the
squared differences between the correlation matrices of teacher and student, mean over the B x B entries.

The correlation is the paper's best: a Gaussian kernel exp(-gamma |x - y|^2), which for unit vectors is
exp(-2 gamma) exp(2 gamma x.y), by its Taylor series up to `order`; gamma 0.4 and order 2 are the paper's. Only relations
inside each space are compared, so dimensions need not agree. The weight 1 is that of methods.md 6, whose library seems to
mean another, asymmetric form under this name (its query networks retrieve from the teacher's gallery); ours is the paper's.
"""

import math

from torch import Tensor

from vreid.models.network import unit

WEIGHT = 1.0


def correlations(features: Tensor, gamma: float, order: int) -> Tensor:
    """features (B, D) of unit length -> (B, B) sum over p up to `order` of exp(-2 gamma) (2 gamma)^p / p! (x.y)^p."""
    cosine = features @ features.T
    total = cosine.new_ones(cosine.shape)
    term = total
    for power in range(1, order + 1):
        term = term * cosine * (2 * gamma / power)
        total = total + term
    return math.exp(-2 * gamma) * total


def correlation_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    weight: float = WEIGHT,
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar.

    `pictures` changes nothing: two copies of a picture are asked to be as alike as the teacher finds them, and spoil no
    other pair.
    """
    ours = correlations(unit(student), gamma, order)
    theirs = correlations(unit(teacher.detach()), gamma, order)
    return weight * (ours - theirs).pow(2).mean()
