"""The distillation table as a picture: arms of all pictures by name, arms of a share as lines, ablations not at all."""

import importlib
from pathlib import Path
from typing import Any


def row(arm: str, found: float, fraction: float = 1.0) -> dict[str, Any]:
    return {"arm": arm, "map": found, "fraction": fraction}


def test_whole_arms_have_a_place_and_few_pictures_a_line(bench: Path, svg: Path) -> None:
    plot = importlib.import_module("distillation_plot")
    rows = [row("single: resnet18", 9.0), row("single: resnet18", 9.4), row("supervised: all", 12.0)]
    rows += [row(f"drd: {share:.0%}", 50 * share, share) for share in (0.05, 0.1)]
    rows.append(row("ablation: drd 10%, nothing mixed", 4.0, 0.1))
    plot.drawn(rows, svg)
    words = svg.read_text()
    assert all(name in words for name in ("single: resnet18", "supervised: all", ">drd<"))
    assert not any(name in words for name in ("ablation", "drd: 5%", ">rkd<"))
