"""Which code made a figure: for the rows of every table."""

import os
import subprocess
from pathlib import Path

WRITTEN = ("bench/results", "docs")  # what the tables themselves write is no code


def commit() -> str:
    """What git calls the code that is running, with -dirty where it was changed since; VREID_COMMIT where it is a copy without
    its history."""
    if given := os.environ.get("VREID_COMMIT"):
        return given
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", ":/", *(f":(top,exclude){path}" for path in WRITTEN)
    )
    return _git("describe", "--always") + ("-dirty" if changed else "")


def _git(*words: str) -> str:
    here = Path(__file__).parent  # wherever the bench is run from
    return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
