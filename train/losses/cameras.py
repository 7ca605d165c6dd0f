"""A loss on what the embeddings of a camera have in common, so that they tell vehicles apart and not cameras.

Between bodies that no training saw, pictures of one camera resemble each other more than pictures of one vehicle do: its view and
light shift them all. The loss is half the squared distance of a camera's mean embedding from the mean over the cameras of its
data set, of which every picture of a batch takes its part: the inner product of its embedding and that difference. A batch has
few pictures of a camera, so the means are running ones, to which no gradient flows. This loss is of no paper; Camera-based Batch
Normalization (Zhuang et al., ECCV 2020) has the same aim, and takes the shift off by a batch norm for each camera.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vreid.models.network import unit

FASTEST, EACH = 0.5, 0.05  # share of a running mean that a batch replaces: at most, and for each picture of the camera


class CameraMeans:
    """Running means of the embeddings of each camera; each process of a training has its own."""

    def __init__(self, sets: Sequence[int], dim: int, device: torch.device) -> None:
        """`sets` has each camera's data set, numbers from 0; `dim` is that of the embeddings."""
        self._sets = one_hot(torch.tensor(sets, device=device)).float()  # (C, S)
        self._means = torch.zeros(len(sets), dim, device=device)
        self._seen = torch.zeros(len(sets), device=device)  # 1 for a camera that has a mean

    def loss(self, embeddings: Tensor, cameras: Tensor) -> Tensor:
        """embeddings (B, D), of any length, and cameras (B,) -> scalar; the batch is taken into the means first."""
        features = unit(embeddings.float())
        with torch.no_grad():
            shift = self._renewed(features, cameras)
        return (features * shift[cameras]).sum(1).mean()

    def _renewed(self, features: Tensor, cameras: Tensor) -> Tensor:
        """(C, D): by how much each camera's mean, with this batch in it, differs from its data set's."""
        belongs = one_hot(cameras, len(self._seen)).float()  # (B, C)
        counts = belongs.sum(0)
        rate = torch.where(self._seen > 0, (EACH * counts).clamp(max=FASTEST), (counts > 0).float())
        own = belongs.T @ features / counts.clamp(min=1)[:, None]
        self._means += rate[:, None] * (own - self._means)
        self._seen = torch.maximum(self._seen, (counts > 0).float())
        known = self._sets * self._seen[:, None]
        centres = known.T @ self._means / known.sum(0).clamp(min=1)[:, None]  # (S, D)
        return self._means - self._sets @ centres

    def state(self) -> dict[str, Tensor]:
        """What a resumed training goes on with."""
        return {"means": self._means, "seen": self._seen}

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._means.copy_(state["means"])
        self._seen.copy_(state["seen"])
