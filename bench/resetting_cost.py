"""What gradient resetting adds to a training step, and what a step costs before and after shrinking: one run, interleaved.

python bench/resetting_cost.py --threads 1
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from vreid.cli import output
from vreid.models.network import ReidNetwork
from vreid.train.optimise import losses_of
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import recipe_named
from vreid.train.student import Student


def stepping(
    recipe: Recipe, classes: int, bfloat16: bool, teacher: ReidNetwork, keep: float = 1.0
) -> Callable[[], None]:
    """A step of the recipe on random pixels, resetting in force; with `keep` the student has shrunk to that share of its
    inner channels. Memories are filled first."""
    student = Student(recipe, classes, torch.device("cpu"), 0, None, teacher)
    size, count = (recipe.network.height, recipe.network.width), recipe.p * recipe.k
    pixels = torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8)
    truth, same = torch.arange(count) // recipe.k, torch.arange(count)
    compression = student.compression
    if keep < 1 and compression is not None:
        for site in [channels.site for channels in compression.maps]:
            for compactor in site.compactors():
                gone = torch.arange(len(compactor.mask)) >= keep * len(compactor.mask)
                compactor.mask[gone] = 0
                compactor.weight.data[gone if compactor.side == "far" else slice(None)] *= 1e-3
                if compactor.side == "near":
                    compactor.weight.data[:, gone] *= 1e-3
        student.shrink(pixels)
    rules = recipe.capacity.rules if recipe.capacity is not None else None

    def step() -> None:
        student.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            features = student.network(pixels)
            online = {} if student.teacher is None else student.teacher.losses(features, pixels, same)
        loss = torch.stack(list((losses_of(recipe, features, truth, (), same) | online).values())).sum()
        student.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if compression is not None:
            compression.after_backward(recipe.epochs, 1.0)
        student.optimiser.step()

    step()
    if compression is not None and rules is not None:
        for memory in compression.memories.values():
            memory.vectors.normal_()
            memory.count = len(memory.vectors)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cdd_resnet50_small")
    parser.add_argument("--classes", type=int, default=210)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--keep", type=float, default=0.4, help="share of inner channels, rounded up to sixteens")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    recipe = recipe_named(flags.recipe)
    if recipe.capacity is None:
        parser.error("the recipe does not compress")
    teacher = ReidNetwork(replace(recipe.network, classes=flags.classes)).to(memory_format=torch.channels_last).eval()
    without = replace(recipe, capacity=replace(recipe.capacity, rules=None))
    both = replace(without, capacity=replace(without.capacity, both_sides=True, shrink=0.05, multiple=16))
    arms = {
        "without resetting": stepping(without, flags.classes, flags.bfloat16, teacher),
        "with resetting": stepping(recipe, flags.classes, flags.bfloat16, teacher),
        "both sides, before": stepping(both, flags.classes, flags.bfloat16, teacher),
        "both sides, shrunk": stepping(both, flags.classes, flags.bfloat16, teacher, flags.keep),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(flags.rounds):
        for name, step in arms.items():
            began = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - began))
    found = {name: round(statistics.median(took), 1) for name, took in times.items()}
    ratios = {
        "resetting": [b / a for a, b in zip(times["without resetting"], times["with resetting"], strict=True)],
        "shrunk": [b / a for a, b in zip(times["both sides, before"], times["both sides, shrunk"], strict=True)],
    }
    spread = {
        name: [round(value, 3) for value in (statistics.median(each), min(each), max(each))]
        for name, each in ratios.items()
    }
    output.document(
        {
            "ms": found,
            "ratio: median, least, most": spread,
            "machine": platform.machine(),
            **vars(flags),
            "torch": torch.__version__,
        }
    )


if __name__ == "__main__":
    main()
