"""`vreid train --start`: a training that begins as a whole checkpoint, with its network in the place of the recipe's."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vreid.models.bundled import is_checkpoint
from vreid.models.errors import Refused

if TYPE_CHECKING:
    from vreid.train.job import Start
    from vreid.train.recipe import Recipe


def started(recipe: "Recipe", word: str, dim: int | None) -> "tuple[Recipe, Start]":
    """The recipe for the network of the checkpoint `word`, and what the training begins as. `dim` is what --dim says.

    Raises Refused for what is no checkpoint that can be learnt from, and for a recipe that begins as something else.
    """
    from vreid.models.checkpoint import load_checkpoint, network_from
    from vreid.models.pretrained import refuse_not_finite
    from vreid.train.job import Start

    if not is_checkpoint(word):
        raise Refused(
            f"--start takes a checkpoint (.pt or .pth) of vreid train, not {word}; weights of a body alone are for --weights"
        )
    if recipe.inherit:
        raise Refused(
            "the recipe begins as its teacher (inherit), so it takes no --start; leave it out, or choose a recipe that does not"
        )
    checkpoint = load_checkpoint(word)
    refuse_not_finite(checkpoint.weights, word)
    network = network_from(checkpoint, classifier=True)
    config = replace(checkpoint.config, classes=0)
    if dim not in (None, config.dim):
        raise Refused(f"--dim {dim} does not fit {word}, whose embedding has {config.dim}; leave one of the two out")
    side = recipe.sizes[-1][1] if recipe.sizes else 0
    sizes = recipe.sizes if (side, side) == (config.height, config.width) else ()
    start = Start(network, vehicles_of(checkpoint.metrics), checkpoint.trained)
    return replace(recipe, network=config, sizes=sizes, imagenet=False), start


def vehicles_of(metrics: dict[str, Any]) -> str:
    """The digest of the vehicles that a checkpoint's classifier numbers; "" where it does not tell."""
    from vreid.train.job import EARLIER

    return str(metrics.get("classes", EARLIER if "vehicles" in metrics else ""))
