"""Which code made a figure: for the rows of every table."""

import os
import subprocess


def commit() -> str:
    """What git calls the code that is running; VREID_COMMIT where it is a copy without its history."""
    if told := os.environ.get("VREID_COMMIT"):
        return told
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
