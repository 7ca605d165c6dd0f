"""The flags of `vreid train` that change single settings of a recipe: checked, and put into it."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vreid.models.errors import Refused

if TYPE_CHECKING:
    from vreid.train.recipe import Recipe

LOWEST, HIGHEST = 16, 1024  # pixels of a side
MOST = 4096  # vehicles, pictures of a vehicle, dimensions


@dataclass(frozen=True)
class Settings:
    """Settings of a recipe that have a flag; None keeps the recipe's."""

    lr: float | None = None
    """Learning rate, instead of the recipe's."""
    optimiser: str | None = None
    """adamw or sgd, instead of the recipe's; give a fitting --lr too."""
    p: int | None = None
    """Vehicles in a batch, instead of the recipe's."""
    k: int | None = None
    """Pictures of each vehicle in a batch, instead of the recipe's."""
    size: str | None = None
    """Size of the input in pixels from the first epoch to the last, instead of the recipe's: N, or HEIGHTxWIDTH."""
    dim: int | None = None
    """Dimensions of the embedding, instead of the recipe's."""


def with_settings(recipe: "Recipe", settings: Settings) -> "Recipe":
    """The recipe with the flags that were given. Raises Refused for a value that cannot be trained with."""
    lr, optimiser = settings.lr, settings.optimiser
    if lr is not None:
        if not (math.isfinite(lr) and 0 < lr <= 10):
            raise Refused(f"--lr {lr} is no learning rate; give a number over 0 and up to 10")
        recipe = replace(recipe, lr=lr)
    if optimiser is not None:
        if optimiser not in ("adamw", "sgd"):
            raise Refused(f"there is no optimiser '{optimiser}'; choose adamw or sgd with --optimiser")
        recipe = replace(recipe, optimiser=optimiser)
    for name, lowest in (("p", 2), ("k", 2), ("dim", 1)):
        value = getattr(settings, name)
        if value is not None and not lowest <= value <= MOST:
            raise Refused(f"--{name} {value} is out of range; give {lowest} to {MOST}")
    if settings.p is not None:
        recipe = replace(recipe, p=settings.p)
    if settings.k is not None:
        recipe = replace(recipe, k=settings.k)
    if settings.dim is not None:
        recipe = replace(recipe, network=replace(recipe.network, dim=settings.dim))
    if settings.size is not None:
        height, width = _size(settings.size)
        recipe = replace(recipe, network=replace(recipe.network, height=height, width=width), sizes=())
    return recipe


def _size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of N or HEIGHTxWIDTH."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(LOWEST <= side <= HIGHEST for side in sides):
        raise Refused(
            f"--size {text} is no size of an input; give N or HEIGHTxWIDTH in pixels, each {LOWEST} to {HIGHEST}"
        )
    return sides
