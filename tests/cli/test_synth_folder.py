"""`vreid synth` writes its folder whole or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from vreid.cli.main import main
from vreid.train.data.table import read_dataset


def test_bodies_are_named_as_groups_where_there_are_several(tmp_path: Path) -> None:
    words = ["synth", "crops", "--vehicles", "8", "--cameras", "1", "--per-camera", "1"]
    assert (
        main([*words, "--out", str(tmp_path / "one")])
        == main([*words, "--bodies", "3", "--out", str(tmp_path / "b")])
        == 0
    )
    plain, bent = ((tmp_path / name / "train.csv").read_text().splitlines() for name in ("one", "b"))
    assert plain[0] == "path,vehicle,camera,type" and bent[0] == "path,vehicle,camera,type,group"
    for row in read_dataset(tmp_path / "b").train:
        kind, _, body = row.group.partition("~")
        assert kind == row.kind and body in ("1", "2", "3")
    assert main([*words, "--bodies", "-1", "--out", str(tmp_path / "c")]) == 2


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
