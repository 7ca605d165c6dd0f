"""The compression table: every arm and seed trained, each in a folder of its own, resumed wherever it was cut off.

    python bench/cdd_table.py teacher --data ../shared/data/roadside --out runs/cdd
    python bench/cdd_table.py train score --data ../shared/data/roadside --out runs/cdd    # as many at once as there are cores
    python bench/cdd_score.py --out runs/cdd                                               # then: the table

With --family mobilenet the arms are those of cdd_mobile_arms.py, whose teacher begins with --weights of ImageNet.

One thread each, on one core or with others on one GPU (--device cuda). Several of these at once share the work between them:
who has a folder's lock trains or scores there.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cdd_mobile_arms as mobile
import torch
from cdd_ablations import ABLATIONS
from cdd_arms import ARMS, Arm
from provenance import commit
from roadside_subset import listed, subset_of

from vreid.cli import output
from vreid.models.checkpoint import load_checkpoint, network_from
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork, config_from
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset, read_train_part
from vreid.train.devices import join_processes
from vreid.train.evaluate import embed_with, evaluate
from vreid.train.job import Job, Start
from vreid.train.loop import train
from vreid.train.recipe import Recipe
from vreid.train.recipes.bundled import teacher_resnet50_small
from vreid.train.teacher import Teacher, teacher_of_file


@dataclass(frozen=True)
class Family:
    """Arms of one heavy student: `all` of them, those of the table, the ablations, and what their teacher learns with."""

    teacher: Callable[[], Recipe]
    arms: dict[str, Arm]
    ablations: dict[str, Arm]

    @property
    def all(self) -> dict[str, Arm]:
        """Those of the table and the ablations."""
        return {**self.arms, **self.ablations}


FAMILIES = {
    "resnet50": Family(teacher_resnet50_small, ARMS, ABLATIONS),
    "mobilenet": Family(mobile.teacher, mobile.ARMS, mobile.ABLATIONS),
    "efficientnet": Family(mobile.efficientnet_teacher, {}, {}),
}
FIGURES = ("map", "rank1", "real_map", "real_rank1", "epochs", "validation_map", "wall_hours")  # of a row
COMMIT = commit()  # of the code that is running, whatever is committed meanwhile


def folder_of(root: Path, arm: str, seed: int) -> Path:
    """Where an arm of a seed is trained."""
    return root / f"{arm}-seed{seed}"


def file_of(folder: Path, suffix: str) -> Path:
    """The file of a training that lies next to its folder, whose name may hold dots."""
    return folder.with_name(folder.name + suffix)


def cache_of(root: Path, name: str) -> Path:
    """Where a teacher's embeddings are."""
    return root / "caches" / f"{name}.npz"


def finished(folder: Path, epochs: int) -> bool:
    """Whether the training there has had all its epochs."""
    log = folder / "log.jsonl"
    return (
        log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= epochs and (folder / "last.pt").exists()
    )


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process may train there; the lock goes with the process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_of(folder, ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def teacher_in(root: Path, device: torch.device) -> ReidNetwork:
    """The teacher of all arms."""
    network = network_from(load_checkpoint(root / "teacher" / "best.pt"), classifier=True)
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def refuse_other(root: Path, family: Family) -> None:
    """Raises Refused where another family's teacher lies, whose arms have the same names."""
    checkpoint = root / "teacher" / "best.pt"
    if checkpoint.exists() and replace(load_checkpoint(checkpoint).config, classes=0) != family.teacher().network:
        raise Refused(f"{checkpoint} is of another network than this family's; give another --out")


def device_name(device: str) -> str:
    """What a training runs on, for its row."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def started(
    arm: Arm, root: Path, seed: int, teacher: ReidNetwork, family: Family
) -> tuple[Recipe, ReidNetwork | None] | None:
    """The recipe of an arm and what it begins as; None while the arm that it takes its widths from is not finished."""
    recipe, start = arm.recipe(), None if arm.start is None else arm.start(deepcopy(teacher).cpu())
    config = recipe.network if start is None else start.config
    if arm.widths_of:
        other = folder_of(root, arm.widths_of, seed)
        if not finished(other, family.all[arm.widths_of].recipe().epochs):
            return None
        config = load_checkpoint(other / "best.pt").config
    return replace(recipe, network=replace(config, classes=0)), start


def run(name: str, seed: int, flags: argparse.Namespace, teacher: ReidNetwork | None) -> bool:
    """Train an arm (None: the teacher) to its end; False when that cannot be done now."""
    folder = flags.out / "teacher" if teacher is None else folder_of(flags.out, name, seed)
    family = FAMILIES[flags.family]
    begun = (family.teacher(), None) if teacher is None else started(family.all[name], flags.out, seed, teacher, family)
    if begun is None:
        return False
    recipe, start = replace(begun[0], validate_every=flags.validate_every), begun[1]
    parts = subset_of(read_dataset(flags.data), listed())
    cached = () if teacher is None else family.all[name].cached
    teachers = [teacher_of_file(cache_of(flags.out, one)) for one in cached]
    return trained(folder, {"arm": name, "seed": seed}, recipe, parts, flags, teacher, start, teachers)


def trained(
    folder: Path,
    about: dict[str, Any],
    recipe: Recipe,
    parts: tuple[Dataset, Dataset],
    flags: argparse.Namespace,
    teacher: ReidNetwork | None,
    start: ReidNetwork | None,
    teachers: Sequence[Teacher] = (),
) -> bool:
    """Train in `folder` on parts[0], choosing on parts[1], to the end; False when it is, or another process trains it."""
    if finished(folder, recipe.epochs):
        return False
    with locked(folder) as mine:
        if not mine or finished(folder, recipe.epochs):
            return False
        last = {"cpu": time.process_time()}
        begun = None if start is None else Start(start)

        def say(record: dict[str, Any]) -> None:
            now = time.process_time()
            with file_of(folder, ".cpu").open("a") as file:  # the clock on the wall is that of a shared machine
                file.write(f"{record['epoch']} {now - last['cpu']:.2f}\n")
            last["cpu"] = now
            score = "".join(f"  {part['map']:.2f} mAP" for part in record.get("validation", {}).values())
            size = f"  {record['share']:.3f} of the MACs" if "share" in record else ""
            output.console().print(
                f"{folder.name} {record['epoch']}/{recipe.epochs}{size}{score}  {record['seconds']:.0f} s"
            )

        resume = (folder / "last.pt").exists()
        if not resume:
            about = about | {"commit": COMMIT, "device": device_name(flags.device)}
            file_of(folder, ".json").write_text(json.dumps(about), encoding="utf-8")
        learnt, chosen = parts
        train(
            Job(
                recipe, [learnt], [chosen] if chosen.query else [], folder, join_processes(0, 1, 0, flags.device),
                seed=about["seed"], resume=resume, teacher=teacher, teachers=teachers, start=begun, bfloat16=flags.bfloat16,
                on_epoch=say, weights=flags.weights if recipe.imagenet else None,
            )
        )  # fmt: skip
    return True


def score(name: str, seed: int, flags: argparse.Namespace) -> None:
    """Score an arm on the test part where it is finished; the choices were made on the validation part."""
    folder = folder_of(flags.out, name, seed)
    if finished(folder, FAMILIES[flags.family].all[name].recipe().epochs):
        scored(folder, flags, flags.real)


def scored(folder: Path, flags: argparse.Namespace, real: Path | None = None) -> None:
    """Score what was trained in `folder` on the test part, unless that has been done; and on the pictures of a set of real
    vehicles, of which no training had one, where it is given."""
    scores = file_of(folder, ".score.json")
    with locked(folder) as mine:
        if not mine or scores.exists():
            return
        checkpoint = load_checkpoint(folder / "best.pt")
        network = network_from(checkpoint).eval()
        cost = total_of(cost_of(network))
        embed = embed_with(network.to(join_processes(0, 1, 0, flags.device).device))
        found = evaluate(read_dataset(flags.data), embed)
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        chosen = [part["map"] for part in checkpoint.metrics.get("validation", {}).values()]
        figures = {
            "params": cost.params, "macs": cost.macs, "map": round(found.map, 2), "rank1": round(found.rank1, 2),
            "epochs": log[-1]["epoch"], "wall_hours": round(sum(epoch["seconds"] for epoch in log) / 3600, 4),
            "validation_map": chosen[0] if chosen else None, "network": asdict(replace(checkpoint.config, classes=0)),
        }  # fmt: skip
        if real is not None:
            pictures = read_train_part(real).train
            others = evaluate(Dataset(real.name, (), pictures, pictures), embed)
            figures |= {"real_map": round(others.map, 2), "real_rank1": round(others.rank1, 2)}
        scores.write_text(json.dumps(figures), encoding="utf-8")
        output.console().print(f"{folder.name}: {figures['map']} mAP")


def row_of(folder: Path, whole: tuple[int, int]) -> tuple[dict[str, Any], ReidNetwork]:
    """One finished training's row, without its latency, and a network of its widths: no dense engine minds the weights."""
    about, scored = (
        json.loads(file_of(folder, suffix).read_text(encoding="utf-8")) for suffix in (".json", ".score.json")
    )
    seconds = [float(line.split()[1]) for line in file_of(folder, ".cpu").read_text(encoding="utf-8").splitlines()]
    row = {
        "arm": about["arm"],
        "seed": about["seed"],
        "params_saved": round(100 * (1 - scored["params"] / whole[0]), 2),
        "macs_saved": round(100 * (1 - scored["macs"] / whole[1]), 2),
        **{name: scored[name] for name in FIGURES if name in scored},
        "hours": round(sum(seconds) / 3600, 2),
        "device": about.get("device", "cpu"),
        "commit": about["commit"],
    }
    return row, ReidNetwork(config_from(scored["network"])).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("teacher", "train", "score"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", choices=list(FAMILIES), default="resnet50")
    parser.add_argument("--real", type=Path, help="a set of real vehicles to score on, too")
    parser.add_argument("--weights", help="of the teacher's body, where it begins with ImageNet's")
    parser.add_argument("--arms", nargs="*", metavar="ARM")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--validate-every", type=int, default=5)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True, help="on a CPU that can")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    flags = parser.parse_args()
    family = FAMILIES[flags.family]
    flags.arms = flags.arms or list(family.arms)
    if wrong := sorted({*flags.arms} - {*family.all}):
        parser.error(f"{flags.family} has no arm {wrong[0]}; choose of {', '.join(family.all)}")
    refuse_other(flags.out, family)
    torch.set_num_threads(1)
    if "teacher" in flags.what:
        run("teacher", 0, flags, None)
    if "train" in flags.what:
        for arm in list(flags.arms):
            if missing := [name for name in family.all[arm].cached if not cache_of(flags.out, name).exists()]:
                output.console().print(f"{arm} is left out: {cache_of(flags.out, missing[0])} is not there")
                flags.arms.remove(arm)
        teacher = teacher_in(flags.out, join_processes(0, 1, 0, flags.device).device)
        while any([run(arm, seed, flags, teacher) for seed in flags.seeds for arm in flags.arms]):
            pass  # an arm that waited for another's widths may go now
    if "score" in flags.what:
        for seed in flags.seeds:
            for arm in flags.arms:
                score(arm, seed, flags)


if __name__ == "__main__":
    main()
