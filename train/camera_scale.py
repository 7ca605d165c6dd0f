"""A teacher's features standardised camera by camera, before teachers are whitened and fused.

A network that has not learnt a camera's pictures sees the camera in them: light and sensor move all features of a camera alike,
and pictures of one camera look alike. Each camera's features lose their own mean and are divided by their own deviation, axis
by axis (feature normalisation against camera bias, arXiv 2502.10195, ICLR 2025, where it is done to the network in use). To do
it to a teacher is an addition, and so is the shrinkage for cameras of few pictures: means towards that of all cameras, as far as n
pictures leave it open (B / (B + W / n), B the variance between the cameras' means, W that within cameras: James and Stein's
estimator with its prior from the data), variances towards W, which counts as 16 pictures.
A row of zeros, a picture without an embedding, stays a row of zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.models.network import unit
from vreid.train.projection import LEAST, usable
from vreid.train.teacher_cache import DAMAGED

PRIOR = 16  # pictures that the variance within all cameras counts as in each
FLOOR = 1e-3  # of the widest axis: least deviation


@dataclass(frozen=True, eq=False)
class CameraScale:
    """mean (C, E) and deviation (C, E), float32, of the features of `cameras` at unit length."""

    cameras: tuple[str, ...]
    mean: Tensor
    deviation: Tensor

    def __call__(self, features: Tensor, cameras: Sequence[str]) -> Tensor:
        """features (N, E) of any length, the camera of each -> (N, E) float32. Refused for a camera that was not fitted."""
        places, known = {camera: place for place, camera in enumerate(self.cameras)}, features.any(1)
        there = {camera for camera, row in zip(cameras, known.tolist(), strict=True) if row}
        if unknown := sorted(there - places.keys()):
            raise Refused(
                f"the teacher's features of camera {unknown[0]} were not standardised; start with another --out"
            )
        at = torch.tensor([places.get(camera, 0) for camera in cameras])
        scaled = (unit(features) - self.mean[at]) / self.deviation[at]
        return scaled.masked_fill(~known[:, None], 0.0)


def fit_cameras(features: Tensor, cameras: Sequence[str]) -> CameraScale:
    """features (N, E) of any length and the camera of each -> the statistics of every camera, in float64.

    Refused when a feature is not finite, or there is none.
    """
    known = usable(features)
    there = [camera for camera, row in zip(cameras, features.any(1).tolist(), strict=True) if row]
    names = sorted(set(there))
    own = [known[torch.tensor([camera == name for camera in there])] for name in names]
    counts = torch.tensor([float(len(rows)) for rows in own], dtype=torch.float64)[:, None]  # (C, 1)
    means, variances = (
        torch.stack([rows.mean(0) for rows in own]),
        torch.stack([rows.var(0, correction=0) for rows in own]),
    )
    within = (counts * variances).sum(0) / counts.sum()  # (E,)
    if (most := float(known.var(0, correction=0).max())) < LEAST:
        raise Refused("the teacher's features are all alike; standardise those of different pictures")
    whole = known.mean(0)
    between = ((means - whole).square().mean(0) - (within / counts).mean(0)).clamp(min=0)
    means = whole + between / (between + within / counts).clamp(min=LEAST) * (means - whole)
    variances = (counts * variances + PRIOR * within) / (counts + PRIOR)
    deviation = variances.sqrt().clamp(min=FLOOR * most**0.5)
    return CameraScale(tuple(names), means.float(), deviation.float())


def save_cameras(scale: CameraScale, path: Path, fingerprint: str) -> None:
    """Write it complete or not at all; `fingerprint` names the features that it was fitted on."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            cameras=np.array(scale.cameras, np.str_),
            mean=scale.mean.numpy(),
            deviation=scale.deviation.numpy(),
            fingerprint=np.str_(fingerprint),
        )


def load_cameras(path: Path, fingerprint: str) -> CameraScale:
    """What `save_cameras` wrote, without pickle. Refused when it is damaged, or of other features."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            names, mean, deviation = kept["cameras"], kept["mean"], kept["deviation"]
            fitted_to = str(kept["fingerprint"])
        sound = mean.dtype == deviation.dtype == np.float32 and mean.shape == deviation.shape and mean.ndim == 2
        sound = sound and len(names) == len(mean) and bool(np.isfinite(mean).all() and (deviation > 0).all())
    except (OSError, *DAMAGED) as error:
        raise Refused(
            f"{path} holds no statistics of cameras ({error}); delete it, and they are fitted again"
        ) from error
    if fitted_to != fingerprint:
        raise Refused(f"{path} was fitted on the features {fitted_to!r}, not {fingerprint!r}; delete it")
    if not sound:
        raise Refused(f"{path} holds no statistics of cameras; delete it, and they are fitted again")
    return CameraScale(tuple(str(name) for name in names), torch.from_numpy(mean), torch.from_numpy(deviation))
