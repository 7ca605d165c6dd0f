"""What a setting of a recipe may be: ranges and names, and what settings must be together."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError

from vreid.models.errors import Refused, shown
from vreid.models.network import NETWORKS, ReidNetwork
from vreid.train.losses.interpolation import FORMS
from vreid.train.losses.relations import FUSIONS
from vreid.train.losses.table import LOSSES
from vreid.train.recipe import Recipe

LOWEST, HIGHEST = 16, 1024  # pixels of a side
MOST = 4096  # vehicles, pictures of a vehicle, dimensions
LONGEST = 100_000  # epochs
LARGEST = 10**9  # of a number that counts pictures, steps or epochs
WIDEST = 8  # times the widths of a network

_ABOVE: Any = Field(gt=0, allow_inf_nan=False)
_FROM: Any = Field(ge=0, allow_inf_nan=False)
_SHARE: Any = Field(ge=0, le=1)
_PART: Any = Field(gt=0, le=1)
_LESS: Any = Field(ge=0, lt=1)
_COUNT: Any = Field(ge=1, le=LARGEST)
_PIXELS: Any = Field(ge=LOWEST, le=HIGHEST)
_SEVERAL: Any = Field(ge=2, le=MOST)
_LENGTH: Any = Field(ge=1, le=LONGEST)

# by the setting's name with the tables that it is in; a switch (true, false) and what has a Literal for a type needs none
RANGES: Mapping[str, Any] = {
    "epochs": _LENGTH,
    "planned": _LENGTH,
    "lr": Field(gt=0, le=10),
    "head_lr": Field(gt=0, le=1000),
    "weight_decay": _SHARE,
    "clip": _FROM,
    "warmup": _FROM,
    "flat": _FROM,
    "p": _SEVERAL,
    "k": _SEVERAL,
    "limit": Field(ge=0, le=LARGEST),
    "classification": _FROM,
    "smoothing": _LESS,
    "margin": _FROM,
    "triplet": _FROM,
    "cameras": _FROM,
    "distil": _FROM,
    "average": _LESS,
    "swa": _LESS,
    "swa_lr": _PART,
    "validate_every": _COUNT,
    "network.height": _PIXELS,
    "network.width": _PIXELS,
    "network.dim": Field(ge=1, le=MOST),
    "augmentation.flip": _SHARE,
    "augmentation.pad": _SHARE,
    "augmentation.zoom": _PART,
    "augmentation.light": Field(ge=0, le=2),
    "augmentation.gray": _SHARE,
    "augmentation.blur": _SHARE,
    "augmentation.noise": _SHARE,
    "augmentation.erase": _SHARE,
    "augmentation.balance": Field(ge=0, le=2),
    "augmentation.defocus": _SHARE,
    "augmentation.jpeg": _SHARE,
    "cached.whiten": Field(ge=0, le=MOST),
    "cached.tau": _ABOVE,
    "cached.mixed": Field(ge=0, le=MOST),
    "cached.alpha": _ABOVE,
    "cached.align": _FROM,
    "online.logits": _FROM,
    "online.blocks": _FROM,
    "online.similarity": _FROM,
    "online.tau": _ABOVE,
    "capacity.strength": _FROM,
    "capacity.start": Field(ge=0, le=LONGEST),
    "capacity.momentum": _LESS,
    "capacity.weight_decay": _SHARE,
    "capacity.most_power": _ABOVE,
    "capacity.threshold": _FROM,
    "capacity.multiple": _COUNT,
    "capacity.shrink": _FROM,
    "capacity.rules.k": _COUNT,
    "capacity.rules.p": _SHARE,
    "capacity.rules.consensus": _PART,
    "capacity.rules.memory": _COUNT,
    "capacity.rules.every": _COUNT,
    "capacity.budget.share": Field(gt=0, lt=1),
    "capacity.budget.start": _SHARE,
    "capacity.budget.until": _SHARE,
    "capacity.budget.every": _COUNT,
    "capacity.budget.cost_power": Field(ge=0, le=10),
    "capacity.budget.survivors": _FROM,
}
NAMES: Mapping[str, Any] = {
    "optimiser": Literal["adamw", "sgd"],
    "mining": Literal["hardest", "cameras"],
    "network.body": Literal[tuple(NETWORKS)],
    "network.pool": Literal["gap", "gem"],
    "cached.by": Literal[(*LOSSES, "ranking", "fusion")],
    "cached.fusion": Literal[tuple(FUSIONS)],
    "cached.form": Literal[tuple(FORMS)],
    "cached.pairs": Literal["all", "original", "mixed"],
}

_WIDTH: Any = Annotated[int, Field(ge=1, le=WIDEST * MOST)]
_WHOLE = f"a whole number from 1 to {WIDEST * MOST}"
# what an option of a body may be (models/resnet.py, models/mobilenet.py), and in words; the body itself says which it has
OPTIONS: Mapping[str, tuple[Any, str]] = {
    "scale": (Annotated[float, Field(gt=0, le=WIDEST, allow_inf_nan=False)], f"a number over 0 and up to {WIDEST}"),
    "last_stride": (Annotated[int, Field(ge=1, le=2)], "1 or 2"),
    "stem": (_WIDTH, _WHOLE),
    "last": (_WIDTH, _WHOLE),
    "outer": (list[_WIDTH], f"a list, for each stage {_WHOLE}"),
    "inner": (list[list[list[_WIDTH]]], f"a list of stages, these of blocks, and these of widths, each {_WHOLE}"),
}


def refuse_unsound(recipe: Recipe) -> None:
    """Raises Refused for settings that are right one by one, but not together."""
    if max(recipe.warmup, recipe.flat) > recipe.planned:
        raise Refused(
            f"warmup {recipe.warmup:g} and flat {recipe.flat:g} are longer than the training of {recipe.planned} epochs; "
            "lower them, or raise epochs"
        )
    shares = [share for share, _ in recipe.sizes]
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares) or shares != sorted(shares):
        raise Refused("sizes is a list of [share of the epochs, side], the shares rising from 0 to 1; correct it")
    if not all(LOWEST <= side <= HIGHEST for _, side in recipe.sizes):
        raise Refused(f"a side in sizes is {LOWEST} to {HIGHEST} pixels; correct it")
    network = recipe.network
    if recipe.sizes and (recipe.sizes[-1][1],) * 2 != (network.height, network.width):
        raise Refused(
            f"sizes ends with {recipe.sizes[-1][1]} pixels, but the network has {network.height}x{network.width}; let it end "
            "with the network's size, or give sizes = []"
        )
    if recipe.swa and recipe.capacity is not None:
        raise Refused("the weights of a network that shrinks have no mean; leave swa out where there is a capacity")
    budget = None if recipe.capacity is None else recipe.capacity.budget
    if budget is not None and budget.start > budget.until:
        raise Refused(f"the budget starts at {budget.start:g} and ends at {budget.until:g}; let start be before until")
    for name, value in network.options.items():
        _refuse_option(name, value)
    try:
        with torch.device("meta"):  # only shapes, no memory
            ReidNetwork(network)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise Refused(f"network.options do not fit {network.body} ({shown(str(error))}); correct them") from error


def _refuse_option(name: str, value: Any) -> None:
    if name not in OPTIONS:  # which the body says
        return
    kind, words = OPTIONS[name]
    text = json.dumps(value, default=str)  # a date becomes a text, which no option is
    try:
        TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise Refused(f"network.options.{name} is {words}, not {shown(text)}; correct it") from error
