"""The distillation table as a picture: the arms of several teachers, and what is found after few pictures.

    python bench/distillation_plot.py --out docs/images/distillation.png

Draws bench/results/distillation.json, which distillation_table.py writes; ablations are left out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, by_arm

ROWS = RESULTS / "distillation.json"
FEW = ("drd", "rkd", "supervised")  # arms that learn from a share of the pictures
ALL = "supervised: all"


def drawn(rows: list[dict[str, Any]], out: Path) -> None:
    """A dot a seed of every arm of all pictures; a line a method over the share of the pictures, least to most shaded."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    arms = by_arm([row for row in rows if not row["arm"].startswith("ablation")])
    whole = {arm: mine for arm, mine in arms.items() if arm.split(":")[0] not in FEW or arm == ALL}
    figure, (dots, lines) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(3, 2))
    for place, mine in enumerate(whole.values()):
        found = [row["map"] for row in mine]
        dots.plot(found, [place] * len(found), "o", ms=4, color="C0", alpha=0.6)
        dots.plot(np.mean(found), place, "|", ms=14, color="C0")
    dots.set(yticks=range(len(whole)), yticklabels=list(whole), xlabel="test mAP", xlim=(0, None))
    dots.invert_yaxis()
    for method in FEW:
        mine = [row for arm, of in arms.items() if arm.startswith(method) and arm != ALL for row in of]
        shares = sorted({row["fraction"] for row in mine})
        if not shares:
            continue
        found = [[row["map"] for row in mine if row["fraction"] == share] for share in shares]
        percent = [100 * share for share in shares]
        lines.plot(percent, [np.mean(seeds) for seeds in found], "o-", label=method)
        lines.fill_between(percent, [min(seeds) for seeds in found], [max(seeds) for seeds in found], alpha=0.2)
    if ALL in arms:
        lines.axhline(np.mean([row["map"] for row in arms[ALL]]), ls="--", color="gray", label=ALL)
    lines.set(xlabel="% of the pictures", ylabel="test mAP", ylim=(0, None))
    lines.legend(fontsize=8)
    for panel in (dots, lines):
        panel.grid(alpha=0.3)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    drawn(json.loads(ROWS.read_text(encoding="utf-8")), flags.out)


if __name__ == "__main__":
    main()
