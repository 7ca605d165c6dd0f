"""Absolute and relational distillation across resolutions (RAML: Suma and Tolias, Large-to-small Image Resolution Asymmetry in
Deep Metric Learning, WACV 2023): the vector itself, its similarities to the teacher's vectors, and those among the student's.

The weights are those of methods.md 6, absolute 1, `between` the spaces 0.7482, `within` the student's 0.6778; the text notes
that the published library weighs both by the first. Reconstruction: the means run over all B x B entries, diagonals included.
`symmetric` is ours: the last term alone, which is at home in any two spaces.
"""

from torch import Tensor

from vreid.models.network import unit
from vreid.train.losses.fitnet import aligned


def raml_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    between: float = 0.7482,
    within: float = 0.6778,
    symmetric: bool = False,
) -> Tensor:
    """student (B, D), teacher (B, D), any lengths -> scalar: the mean of (1 - cosine)^2 of each picture's two vectors, plus
    `between` and `within` times the mean squared errors of student-teacher and student-student cosines.

    `pictures` changes nothing: a copy is asked to be as similar as the teacher finds it, and spoils no other pair. Raises
    Refused when the dimensions differ and `symmetric` is False.
    """
    if symmetric:
        student, teacher = unit(student), unit(teacher.detach())
        return within * (student @ student.T - teacher @ teacher.T).pow(2).mean()
    student, teacher = aligned(student, teacher, "raml", " or the loss symmetric=True")
    wanted = teacher @ teacher.T
    absolute = (1 - (student * teacher).sum(1)).pow(2).mean()
    across = (student @ teacher.T - wanted).pow(2).mean()
    inside = (student @ student.T - wanted).pow(2).mean()
    return absolute + between * across + within * inside
