"""The compression table's figures: what cdd_table.py trained and scored, with all latencies measured in one run.

python bench/cdd_score.py --out runs/cdd

Writes bench/results/cdd.json, or cdd_mobilenet.json with --family mobilenet (one row an arm and seed), and prints the tables of
docs/results/compression.md, the arms' and the ablations'. Measure on a quiet machine.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from cdd_table import FAMILIES, file_of, folder_of, row_of
from rows import RESULTS, table_of, write_rows

from vreid.cli import output
from vreid.deploy.bench import Timing
from vreid.deploy.latency import latencies
from vreid.models.cost import cost_of, total_of
from vreid.models.network import ReidNetwork

FILES = {"resnet50": "cdd.json", "mobilenet": "cdd_mobilenet.json"}
COLUMNS = {
    "params_saved": "params saved %", "macs_saved": "MACs saved %", "validation_map": "validation mAP", "map": "mAP",
    "rank1": "Rank-1", "latency_ms": "latency ms", "hours": "core-hours",
}  # fmt: skip
OF_REAL = {"real_map": "real: mAP", "real_rank1": "real: Rank-1"}  # where they were scored
OF_ABLATIONS = {"macs_saved": "MACs saved %", "validation_map": "validation mAP", "map": "mAP", "rank1": "Rank-1"}


def timings(networks: Sequence[ReidNetwork], rounds: int) -> list[Timing]:
    """The latency of each, all by turns, with a bar."""
    with output.progress() as bar:
        task = bar.add_task("latency", total=None)
        return latencies(
            networks, rounds=rounds, report=lambda done, total: bar.update(task, completed=done, total=total)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", choices=list(FILES), default="resnet50")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=100, help="turns that each network has at being timed")
    parser.add_argument("--json", action="store_true", help="print the rows instead of the table")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    family = FAMILIES[flags.family]
    heavy = total_of(cost_of(ReidNetwork(family.teacher().network)))
    rows, networks = [], []
    for arm in family.all:
        for seed in flags.seeds:
            folder = folder_of(flags.out, arm, seed)
            if file_of(folder, ".score.json").exists():
                row, network = row_of(folder, (heavy.params, heavy.macs))
                rows.append(row)
                networks.append(network)
    # arms and ablations are timed apart: how many networks take turns changes what stays in the processor's caches
    for part in filter(None, (family.arms, family.ablations)):
        mine = [place for place, row in enumerate(rows) if row["arm"] in part]
        timed = timings([networks[place] for place in mine], flags.rounds)
        for place, timing in zip(mine, timed, strict=True):
            rows[place] |= {"latency_ms": round(timing.p50_ms, 3), "latency_p90_ms": round(timing.p90_ms, 3)}
    write_rows(RESULTS / FILES[flags.family], rows)
    if flags.json:
        output.document(rows)
    else:
        table = [row for row in rows if row["arm"] in family.arms]
        real = OF_REAL if all("real_map" in row for row in table) else {}
        print(table_of(table, COLUMNS | real, {"epochs": "epochs"}))
        if family.ablations:
            print()
            print(table_of([row for row in rows if row["arm"] in family.ablations], OF_ABLATIONS, {}))


if __name__ == "__main__":
    main()
