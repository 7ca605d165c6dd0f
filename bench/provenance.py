"""Which code made a figure: for the rows of every table."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent  # wherever a bench is run from
WRITTEN = ("bench/results", "docs")  # what the tables themselves write is no code


def commit(folder: Path = HERE) -> str:
    """What git calls the code in `folder`, with -dirty where it was changed since; VREID_COMMIT where it is a copy without
    its history."""
    if given := os.environ.get("VREID_COMMIT"):
        return given
    changed = _git(
        folder, "status", "--porcelain", "--untracked-files=no", ":/", *(f":(top,exclude){path}" for path in WRITTEN)
    )
    return _git(folder, "describe", "--always") + ("-dirty" if changed else "")


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
