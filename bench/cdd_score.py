"""The compression table's figures: every finished arm and seed scored on roadside's test part, all latencies in one run.

python bench/cdd_score.py --data ../shared/data/roadside --out runs/cdd

Writes bench/results/cdd.json (one row an arm and seed) and prints the table of docs/results.md.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cdd_table import ALL, beside, finished, folder_of

from vreid.cli import output
from vreid.deploy.latency import latencies
from vreid.models.checkpoint import load_checkpoint, network_from
from vreid.models.cost import cost_of, total_of
from vreid.models.network import ReidNetwork
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import read_dataset
from vreid.train.evaluate import evaluate
from vreid.train.recipes.teachers import teacher_resnet50_small
from vreid.train.reference import embed_with

RESULTS = Path(__file__).with_name("results") / "cdd.json"


def row_of(folder: Path, data: Dataset, whole: tuple[int, int]) -> tuple[dict[str, Any], ReidNetwork]:
    """One finished training's row, without its latency, and its network."""
    about = json.loads(beside(folder, ".json").read_text(encoding="utf-8"))
    checkpoint = load_checkpoint(folder / "best.pt")
    network = network_from(checkpoint).eval()
    cost = total_of(cost_of(network))
    score = evaluate(data, embed_with(network))
    seconds = [float(line.split()[1]) for line in beside(folder, ".cpu").read_text(encoding="utf-8").splitlines()]
    row = {
        "arm": about["arm"],
        "seed": about["seed"],
        "params_saved": round(100 * (1 - cost.params / whole[0]), 2),
        "macs_saved": round(100 * (1 - cost.macs / whole[1]), 2),
        "map": round(score.map, 2),
        "rank1": round(score.rank1, 2),
        "hours": round(sum(seconds) / 3600, 2),
        "epochs": checkpoint.metrics["epoch"],
        "validation_map": next(iter(checkpoint.metrics["validation"].values()))["map"],
        "commit": about["commit"],
    }
    return row, network


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: the mean over the seeds of every arm, with half the range behind ±."""
    lines = [
        "| arm | seeds | params saved % | MACs saved % | mAP | Rank-1 | latency ms | core-hours | epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        cells = [arm, str(len(mine))]
        for name in ("params_saved", "macs_saved", "map", "rank1", "latency_ms", "hours"):
            values = [row[name] for row in mine]
            cells.append(f"{statistics.mean(values):.2f} ± {(max(values) - min(values)) / 2:.2f}")
        lines.append("| " + " | ".join([*cells, str(mine[0]["epochs"])]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=100, help="turns that each network has at being timed")
    parser.add_argument("--json", action="store_true", help="print the rows instead of the table")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    data = read_dataset(flags.data)
    heavy = total_of(cost_of(ReidNetwork(teacher_resnet50_small().network)))
    rows, networks = [], []
    for arm, about in ALL.items():
        for seed in flags.seeds:
            folder = folder_of(flags.out, arm, seed)
            if finished(folder, about.recipe().epochs):
                row, network = row_of(folder, data, (heavy.params, heavy.macs))
                rows.append(row)
                networks.append(network)
                output.console.print(f"{folder.name}: {row['map']} mAP, {row['macs_saved']} % of the MACs saved")
    with output.progress() as bar:
        task = bar.add_task("latency", total=None)
        timed = latencies(
            networks, rounds=flags.rounds, told=lambda done, total: bar.update(task, completed=done, total=total)
        )
    for row, timing in zip(rows, timed, strict=True):
        row["latency_ms"], row["latency_p90_ms"] = round(timing.p50_ms, 3), round(timing.p90_ms, 3)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
    if flags.json:
        output.document(rows)
    else:
        print(table_of(rows))


if __name__ == "__main__":
    main()
