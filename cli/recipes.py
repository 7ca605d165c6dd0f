"""`vreid recipes`: the bundled recipes of `vreid train`, or one recipe with all its settings as TOML."""

import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.models.errors import Refused

if TYPE_CHECKING:
    from vreid.train.recipe import Recipe


@dataclass(frozen=True)
class Args:
    """List the recipes, or print one as TOML: change it, and give it to `vreid train teacher` or `student` by --recipe FILE."""

    recipe: Annotated[str | None, tyro.conf.Positional] = None
    """Name of a recipe, a TOML file, or a checkpoint .pt for the recipe that it was trained with."""
    json: bool = False
    """Print one JSON document instead."""


def main(args: Args) -> int:
    from vreid.train.folder import plain
    from vreid.train.recipes.bundled import RECIPES, about
    from vreid.train.recipes.file import toml_of

    if args.recipe is None:
        lines = {name: about(name) for name in RECIPES}
        if args.json:
            output.document({"recipes": lines})
        else:
            width = max(map(len, lines))
            for name, line in lines.items():
                output.result(textwrap.fill(f"{name:<{width}}  {line}", 110, subsequent_indent=" " * (width + 2)))
        return 0
    recipe = _recipe(args.recipe)
    if args.json:
        output.document({"recipe": plain(recipe)})
    else:
        sys.stdout.write(toml_of(recipe))
    return 0


def _recipe(word: str) -> "Recipe":
    from vreid.models.checkpoint import load_checkpoint
    from vreid.models.zoo import is_checkpoint
    from vreid.train.recipes.file import recipe_from_fields, recipe_of

    if not is_checkpoint(word):
        return recipe_of(word)
    fields = load_checkpoint(word).metrics.get("recipe")
    if not isinstance(fields, dict):
        raise Refused(f"{word} does not name the recipe that it was trained with; give the name of one")
    return recipe_from_fields(fields, word)
