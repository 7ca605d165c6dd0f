"""How a teacher's features are brought into another space before a student learns from them, and where that is kept.

It is fitted on the teacher's embeddings and lies next to their cache, so that a resumed training goes on in the same space. A
row of zeros, a picture without an embedding, stays a row of zeros.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.models.network import unit
from vreid.train.teacher_cache import DAMAGED


@dataclass(frozen=True, eq=False)
class Projection:
    """mean (E,), projection (E, d), both float32; `fitted_on` is the number of features it was fitted on."""

    mean: Tensor
    projection: Tensor
    fitted_on: int

    def __call__(self, features: Tensor) -> Tensor:
        """(N, E) of any length -> (N, d) float32 on the device of `features`, not of unit length: losses see to that.

        Refused for features of another width.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise Refused(
                f"the projection is for features of {len(self.mean)} numbers, not of the shape {tuple(features.shape)}; "
                "fit one on this teacher's features"
            )
        mean, projection = self.mean.to(features.device), self.projection.to(features.device)
        with torch.autocast(features.device.type, enabled=False):  # weak axes are stretched, and so is half's rounding
            white = (unit(features) - mean) @ projection
        return white.masked_fill(~features.any(1, keepdim=True), 0.0)


def projection_path(teacher: Path) -> Path:
    """Where the projection of the teacher (its checkpoint or its cache) is kept: best.pt -> best.projection.npz."""
    return teacher.with_suffix(".projection.npz")


def save_projection(projection: Projection, path: Path, fingerprint: str) -> None:
    """Write it complete or not at all; `fingerprint` names the features that it was fitted on."""
    with atomic(path) as temporary:
        np.savez(
            temporary,
            mean=projection.mean.cpu().numpy(),
            projection=projection.projection.cpu().numpy(),
            fitted_on=np.int64(projection.fitted_on),
            fingerprint=np.str_(fingerprint),
        )


def load_projection(path: Path, fingerprint: str) -> Projection:
    """What save_projection wrote, without pickle. Refused when it is missing, damaged, or of other features."""
    if not path.is_file():
        raise Refused(f"there is no projection {path}; fit one on the teacher's features")
    try:
        with np.load(path, allow_pickle=False) as kept:
            mean, projection = kept["mean"], kept["projection"]
            fitted_on, fitted_to = int(kept["fitted_on"]), str(kept["fingerprint"])
    except (OSError, *DAMAGED) as error:
        raise Refused(f"{path} is not a projection ({error}); delete it and fit it again") from error
    if fitted_to != fingerprint:
        raise Refused(
            f"{path} was fitted on the features {fitted_to!r}, not {fingerprint!r}; delete it and fit it again"
        )
    sound = mean.dtype == projection.dtype == np.float32 and mean.ndim == 1 and projection.ndim == 2
    if not (sound and len(mean) == len(projection) and np.isfinite(mean).all() and np.isfinite(projection).all()):
        raise Refused(f"{path} is not a projection (its shapes or numbers are wrong); delete it and fit it again")
    return Projection(torch.from_numpy(mean), torch.from_numpy(projection), fitted_on)


def usable(features: Tensor) -> Tensor:
    """features (N, E) of any length, as a projection is fitted on them -> those that are not zero, float64, of unit length.

    Refused when there are none, or one is not finite.
    """
    if features.ndim != 2:
        raise Refused(f"a projection is fitted on (pictures, numbers), not on the shape {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise Refused("some of the teacher's features are not finite; look at its weights, or run it in float32")
    known = unit(features[features.any(1)]).double()
    if not len(known):
        raise Refused("there are no features of the teacher; embed some pictures with it")
    return known


# PCA whitening of a teacher's features, so that the cosines of several teachers can be compared (Whiten-MTD, AAAI 2024).
#
# Method of methods.md 4.1: features at unit length, minus their mean, onto the leading axes of their covariance, each axis
# divided by its standard deviation (full whitening, exponent 0.5), eigenvalues under `floor` x the largest raised to that.
# The similarities of one teacher then spread about zero like those of any other; without it the teacher with the widest
# cosines decides every maximum and minimum of a fusion (losses/relations.py). Where we differ: the eigen-decomposition is in
# float64, and a row of zeros, a picture without an embedding, is left out of the fit and stays a row of zeros.


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
    known = usable(features)
    mean = known.mean(0)
    centred = known - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(known))  # rising
    most = float(values[-1])
    if most < LEAST:
        raise Refused("the teacher's features are all alike; fit the whitening on different pictures")
    values, axes = values.flip(0)[:dim].clamp(min=floor * most), axes.flip(1)[:, :dim]
    return Projection(mean.float(), (axes / values.sqrt()).float(), len(known))


# A teacher's vectors in a student's space, where the student has fewer axes: turned so that as little as can be is lost.
#
# Onto the leading eigenvectors of the second moments, without taking the mean away: of all projections onto `dim` axes that one
# keeps the teacher's inner products best (Eckart and Young, 1936), so no student of `dim` axes could keep more of them. A
# teacher of fewer axes fits into a student as it is (losses/outputs.py).


def fit_rotation(features: Tensor, dim: int) -> Projection:
    """features (N, E) of any length -> onto min(dim, E) orthonormal axes, the strongest first; the mean is 0.

    Refused when a feature is not finite, when there is none, or when `dim` is below 1.
    """
    if dim < 1:
        raise Refused(f"a rotation takes a dim of 1 or more, not {dim}")
    known = usable(features)
    _, axes = torch.linalg.eigh(known.T @ known)  # rising
    return Projection(torch.zeros(known.shape[1]), axes.flip(1)[:, :dim].float().contiguous(), len(known))
