"""What a batch is judged by: the weighted terms of a recipe."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.head import Features
from vreid.train.answers import answers_loss
from vreid.train.losses.classification import classification_loss
from vreid.train.losses.triplet import triplet_loss
from vreid.train.recipe import Recipe


def losses_of(
    recipe: Recipe,
    features: Features,
    truth: Tensor,
    told: Sequence[Tensor] = (),
    pictures: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of a batch, by name; truth (B,) identities, told K x (B, E_k) what each teacher says of it.

    A row of zeros in `told` is a picture that the teacher was not asked about; `pictures` (B,) tells equal ones; what is
    drawn by chance is drawn from `generator`. A recipe without labels never looks at `truth`.
    To be called outside of autocast: distances between half-precision products are noise.
    """
    parts: dict[str, Tensor] = {}
    if recipe.labels:
        if features.logits is None:
            raise Refused("a network is trained with a classifier; give it classes")
        if recipe.classification:
            loss = classification_loss(features.logits.float(), truth, recipe.smoothing)
            parts["classification"] = recipe.classification * loss
        if recipe.triplet:
            parts["triplet"] = recipe.triplet * triplet_loss(features.pooled.float(), truth, recipe.margin)
    if told and recipe.distil:
        known = truth if recipe.labels else None
        asked = answers_loss(recipe.answers, features.embedding, told, known, pictures, generator)
        if asked is not None:
            parts["distil"] = recipe.distil * asked
    if not parts:  # every picture of the batch unknown to the teacher, and no labels: nothing to learn from it
        parts["distil"] = 0.0 * features.embedding.float().sum()
    return parts
