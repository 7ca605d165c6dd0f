"""The seam of the distillation losses: what each is given, and which ones there are."""

from typing import Any, Protocol

from torch import Tensor

from vreid.models.seam import open_seam

LOSSES = {
    "similarity": "vreid.train.losses.relations:similarity_loss",
    "fitnet": "vreid.train.losses.outputs:fitnet_loss",
    "rkd": "vreid.train.losses.relations:rkd_loss",
    "pkt": "vreid.train.losses.relations:pkt_loss",
    "correlation": "vreid.train.losses.relations:correlation_loss",
    "csd": "vreid.train.losses.rankings:csd_loss",
    "rop": "vreid.train.losses.rankings:rop_loss",
    "raml": "vreid.train.losses.rankings:raml_loss",
    "d3still": "vreid.train.losses.rankings:d3still_loss",
}


class DistillationLoss(Protocol):
    """How far the embeddings of a batch are from the teacher's; no gradient reaches the teacher."""

    def __call__(
        self, student: Tensor, teacher: Tensor, /, *, pictures: Tensor | None = None, **options: Any
    ) -> Tensor:
        """student (B, D), teacher (B, E), any lengths -> scalar, the method's published weights included.

        `pictures` (B,) numbers the pictures, where a batch may hold one more than once; give it by its name. `options` are
        the method's own. Raises Refused when D is not E and the method compares the two spaces directly.
        """


def loss_named(name: str) -> DistillationLoss:
    """The distillation loss `name`; Refused lists the names there are."""
    loss: DistillationLoss = open_seam("distillation loss", LOSSES, name, "train")
    return loss
