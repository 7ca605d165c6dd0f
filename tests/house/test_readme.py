"""Every command of README.md works: its blocks of shell and Python are run in order in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
LANGUAGES = ("bash", "sh", "console", "python")
MARKS = ("needs-shared", "slow")
FENCE = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"\s*It prints[^\n]*\n\n```\n(.*?)^```", re.MULTILINE | re.DOTALL)  # right after a block
LEFT_OUT = (".git", ".venv", "build", "runs", "dist", "*.egg-info", "__pycache__", ".*_cache")
# A target of make is only looked up: `make test` would run this test again.
PREAMBLE = 'make() { command make -n "$@" > /dev/null; }\n'
INSTALLS = re.compile(r"\b(pip3? install|-m venv|apt(-get)? install|docker)\b")


@dataclass(frozen=True)
class Block:
    """One fenced block of shell or Python: `no_run` is the reason not to run it, `marks` are of MARKS, `shown` is
    what the page shows as printed."""

    line: int
    python: bool
    text: str
    no_run: str | None
    marks: frozenset[str]
    shown: str = ""


def blocks_of(page: str) -> list[Block]:
    """The blocks of shell and Python of a Markdown page; of a console block only the lines after `$`.

    The words after the language say how: "bash no-run: needs a camera", "bash needs-shared slow". ValueError else.
    """
    blocks = []
    for fence in FENCE.finditer(page):
        indent, language, info, text = fence.groups()
        if language not in LANGUAGES:
            continue
        line = page.count("\n", 0, fence.start()) + 1
        words, marked, reason = info.partition("no-run:")
        marks = frozenset(words.split())
        if not marks <= set(MARKS) or (marked and not reason.strip()):
            raise ValueError(f"line {line}: a block may be marked {', '.join(MARKS)}, or no-run: with a reason")
        text = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        if language == "console":
            text = "".join(f"{command}\n" for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE))
        shown = PRINTED.match(page, fence.end())
        fields = (line, language == "python", text, reason.strip() if marked else None, marks)
        blocks.append(Block(*fields, shown[1] if shown else ""))
    return blocks


BLOCKS = blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the repository that the blocks share, with this environment as its .venv and ../shared beside it."""
    place = tmp_path_factory.mktemp("readme") / "vreid"
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    (place / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    if SHARED.is_dir():
        (place.parent / "shared").symlink_to(SHARED, target_is_directory=True)
    yield place
    shutil.rmtree(place.parent)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=[pytest.mark.slow] if "slow" in block.marks else []) for block in BLOCKS],
    ids=lambda block: f"line {block.line}",
)
def test_a_block_of_the_readme_works(block: Block, copy: Path) -> None:
    if block.no_run:
        pytest.skip(f"README.md line {block.line}: no-run: {block.no_run}")
    if "needs-shared" in block.marks and not SHARED.is_dir():
        pytest.skip(f"README.md line {block.line}: there is no ../shared beside this checkout")
    if "vreid train" in block.text:
        pytest.importorskip("torch")
    assert not INSTALLS.search(block.text), (
        f"README.md line {block.line}: mark a block that installs as no-run: installs"
    )
    path = os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)))
    done = subprocess.run(
        [sys.executable, "-c", block.text]
        if block.python
        else ["bash", "-euo", "pipefail", "-c", PREAMBLE + block.text],
        cwd=copy,
        env={**os.environ, "PATH": path, "MAKEFLAGS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    said = f"README.md line {block.line} exits with {done.returncode}\n{block.text}\n{done.stdout[-4000:]}"
    assert done.returncode == 0, said
    if block.shown:
        # what is recognised is the same on every processor, and the cosines nearly so
        names, cosines = ([found(text) for text in (done.stdout, block.shown)] for found in (_names, _cosines))
        assert names[0] == names[1] and cosines[0] == pytest.approx(cosines[1], abs=0.03), said


def _names(printed: str) -> list[str]:
    """The first two lines without their numbers."""
    return [re.sub(r"[0-9.]+", "", line) for line in printed.splitlines()[:2]]


def _cosines(printed: str) -> list[float]:
    """The numbers of the first two lines."""
    return [float(number) for line in printed.splitlines()[:2] for number in re.findall(r"[0-9]+\.[0-9]+", line)]


PAGE = """
```bash
make demo
```
```python
print()
```
```bash no-run: needs a camera
vreid run 0
```
- a list
  ```console needs-shared slow
  $ vreid eval \\
      --data x
  mAP 1.0
  $ ls
  ```
"""


def test_what_a_block_prints_is_shown() -> None:
    (shown,) = (block.shown.splitlines() for block in BLOCKS if block.shown)
    assert re.fullmatch(r"grey van: 0\.\d\d, known", shown[0])


def test_the_blocks_of_a_page_are_found() -> None:
    plain, python, camera, console = blocks_of(PAGE)
    assert plain == Block(2, False, "make demo\n", None, frozenset())
    assert python == Block(5, True, "print()\n", None, frozenset())
    assert camera == Block(8, False, "vreid run 0\n", "needs a camera", frozenset())
    assert console.text == "vreid eval \\\n    --data x\nls\n"
    assert console.marks == {"needs-shared", "slow"}


@pytest.mark.parametrize("info", ["no-run:", "norun: a reason", "slwo"])
def test_a_mark_that_is_not_known_is_refused(info: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        blocks_of(f"```bash {info}\nls\n```\n")
