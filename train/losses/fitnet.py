"""Feature regression (FitNets: Hints for Thin Deep Nets, Romero et al., ICLR 2015, section 2.2, equation 3).

As the comparisons of retrieval networks use it (methods.md 6): on the retrieval embedding at unit length instead of a middle
layer, so there is no regressor, and the mean of the squares instead of half their sum. At unit length that is
2 (1 - cosine) / D, small for a long embedding; `over_axes=False` takes the sum over the axes, as the paper does.
"""

from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit

WEIGHT = 2.0


def aligned(student: Tensor, teacher: Tensor, method: str, fix: str = "") -> tuple[Tensor, Tensor]:
    """student (B, D), teacher (B, E) -> both at unit length, the teacher without gradient.

    Raises Refused when D is not E, for a method that compares vectors of one space with vectors of the other; `fix` ends
    the sentence with the method's own way out.
    """
    ours, theirs = student.shape[1], teacher.shape[1]
    if ours != theirs:
        raise Refused(
            f"{method} compares the student's embedding with the teacher's axis by axis, but they have {ours} and {theirs} "
            f"axes; give the student's network the dim {theirs}{fix}"
        )
    return unit(student), unit(teacher.detach())


def fitnet_loss(
    student: Tensor, teacher: Tensor, pictures: Tensor | None = None, weight: float = WEIGHT, over_axes: bool = True
) -> Tensor:
    """student, teacher (B, D), any lengths -> scalar: `weight` times the mean over pictures (and axes) of the squares.

    `pictures` changes nothing: no pair is looked at. Raises Refused when the dimensions differ.
    """
    ours, theirs = aligned(student, teacher, "fitnet")
    squares = (ours - theirs).pow(2)  # (B, D)
    return weight * (squares.mean() if over_axes else squares.sum(1).mean())
