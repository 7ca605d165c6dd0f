"""PCA whitening of a teacher's features, so that the cosines of several teachers can be compared (Whiten-MTD, AAAI 2024).

Method of methods.md 4.1: features at unit length, minus their mean, onto the leading axes of their covariance, each axis
divided by its standard deviation (full whitening, exponent 0.5), eigenvalues under `floor` x the largest raised to that.
The similarities of one teacher then spread about zero like those of any other; without it the teacher with the widest
cosines decides every maximum and minimum in train/fusion.py. Where we differ: the eigen-decomposition is in float64, and a
row of zeros, a picture that the teacher was not asked about, is left out of the fit and stays a row of zeros.
"""

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.train.projection import Projection, answered

LEAST = 1e-10  # of the largest eigenvalue; float32 features that are all alike stay under 1e-13


def fit_whitening(features: Tensor, dim: int = 512, floor: float = 1e-5) -> Projection:
    """features (N, E) of any length -> onto the min(dim, E) leading axes; over all N, 1 / N in the covariance.

    Fewer features than axes work, thanks to the floor: the axes that they do not span are divided by the floor's
    deviation, not by zero. On such axes the fitted features have no spread, while new ones are stretched up to
    floor ** -0.5 times as much as along the first axis: noise. Methods.md 4.1 fits 10 000 features.
    Refused when a feature is not finite, when all are alike, or when `dim` or `floor` makes no sense.
    """
    if dim < 1 or not 0 < floor < 1:
        raise Refused(f"whitening takes a dim of 1 or more and a floor between 0 and 1, not {dim} and {floor:g}")
    asked = answered(features)
    mean = asked.mean(0)
    centred = asked - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(asked))  # rising
    most = float(values[-1])
    if most < LEAST:
        raise Refused("the teacher's features are all alike; fit the whitening on different pictures")
    values, axes = values.flip(0)[:dim].clamp(min=floor * most), axes.flip(1)[:, :dim]
    return Projection(mean.float(), (axes / values.sqrt()).float(), len(asked))
