"""What a batch is judged by: the weighted terms of a recipe, and what the teacher says of the same pixels."""

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.head import Features
from vreid.models.network import ReidNetwork
from vreid.train.losses.classification import classification_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.losses.triplet import triplet_loss
from vreid.train.recipe import Recipe


def losses_of(recipe: Recipe, features: Features, truth: Tensor, target: Tensor | None) -> dict[str, Tensor]:
    """The weighted terms of a batch, by name; truth (B,) identities, target (B, E) the teacher's embedding or None.

    To be called outside of autocast: distances between half-precision products are noise.
    """
    if features.logits is None:
        raise Refused("a network is trained with a classifier; give it classes")
    parts = {"classification": classification_loss(features.logits.float(), truth, recipe.smoothing)}
    if recipe.triplet:
        parts["triplet"] = recipe.triplet * triplet_loss(features.pooled.float(), truth, recipe.margin)
    if target is not None and recipe.distil:
        parts["distil"] = recipe.distil * similarity_loss(features.embedding, target, recipe.tau)
    return parts


def target_of(teacher: ReidNetwork | None, pixels: Tensor) -> Tensor | None:
    """(B, H, W, 3) uint8 -> the teacher's embedding (B, E) of the batch at its own input size; None without a teacher."""
    if teacher is None:
        return None
    with torch.no_grad():
        return teacher(_at_size_of(teacher, pixels)).embedding  # type: ignore[no-any-return]


def _at_size_of(teacher: ReidNetwork, pixels: Tensor) -> Tensor:
    size = (teacher.config.height, teacher.config.width)
    if tuple(pixels.shape[1:3]) == size:
        return pixels
    grown = nn.functional.interpolate(pixels.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return grown.permute(0, 2, 3, 1)
