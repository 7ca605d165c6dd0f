"""The rows of a table: one JSON object a line in a list, and a cell of Markdown for all seeds of an arm."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A JSON list with a row a line, so that a change of one row is a change of one line."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def cell(values: Sequence[float]) -> str:
    """The mean, with half the range behind ± where there are several."""
    spread = f" ± {(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"
