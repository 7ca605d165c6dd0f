"""The recipes by name."""

import re

from vreid.models.seam import open_seam
from vreid.train.recipe import Recipe

RECIPES = {
    "teacher_mobilenet": "vreid.train.recipes.bundled:teacher_mobilenet",
    "teacher_resnet101": "vreid.train.recipes.bundled:teacher_resnet101",
    "teacher_resnet50_small": "vreid.train.recipes.bundled:teacher_resnet50_small",
    "teacher_resnet18_small": "vreid.train.recipes.bundled:teacher_resnet18_small",
    "student_s": "vreid.train.recipes.bundled:student_s",
    "student_resnet18_small": "vreid.train.recipes.bundled:student_resnet18_small",
    "whiten_mtd_resnet18_small": "vreid.train.recipes.bundled:whiten_mtd_resnet18_small",
    "drd_resnet18_small": "vreid.train.recipes.bundled:drd_resnet18_small",
    "cdd_resnet101": "vreid.train.recipes.bundled:cdd_resnet101",
    "cdd2_resnet101": "vreid.train.recipes.bundled:cdd2_resnet101",
    "cdd_resnet50_small": "vreid.train.recipes.bundled:cdd_resnet50_small",
    "cdd2_resnet50_small": "vreid.train.recipes.bundled:cdd2_resnet50_small",
    "uncompressed_resnet50_small": "vreid.train.recipes.bundled:uncompressed_resnet50_small",
}


def recipe_named(name: str) -> Recipe:
    """The recipe `name`; Refused lists the names there are."""
    recipe: Recipe = open_seam("recipe", RECIPES, name, "train")()
    return recipe


def about(name: str) -> str:
    """What the recipe is, in a sentence, and whether it needs weights to begin with."""
    make = open_seam("recipe", RECIPES, name, "train")
    paragraph = " ".join((make.__doc__ or "").partition("\n\n")[0].split())
    sentence = re.sub(r" \((?:[^()]*; )?methods\.md[^()]*\)", "", re.split(r"(?<=[a-z0-9)])\. ", paragraph)[0]).rstrip(
        "."
    )
    return f"{sentence}; needs --weights" if make().imagenet else sentence
