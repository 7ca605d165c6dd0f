"""What a batch is judged by: the weighted terms of a recipe."""

from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.head import Features
from vreid.train.losses.classification import classification_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.losses.triplet import triplet_loss
from vreid.train.recipe import Recipe


def losses_of(
    recipe: Recipe, features: Features, truth: Tensor, target: Tensor | None, pictures: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted terms of a batch, by name; truth (B,) identities, target (B, E) the teacher's embedding or None.

    A row of zeros in `target` is a picture that the teacher was not asked about; `pictures` (B,) tells equal ones.
    To be called outside of autocast: distances between half-precision products are noise.
    """
    if features.logits is None:
        raise Refused("a network is trained with a classifier; give it classes")
    parts = {"classification": classification_loss(features.logits.float(), truth, recipe.smoothing)}
    if recipe.triplet:
        parts["triplet"] = recipe.triplet * triplet_loss(features.pooled.float(), truth, recipe.margin)
    if target is not None and recipe.distil:
        asked = target.any(1)
        if int(asked.sum()) > 1:  # by chance a batch may hold no pair that the teacher knows
            same = None if pictures is None else pictures[asked]
            loss = similarity_loss(features.embedding[asked], target[asked], recipe.tau, same)
            parts["distil"] = recipe.distil * loss
    return parts
