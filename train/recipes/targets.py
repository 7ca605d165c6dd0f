"""A recipe with another budget: what a user asks for with --target-macs, --target-params or --target-latency."""

from dataclasses import replace
from typing import Literal

from vreid.models.errors import Refused
from vreid.train.recipe import Recipe


def with_target(recipe: Recipe, share: float, of: Literal["macs", "params", "ms"]) -> Recipe:
    """`recipe` compressing to `share` of the uncompressed network's cost. Refused for a recipe without a budget."""
    if recipe.capacity is None or recipe.capacity.budget is None:
        raise Refused("the recipe has no budget to set a target for; choose one of the cdd2 recipes")
    if not 0 < share < 1:
        raise Refused(f"a target is a share between 0 and 1 of the whole network, such as 0.3, not {share:g}")
    budget = replace(recipe.capacity.budget, share=share, of=of)
    return replace(recipe, capacity=replace(recipe.capacity, budget=budget))


def milliseconds(text: str) -> float:
    """'5ms', '5 ms' or '5' -> 5.0; Refused otherwise."""
    number = text.lower().removesuffix("ms").strip()
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise Refused(f"a latency is a number of milliseconds, such as 5ms, not {text!r}")
    return found
