"""A table has a line an arm: the means over its seeds, with half the range behind them."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def rows(bench: Path) -> ModuleType:
    return importlib.import_module("rows")


def test_seeds_of_an_arm_are_one_line(rows: ModuleType) -> None:
    found = [
        {"arm": "slow", "seed": 0, "labels": "no", "map": 9.0},
        {"arm": "fast", "seed": 0, "labels": "yes", "map": 7.25},
        {"arm": "slow", "seed": 1, "labels": "no", "map": 10.0},
    ]
    assert rows.table_of(found, {"map": "mAP"}, {"labels": "labels"}).splitlines() == [
        "| arm | seeds | labels | mAP |",
        "| --- | --- | --- | --- |",
        "| slow | 2 | no | 9.50 ± 0.50 |",
        "| fast | 1 | yes | 7.25 |",
    ]


def test_a_row_is_a_line_of_the_file(rows: ModuleType, tmp_path: Path) -> None:
    rows.write_rows(tmp_path / "results" / "x.json", [{"arm": "slow"}, {"arm": "fast"}])
    text = (tmp_path / "results" / "x.json").read_text()
    assert text.splitlines()[1:3] == ['{"arm": "slow"},', '{"arm": "fast"}']
    assert json.loads(text) == [{"arm": "slow"}, {"arm": "fast"}]
