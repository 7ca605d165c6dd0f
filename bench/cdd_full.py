"""The confirmation at full width: ResNet-50 at 64 pixels on the whole train part of roadside, nothing chosen on anything.

    python bench/cdd_full.py --data ../shared/data/roadside --out runs/cdd-full --device cuda

A teacher of the table's recipe at full width, the uncompressed student and CDD2 at the table's share of the MACs, one seed.
Resumed wherever it was cut off; prints what it scores on the test part and writes bench/results/cdd_full.json.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from cdd_arms import SAME, two_sided
from cdd_table import file_of, folder_of, row_of, scored, teacher_in, trained
from rows import RESULTS, write_rows

from vreid.models.cost import cost_of, total_of
from vreid.models.network import ReidNetwork
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset
from vreid.train.devices import join_processes
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import teacher_resnet50_small, uncompressed_resnet50_small

ROWS = RESULTS / "cdd_full.json"


def full(recipe: Recipe) -> Recipe:
    """The recipe at full width, in the same number of steps: twice the pictures, half the epochs."""
    network = replace(recipe.network, options={**recipe.network.options, "scale": 1.0})
    return replace(recipe, network=network, epochs=recipe.epochs // 2, validate_every=recipe.epochs)


ARMS = {"full: uncompressed": uncompressed_resnet50_small, "full: cdd2": lambda: two_sided(SAME)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="on a CPU that can")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    data = read_dataset(flags.data)
    parts = (replace(data, query=(), gallery=()), Dataset(data.name, (), (), ()))
    trained(
        flags.out / "teacher",
        {"arm": "full: teacher", "seed": 0},
        full(teacher_resnet50_small()),
        parts,
        flags,
        None,
        None,
    )
    scored(flags.out / "teacher", flags)
    teacher = teacher_in(flags.out, join_processes(0, 1, 0, flags.device).device)
    for name in flags.arms:
        folder = folder_of(flags.out, name.replace(": ", "-"), 0)
        trained(folder, {"arm": name, "seed": 0}, full(ARMS[name]()), parts, flags, teacher, teacher)
        scored(folder, flags)
    heavy = total_of(cost_of(ReidNetwork(full(teacher_resnet50_small()).network)))
    folders = [flags.out / "teacher", *(folder_of(flags.out, name.replace(": ", "-"), 0) for name in ARMS)]
    done = [folder for folder in folders if file_of(folder, ".score.json").exists()]
    rows = [row_of(folder, (heavy.params, heavy.macs))[0] for folder in done]
    write_rows(ROWS, rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
