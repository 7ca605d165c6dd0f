"""What a student is to be compressed to: the target that the flags of `vreid train student` name."""

from dataclasses import dataclass
from pathlib import Path

from vreid.cli import output
from vreid.models.errors import Refused
from vreid.train.costs import Costs, read_costs, write_costs
from vreid.train.recipe import Recipe
from vreid.train.recipes.targets import milliseconds, with_target


@dataclass(frozen=True)
class Target:
    """At most one of: a share of the MACs, a share of the parameters, a latency such as 5ms on `engine`."""

    macs: float | None
    params: float | None
    latency: str | None
    engine: str


def targeted(recipe: Recipe, target: Target, kept: Path, resume: bool) -> tuple[Recipe, Costs | None]:
    """The recipe with that target, and the costs measured where it is a latency; they are kept in the file `kept`, so
    that a resumed training goes on with the same ones."""
    given = [name for name in ("macs", "params", "latency") if getattr(target, name) is not None]
    if len(given) > 1:
        raise Refused(f"give one target, not --target-{given[0]} and --target-{given[1]}")
    if target.macs is not None:
        return with_target(recipe, target.macs, "macs"), None
    if target.params is not None:
        return with_target(recipe, target.params, "params"), None
    if target.latency is None:
        return recipe, None
    wanted = milliseconds(target.latency)
    with_target(recipe, 0.5, "ms")  # refused now for a recipe without a budget, not after the measurement
    costs = read_costs(kept) if resume and kept.exists() else _measured(recipe, target.engine)
    if wanted >= costs.whole():
        raise Refused(
            f"the uncompressed network takes {costs.whole():.2f} ms here already; give a --target-latency under that"
        )
    output.console.print(
        f"uncompressed {costs.whole():.2f} ms on {target.engine}, of which {wanted / costs.whole():.0%} are to be left"
    )
    write_costs(costs, kept)
    return with_target(recipe, wanted / costs.whole(), "ms"), costs


def _measured(recipe: Recipe, engine: str) -> Costs:
    """What a channel of the recipe's network costs on the engine, with one thread."""
    from vreid.deploy.latency import latency_costs
    from vreid.models.compactor import insert
    from vreid.models.network import ReidNetwork

    network = ReidNetwork(recipe.network).eval()
    sites = insert(network, recipe.capacity is not None and recipe.capacity.both_sides)
    with output.progress() as bar:
        task = bar.add_task(f"latency on {engine}", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        multiple = 1 if recipe.capacity is None else recipe.capacity.multiple
        return latency_costs(network, sites, engine, multiple=multiple, told=told)
