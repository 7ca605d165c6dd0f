"""A fixed part of roadside's train part: 210 vehicles to learn from, and the vehicles of 5 other bodies to choose on.

Unseen bodies are what the test part is about, so a choice is made on bodies that no training of the table has seen. The
list that the table uses lies in this folder; it is made by

    python bench/roadside_subset.py --data ../shared/data/roadside --seed 0
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset

LIST = Path(__file__).with_name("roadside_subset.csv")
VEHICLES, HELD_BODIES = 210, 5


def parts_of(bodies: dict[str, str], seed: int) -> dict[str, str]:
    """{training vehicle: its body} -> {vehicle: train or validation}; the rest of the vehicles are left out."""
    random = np.random.default_rng(seed)
    held = set(random.permutation(sorted(set(bodies.values())))[:HELD_BODIES].tolist())
    others = random.permutation(sorted(vehicle for vehicle, body in bodies.items() if body not in held)).tolist()
    learnt = set(others[:VEHICLES])
    named = {vehicle: "validation" if body in held else "train" for vehicle, body in bodies.items()}
    return {vehicle: part for vehicle, part in sorted(named.items()) if part == "validation" or vehicle in learnt}


def subset_of(dataset: Dataset, parts: dict[str, str]) -> tuple[Dataset, Dataset]:
    """(training, validation): the pictures of the listed vehicles; every validation picture is a query."""
    learnt = tuple(item for item in dataset.train if parts.get(item.vehicle) == "train")
    chosen = tuple(item for item in dataset.train if parts.get(item.vehicle) == "validation")
    if {item.vehicle for item in (*learnt, *chosen)} != set(parts):
        raise Refused(f"{dataset.name} has not the vehicles of {LIST.name}; give the roadside set")
    return replace(dataset, train=learnt, query=(), gallery=()), Dataset(dataset.name, (), chosen, chosen)


def listed() -> dict[str, str]:
    """The list in this folder."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return {row["vehicle"]: row["part"] for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with (flags.data / "identities.csv").open(encoding="utf-8", newline="") as file:
        bodies = {row["vehicle"]: row["body"] for row in csv.DictReader(file) if row["split"] == "train"}
    parts = parts_of(bodies, flags.seed)
    with LIST.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("vehicle", "part"))
        rows.writerows(parts.items())
    learnt, chosen = subset_of(read_dataset(flags.data), parts)
    print(f"{VEHICLES} vehicles, {len(learnt.train)} pictures to learn from; {len(chosen.query)} to choose on")


if __name__ == "__main__":
    main()
