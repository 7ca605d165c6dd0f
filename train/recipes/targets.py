"""A recipe changed as the flags of `vreid train student` say: another budget, compression, several teachers, no labels."""

from dataclasses import replace
from typing import Literal

from vreid.models.errors import Refused
from vreid.train.losses.relations import FUSIONS, UNLABELLED
from vreid.train.losses.table import LOSSES
from vreid.train.recipe import Recipe

WHITE = 16  # axes that a teacher is whitened to, when nobody says: see docs/distillation.md
TAU = 0.2
MOST_MULTIPLE = 1024


def with_target(recipe: Recipe, share: float, of: Literal["macs", "params", "ms"]) -> Recipe:
    """`recipe` compressing to `share` of the uncompressed network's cost. Refused for a recipe without a budget."""
    if recipe.capacity is None or recipe.capacity.budget is None:
        raise Refused("the recipe has no budget to set a target for; choose one of the cdd2 recipes")
    if not 0 < share < 1:
        raise Refused(f"a target is a share between 0 and 1 of the whole network, such as 0.3, not {share:g}")
    budget = replace(recipe.capacity.budget, share=share, of=of)
    return replace(recipe, capacity=replace(recipe.capacity, budget=budget))


def with_multiple(recipe: Recipe, multiple: int) -> Recipe:
    """`recipe` whose kept widths are rounded up to a multiple, as the budget counts them too. Refused where nothing is pruned."""
    if recipe.capacity is None:
        raise Refused(
            "the recipe does not compress, so no width is rounded; leave --multiple out, or add --compress cdd2"
        )
    if not 1 <= multiple <= MOST_MULTIPLE:
        raise Refused(f"--multiple is a number of channels from 1 to {MOST_MULTIPLE}, such as 8, not {multiple}")
    return replace(recipe, capacity=replace(recipe.capacity, multiple=multiple))


def compressing(recipe: Recipe, like: Recipe) -> Recipe:
    """`recipe` with the compression of another, and what that needs: its teacher in online distillation, its optimiser, rates
    and clipping, which a lasso is tuned to, and no average. In a recipe of few epochs its warm-up and its start of resetting are
    earlier, so that there is a training after them. Raises Refused where `like` does not compress."""
    if like.capacity is None:
        raise Refused("that recipe does not compress; choose cdd or cdd2")
    capacity = like.capacity
    if capacity.rules is not None:
        capacity = replace(capacity, start=min(capacity.start, recipe.planned // 3))
    return replace(
        recipe,
        capacity=capacity,
        online=recipe.online or like.online,
        optimiser=like.optimiser,
        lr=like.lr,
        head_lr=like.head_lr,
        weight_decay=like.weight_decay,
        clip=like.clip or recipe.clip,
        warmup=min(like.warmup, recipe.planned / 4),
        flat=min(like.flat, recipe.planned / 2),
        average=0.0,
        swa=0.0,
    )


def with_teachers(
    recipe: Recipe,
    count: int,
    fusion: str | None = None,
    whiten: int | None = None,
    by: str | None = None,
    tau: float | None = None,
    by_camera: bool = False,
) -> Recipe:
    """`recipe` for `count` teachers: of several the similarities are fused, whitened unless the recipe or the caller says
    otherwise; a recipe without distillation gets one. Raises Refused for settings that do not go together."""
    if fusion is not None and fusion not in FUSIONS:
        raise Refused(f"there is no fusion '{fusion}'; choose one of: {', '.join(sorted(FUSIONS))}")
    if by is not None and by not in (*LOSSES, "ranking"):
        raise Refused(f"there is no loss '{by}'; choose one of: {', '.join(sorted((*LOSSES, 'ranking')))}")
    if not count and (by_camera or any(given is not None for given in (fusion, by, whiten, tau))):
        raise Refused(
            "--loss, --fusion, --whiten, --by-camera and --tau say how a teacher is learnt from; give --teacher"
        )
    if fusion is not None and by is not None:
        raise Refused("--loss learns from one teacher as it is, --fusion from all of them; give one of the two")
    cached = recipe.cached
    if fusion is not None or (count > 1 and by is None):
        if cached.by != "fusion":
            cached = replace(cached, by="fusion", whiten=WHITE, tau=TAU)
        cached = replace(cached, fusion=fusion or cached.fusion)
    if by is not None:
        if count > 1:
            raise Refused(f"the loss {by} is for one teacher; give one, or --fusion for several")
        cached = replace(cached, by=by, whiten=0 if cached.by == "fusion" else cached.whiten)
    if whiten is not None:
        if whiten < 0:
            raise Refused(f"--whiten is a number of dimensions, or 0 for none, not {whiten}")
        cached = replace(cached, whiten=whiten)
    if tau is not None:
        if not 0 < tau < float("inf"):
            raise Refused(f"--tau is a temperature above 0, not {tau:g}")
        if not cached.tempered:
            raise Refused(f"the loss {cached.by} has no temperature to set; leave --tau out")
        cached = replace(cached, tau=tau)
    if by_camera:
        cached = replace(cached, by_camera=True)
    distils = count > 1 or by is not None or fusion is not None
    if not distils and not recipe.distil and (by_camera or whiten is not None or tau is not None):
        raise Refused(
            "the recipe does not distil, so --whiten, --by-camera and --tau change nothing; add --loss or --fusion"
        )
    return replace(recipe, cached=cached, distil=recipe.distil or (1.0 if distils else 0.0))


def without_labels(recipe: Recipe) -> Recipe:
    """`recipe` learning only from its teachers. Raises Refused where it needs labels."""
    if recipe.inherit or (recipe.online is not None and recipe.online.logits):
        raise Refused("the recipe learns from its teacher's logits, which are labels; choose another for --unlabelled")
    if recipe.cached.by == "fusion" and recipe.cached.fusion not in UNLABELLED:
        raise Refused(
            f"the fusion '{recipe.cached.fusion}' needs labels; without them choose --fusion {' or '.join(UNLABELLED)}"
        )
    return replace(recipe, labels=False, distil=recipe.distil or 1.0)


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
