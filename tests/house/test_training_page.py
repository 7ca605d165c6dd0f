"""docs/training.md holds: its commands run in order in an empty folder, and its recipe file is the one that they take."""

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

from vreid.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(bash|toml)(?: needs-(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, since torch takes seconds to import; `> FILE` is the only thing of a shell that they use."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    ran = 0
    for kind, needed, text in FENCE.findall(PAGE):
        if kind == "toml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        elif not needed or importlib.util.find_spec(needed):
            for line in text.replace("\\\n", " ").splitlines():
                (program, *words), _, file = shlex.split(line.partition(">")[0]), *line.partition(">")[1:]
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    assert (program, main(words)) == ("vreid", 0), line
                if file:
                    Path(file.strip()).write_text(said.getvalue(), encoding="utf-8")
                ran += 1
    assert ran >= 8 and PAGE.count("```") == 2 * len(FENCE.findall(PAGE))
    for run, epochs in (("first", 2), ("mine", 3), ("tuned", 2)):
        assert len((tmp_path / "runs" / run / "log.jsonl").read_text().splitlines()) == epochs
    for printed in ("all-settings.toml", "as-trained.toml"):
        assert 'body = "resnet18"' in (tmp_path / printed).read_text()
