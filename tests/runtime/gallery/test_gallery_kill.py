"""A gallery whose writers are killed by SIGKILL holds what was acknowledged and nothing else: bench/gallery_kill.py in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(root: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(root / "bench" / "gallery_kill.py"), "--kills", "8", "--seed", "5"]
    done = subprocess.run(
        [*words, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "found.json")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["kills"] == 8 and found["wrong"] == []
    assert sum(found["inside"].values()) - found["inside"].get("between two", 0) >= 2  # it was the operations that died
    assert found["operations_acknowledged"] >= 3
