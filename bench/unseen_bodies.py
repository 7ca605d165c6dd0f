"""Which way of training carries over to bodies that were never seen? Chosen on bodies held out of roadside's train part.

    python bench/unseen_bodies.py --data ../shared/data/roadside --weights IMAGENET --out runs/bodies
Each arm is MobileNetV2 at 96 pixels from ImageNet, 5 epochs on 18 bodies, scored on the vehicles of 4 others.
"""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vreid.models.network import NetworkConfig
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import read_dataset
from vreid.train.loop import Job, train
from vreid.train.parallel import Place
from vreid.train.recipe import Recipe

BASE = Recipe(
    NetworkConfig("mobilenet_v2", 96, 96, 256, options={"last_stride": 1}),
    epochs=5,
    lr=6e-4,
    warmup=1,
    limit=4,
    validate_every=5,
    imagenet=True,
)
ARMS = {
    "strangers": BASE,
    "look-alikes, 4 together": replace(BASE, together=4),
    "look-alikes, 8 together": replace(BASE, together=8),
    "look-alikes, 4 together, lr halved": replace(BASE, together=4, lr=3e-4),
}


def held_out(folder: Path, count: int = 4, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(training, validation): the vehicles of `count` bodies are set aside."""
    data = read_dataset(folder)
    with (folder / "identities.csv").open(encoding="utf-8") as file:
        body = {row["vehicle"]: row["body"] for row in csv.DictReader(file) if row["split"] == "train"}
    aside = set(np.random.default_rng(seed).permutation(sorted(set(body.values())))[:count].tolist())
    part = tuple(item for item in data.train if body[item.vehicle] in aside)
    kept = tuple(item for item in data.train if body[item.vehicle] not in aside)
    return Dataset("roadside", kept, (), ()), Dataset("bodies", (), part, part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    training, validation = held_out(flags.data)
    place = Place(0, 1, torch.device("cpu"))
    for number, (name, recipe) in enumerate(ARMS.items()):
        out = flags.out / str(number)
        best = train(Job(recipe, [training], [validation], out, place, weights=flags.weights, resume=True))
        print(json.dumps({"arm": name, **best.metrics["validation"]["bodies"]}), flush=True)


if __name__ == "__main__":
    main()
