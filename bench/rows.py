"""The rows of a table: one JSON object a line in a list, and in Markdown a line for all seeds of an arm."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A JSON list with a row a line, so that a change of one row is a change of one line."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def cell(values: Sequence[float]) -> str:
    """The mean, with half the range behind ± where there are several."""
    spread = f" ± {(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def by_arm(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """{arm: its rows}, in the order of their first ones."""
    return {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}


def table_of(rows: Sequence[dict[str, Any]], measured: Mapping[str, str], about: Mapping[str, str]) -> str:
    """Markdown with a line an arm: its seeds, what it is (from its first row) and the means of what was measured.

    Both map a key of the rows to the head of its column.
    """
    heads = ["arm", "seeds", *about.values(), *measured.values()]
    lines = [heads, ["---"] * len(heads)]
    for arm, mine in by_arm(rows).items():
        first = [str(mine[0][key]) for key in about]
        lines.append([arm, str(len(mine)), *first, *(cell([row[key] for row in mine]) for key in measured)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
