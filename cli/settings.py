"""The flags of `vreid train` that change single settings of a recipe: checked, and put into it."""

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from vreid.models.errors import Refused

if TYPE_CHECKING:
    from vreid.train.recipe import Recipe


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
    from vreid.train.recipes.limits import MOST

    given = {name: value for name, value in asdict(settings).items() if value is not None}
    if "lr" in given and not (math.isfinite(given["lr"]) and 0 < given["lr"] <= 10):
        raise Refused(f"--lr {given['lr']} is not a learning rate; give a number over 0 and up to 10")
    if given.get("optimiser", "sgd") not in ("adamw", "sgd"):
        raise Refused(f"there is no optimiser '{given['optimiser']}'; choose adamw or sgd with --optimiser")
    for name, lowest in (("p", 2), ("k", 2), ("dim", 1)):
        if name in given and not lowest <= given[name] <= MOST:
            raise Refused(f"--{name} {given[name]} is out of range; give {lowest} to {MOST}")
    network = {"dim": given.pop("dim")} if "dim" in given else {}
    if "size" in given:
        network["height"], network["width"] = _size(given.pop("size"))
        given["sizes"] = ()
    return replace(recipe, **given, network=replace(recipe.network, **network))


def _size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of N or HEIGHTxWIDTH."""
    from vreid.train.recipes.limits import HIGHEST, LOWEST

    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(LOWEST <= side <= HIGHEST for side in sides):
        raise Refused(
            f"--size {text} is not a size of an input; give N or HEIGHTxWIDTH in pixels, each {LOWEST} to {HIGHEST}"
        )
    return sides
