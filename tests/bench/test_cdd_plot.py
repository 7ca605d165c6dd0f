"""The compression table as a picture: every arm is in it, at its mean, with its saving in the legend."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest


def row(arm: str, found: float, saved: float) -> dict[str, Any]:
    return {"arm": arm, "map": found, "macs_saved": saved, "latency_ms": 1.0}


def test_every_arm_is_in_the_picture_with_its_mean_saving(bench: Path, svg: Path) -> None:
    plot = importlib.import_module("cdd_plot")
    plot.drawn([row("uncompressed", 11.0, 0.0), row("cdd2", 11.4, 60.0), row("cdd2", 11.8, 70.0)], svg)
    words = svg.read_text()
    assert "uncompressed (0 % of the MACs saved)" in words and "cdd2 (65 % of the MACs saved)" in words


def test_the_command_draws_the_kept_rows_without_the_ablations(
    bench: Path, svg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = importlib.import_module("cdd_plot")
    monkeypatch.setattr("sys.argv", ["cdd_plot.py", "--out", str(svg)])
    plot.main()
    words, arms = svg.read_text(), {kept["arm"] for kept in json.loads(plot.ROWS.read_text())}
    assert {arm for arm in arms if f"{arm} (" in words} == {arm for arm in arms if not arm.startswith("ablation")}
