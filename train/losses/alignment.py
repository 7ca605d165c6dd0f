"""A student's vectors beside its teacher's own, not only alike among themselves: the mean of 1 - cosine.

Feature regression (FitNets, Romero et al., ICLR 2015, equation 3) of vectors of unit length, up to the factor of two: what DRD
calls the joint space of teacher and student may be this (losses/interpolation.py). A teacher of fewer axes is taken as one
whose others are 0; one of more has been turned into the student's space before (train/rotation.py).
"""

from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit


def alignment_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """student (B, D), teacher (B, E), any lengths, E at most D -> scalar from 0 to 2; no gradient reaches the teacher."""
    axes = teacher.shape[1]
    if axes > student.shape[1]:
        raise Refused(
            f"a teacher of {axes} axes does not fit beside a student of {student.shape[1]}; turn it by fit_rotation, or "
            "whiten it to fewer axes"
        )
    return (1 - (unit(student)[:, :axes] * unit(teacher.detach())).sum(1)).mean()
