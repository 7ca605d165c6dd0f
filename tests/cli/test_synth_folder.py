"""`vreid synth` writes its folder whole or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path


def test_a_folder_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    words = ["synth", "crops", "--out", "pictures", "--vehicles", "3", "--cameras", "1", "--per-camera", "1"]

    def drawn(most_bytes: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vreid.cli.main", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
        )

    done = drawn(500)
    assert done.returncode == 2
    assert "pictures/images" in done.stderr and "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert drawn(10**6).returncode == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["images", "train.csv"]
