"""A row names the code that made it: changed code is dirty, a table that is being written is not."""

import importlib
import subprocess
from pathlib import Path

import pytest


def test_changed_code_is_dirty_and_a_table_is_not(bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = importlib.import_module("provenance").commit
    monkeypatch.delenv("VREID_COMMIT", raising=False)
    (tmp_path / "bench" / "results").mkdir(parents=True)
    table, code = tmp_path / "bench" / "results" / "rows.json", tmp_path / "code.py"
    table.write_text("[]")
    code.write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    folder = tmp_path / "bench"
    clean = commit(folder)
    table.write_text("[1]")
    (tmp_path / "new.txt").write_text("not in the history")
    assert commit(folder) == clean != ""
    code.write_text("2")
    assert commit(folder) == f"{clean}-dirty"
    monkeypatch.setenv("VREID_COMMIT", "abc")
    assert commit() == "abc"
