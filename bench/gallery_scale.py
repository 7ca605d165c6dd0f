"""How the gallery's indexes do at 10 thousand, 100 thousand and a million prototypes of 512 numbers.

    python bench/gallery_scale.py --work DIR --sizes 10000 100000 1000000

Each row is measured in a process of its own and written down at once: what was interrupted goes on with the next row, and
--again measures anew. The data are made (see gallery_measure.py): recall on them is of the index, not of the model. Searches
go through Gallery.search, names included. "effects" are FAISS alone with its own settings and with vreid's, by turns.
Prints a Markdown table, writes bench/results/gallery_scale.json. Measure on a quiet machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rows import RESULTS

from vreid.cli import output
from vreid.deploy.device import machine, versions

ROWS = RESULTS / "gallery_scale.json"
KINDS = ("flat", "numpy", "hnsw", "ivf", "ivfpq")
COLUMNS = ("1 p50 ms", "1 p99 ms", "64 p50 ms", "64 p99 ms", "recall@1", "recall@10", "a tenth p50 ms", "RSS MB", "peak MB",
           "built s", "loaded s", "index MB", "remove ms", "caught up per s")  # fmt: skip
EFFECTS = {
    "faiss's own, 1 thread": (True, False, 1), "blas, 1 thread": (True, True, 1),
    "blas and sleeping, 1 thread": (False, True, 1), "faiss's own, 2 threads": (True, False, 2),
    "blas, 2 threads": (True, True, 2), "blas and sleeping, 2 threads": (False, True, 2),
}  # fmt: skip
TURNS = 3


def measured(what: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own says; {"error": ...} when it fails."""
    words = [sys.executable, str(Path(__file__).with_name("gallery_measure.py")), json.dumps(what, default=str)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def effects_of(size: int, work: Path) -> dict[str, Any]:
    """Settings -> medians over TURNS processes each, taking turns."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in EFFECTS}
    for _ in range(TURNS):
        for name, (spin, blas, threads) in EFFECTS.items():
            what = {"do": "effects", "size": size, "gallery": work, "spin": spin, "blas": blas, "threads": threads}
            turns[name].append(measured(what))
    found: dict[str, Any] = {}
    for name, rows in turns.items():
        if wrong := [row["error"] for row in rows if "error" in row]:
            return {"error": wrong[0]}
        found[name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return found


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of the searches, and the lines of the others."""
    lines = ["| prototypes | index | " + " | ".join(COLUMNS) + " |", "|" + " ---: |" * (2 + len(COLUMNS))]
    for row in (row for row in rows if row["what"] not in ("enrol", "effects")):
        cells = [_cell(row.get(column)) for column in COLUMNS]
        cells = [row["error"]] + ["-"] * (len(COLUMNS) - 1) if "error" in row else cells
        lines.append(f"| {row['size']} | {row['what']} | " + " | ".join(cells) + " |")
    for row in (row for row in rows if row["what"] == "enrol"):
        said = row.get("error") or f"{row['enrolled per s']:.0f} prototypes a second, {row['file MB']:.0f} MB"
        lines += ["", f"Enrolled through the gallery, {row['size']}: {said}."]
    for row in (row for row in rows if row["what"] == "effects" and "error" not in row):
        lines += ["", "| prototypes | settings | 1 p50 ms | cores | 64 p50 ms | cores |", "|" + " ---: |" * 6]
        for name in EFFECTS:
            cells = [_cell(row[name][key]) for key in ("1 p50 ms", "1 cores", "64 p50 ms", "64 cores")]
            lines.append(f"| {row['size']} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def written(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps({"rows": list(rows)}, indent=1) + "\n", encoding="utf-8")
    partial.replace(out)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--kinds", nargs="+", default=[*KINDS], help="indexes with their options, as ivf?nprobe=32; effects"
    )
    parser.add_argument("--work", type=Path, required=True, help="a folder for the galleries: 5 GB a million")
    parser.add_argument("--again", action="store_true", help="measure these rows anew")
    parser.add_argument("--out", type=Path, default=ROWS)
    flags = parser.parse_args(words)
    if min(flags.sizes) < 1000:
        parser.error("sizes are 1000 or more")
    flags.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = (
        json.loads(flags.out.read_text(encoding="utf-8"))["rows"] if flags.out.is_file() else []
    )
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    about = {"machine": machine(), "date": date.today().isoformat(), "commit": commit.stdout.strip() or None,
             "faiss": versions().get("faiss-cpu")}  # fmt: skip
    for size in flags.sizes:
        gallery, truth = flags.work / f"made-{size}.db", flags.work / f"made-{size}.json"
        for what in dict.fromkeys(["enrol", "flat", *flags.kinds]):
            there = any((row["size"], row["what"]) == (size, what) and "error" not in row for row in rows)
            needed = (what == "enrol" and not gallery.is_file()) or (what == "flat" and not truth.is_file())
            if there and not needed and not (flags.again and what in flags.kinds):
                continue
            output.error(f"measuring {what} at {size}")
            if what == "effects":
                found = effects_of(size, flags.work)
            else:
                more = {} if what == "enrol" else {"kind": what, "truth": truth}
                found = measured(
                    {"do": "enrol" if what == "enrol" else "search", "size": size, "gallery": gallery, **more}
                )
            rows = [row for row in rows if (row["size"], row["what"]) != (size, what)]
            rows.append({"size": size, "what": what, **found, "about": about})
            rows.sort(key=lambda row: row["size"])
            written(flags.out, rows)
    print(markdown(rows))


if __name__ == "__main__":
    main()
