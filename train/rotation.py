"""A teacher's vectors in a student's space, where the student has fewer axes: turned so that as little as can be is lost.

Onto the leading eigenvectors of the second moments, without taking the mean away: of all projections onto `dim` axes that one
keeps the teacher's inner products best (Eckart and Young, 1936), so no student of `dim` axes could tell more of them. A
teacher of fewer axes fits into a student as it is (losses/alignment.py).
"""

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.train.projection import Projection, answered


def fit_rotation(features: Tensor, dim: int) -> Projection:
    """features (N, E) of any length -> onto min(dim, E) orthonormal axes, the strongest first; the mean is 0.

    Refused when a feature is not finite, when there is none, or when `dim` is below 1.
    """
    if dim < 1:
        raise Refused(f"a rotation takes a dim of 1 or more, not {dim}")
    asked = answered(features)
    _, axes = torch.linalg.eigh(asked.T @ asked)  # rising
    return Projection(torch.zeros(asked.shape[1]), axes.flip(1)[:, :dim].float().contiguous(), len(asked))
