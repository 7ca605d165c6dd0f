"""The compression table as a picture: what an arm finds, over the time that it takes.

    python bench/cdd_plot.py --out docs/images/compression.png

Draws bench/results/cdd.json, which cdd_score.py writes; ablations are left out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, by_arm

ROWS = RESULTS / "cdd.json"


def drawn(rows: list[dict[str, Any]], out: Path) -> None:
    """A point an arm, with bars from the least to the most of its seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    for place, (arm, mine) in enumerate(by_arm(rows).items()):
        found, time = (np.array([row[key] for row in mine]) for key in ("map", "latency_ms"))
        bars = [[found.mean() - found.min()], [found.max() - found.mean()]]
        saved = np.mean([row["macs_saved"] for row in mine])
        shape, size = ("*", 12) if arm.startswith("cdd2") else ("o^sDvP"[place % 6], 6)
        label = f"{arm} ({saved:.0f} % of the MACs saved)"
        panel.errorbar(
            time.mean(), found.mean(), bars, fmt=shape, ms=size, capsize=2, color=f"C{place % 10}", label=label
        )
    panel.set(xlabel="ms a picture, ONNX Runtime, one thread", ylabel="test mAP", xlim=(0, None))
    panel.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    rows = json.loads(ROWS.read_text(encoding="utf-8"))
    drawn([row for row in rows if not row["arm"].startswith("ablation")], flags.out)


if __name__ == "__main__":
    main()
