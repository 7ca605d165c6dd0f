"""PCA whitening of a teacher's features, so that the cosines of several teachers can be compared (Whiten-MTD, AAAI 2024).

Method of methods.md 4.1: features at unit length, minus their mean, onto the leading axes of their covariance, each axis
divided by its standard deviation (full whitening, exponent 0.5), eigenvalues under `floor` x the largest raised to that.
The similarities of one teacher then spread about zero like those of any other; without it the teacher with the widest
cosines decides every maximum and minimum in train/fusion.py. Where we differ: the eigen-decomposition is in float64, and a
row of zeros, a picture that the teacher was not asked about, is left out of the fit and stays a row of zeros.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit

LEAST = 1e-10  # of the largest eigenvalue; float32 features that are all alike stay under 1e-13


@dataclass(frozen=True, eq=False)
class Whitening:
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
                f"the whitening is for features of {len(self.mean)} numbers, not of the shape {tuple(features.shape)}; "
                "fit one on this teacher's features"
            )
        mean, projection = self.mean.to(features.device), self.projection.to(features.device)
        with torch.autocast(features.device.type, enabled=False):  # weak axes are stretched, and so is half's rounding
            white = (unit(features) - mean) @ projection
        return white.masked_fill(~features.any(1, keepdim=True), 0.0)


def fit_whitening(features: Tensor, dim: int = 512, floor: float = 1e-5) -> Whitening:
    """features (N, E) of any length -> onto the min(dim, E) leading axes; over all N, 1 / N in the covariance.

    Fewer features than axes work, thanks to the floor: the axes that they do not span are divided by the floor's
    deviation, not by zero. On such axes the fitted features have no spread, while new ones are stretched up to
    floor ** -0.5 times as much as along the first axis: noise. Methods.md 4.1 fits 10 000 features.
    Refused when a feature is not finite, when all are alike, or when `dim` or `floor` makes no sense.
    """
    if features.ndim != 2:
        raise Refused(f"whitening is fitted on (pictures, numbers), not on the shape {tuple(features.shape)}")
    if dim < 1 or not 0 < floor < 1:
        raise Refused(f"whitening takes a dim of 1 or more and a floor between 0 and 1, not {dim} and {floor:g}")
    if not torch.isfinite(features).all():
        raise Refused("some of the teacher's features are not finite; look at its weights, or ask it in float32")
    asked = unit(features[features.any(1)]).double()
    if not len(asked):
        raise Refused("whitening needs the teacher's features and was given none; ask the teacher about some pictures")
    mean = asked.mean(0)
    centred = asked - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(asked))  # rising
    most = float(values[-1])
    if most < LEAST:
        raise Refused("the teacher's features are all alike; fit the whitening on different pictures")
    values, axes = values.flip(0)[:dim].clamp(min=floor * most), axes.flip(1)[:, :dim]
    return Whitening(mean.float(), (axes / values.sqrt()).float(), len(asked))


def whitening_path(teacher: Path) -> Path:
    """Where the whitening of the teacher (its checkpoint or its answers) is kept: best.pt -> best.whitening.npz."""
    return teacher.with_suffix(".whitening.npz")


def save_whitening(whitening: Whitening, path: Path, fingerprint: str) -> None:
    """Write it whole or not at all; `fingerprint` names the features that it was fitted on."""
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        mean=whitening.mean.cpu().numpy(),
        projection=whitening.projection.cpu().numpy(),
        fitted_on=np.int64(whitening.fitted_on),
        fingerprint=np.str_(fingerprint),
    )
    partial.replace(path)


def load_whitening(path: Path, fingerprint: str) -> Whitening:
    """What save_whitening wrote, without pickle. Refused when it is missing, damaged, or of other features."""
    if not path.is_file():
        raise Refused(f"there is no whitening {path}; fit one on the teacher's features")
    try:
        with np.load(path, allow_pickle=False) as kept:
            mean, projection = kept["mean"], kept["projection"]
            fitted_on, fitted_to = int(kept["fitted_on"]), str(kept["fingerprint"])
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise Refused(f"{path} is not a whitening ({error}); delete it and fit it again") from error
    if fitted_to != fingerprint:
        raise Refused(
            f"{path} was fitted on the features {fitted_to!r}, not {fingerprint!r}; delete it and fit it again"
        )
    sound = mean.dtype == projection.dtype == np.float32 and mean.ndim == 1 and projection.ndim == 2
    if not (sound and len(mean) == len(projection) and np.isfinite(mean).all() and np.isfinite(projection).all()):
        raise Refused(f"{path} is not a whitening (its shapes or numbers are wrong); delete it and fit it again")
    return Whitening(torch.from_numpy(mean), torch.from_numpy(projection), fitted_on)
