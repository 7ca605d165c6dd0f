"""The folders, the packaging and the files of the repository are as the house has them."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("models", "report", "synth", "train", "runtime", "serve", "fleet", "deploy", "cli")
MOST_LINES = {"tests": 500}  # tests are as long as what they prove
USUAL = 400
LONGER: dict[str, str] = {}  # path -> why it may be longer than that; meant to stay empty
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
ROOT_HOLDS = {
    *LAYERS, *("bench", "docs", "examples", "packaging", "tests"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE", "pyproject.toml", "__init__.py", "py.typed"),
    *("Makefile", "CMakeLists.txt", ".ci", ".clang-format", ".dockerignore", ".gitignore"),
}  # fmt: skip
PACKAGED = [ROOT / "__init__.py", *sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))]
SOURCES = sorted(
    path
    for folder in (*LAYERS, "tests", "bench", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".cpp", ".hpp", ".h"}
)


def _most(name: str) -> int:
    return MOST_LINES.get(name.split("/")[0], USUAL)


def test_pyproject_lists_the_packages_of_the_tree() -> None:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in PACKAGED if path.name == "__init__.py"}
    assert sorted(listed) == sorted(".".join(("vreid", *folder.parts)) for folder in folders)


def test_pyproject_lists_the_files_of_the_packages_that_are_not_code() -> None:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = {
        path
        for package, patterns in settings["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    used = [ROOT / "py.typed", *(ROOT / "models" / "zoo").glob("*.json"), *(ROOT / "report" / "templates").iterdir()]
    assert set(used) <= listed


def test_the_root_holds_no_other_code() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


def test_the_root_holds_only_what_belongs_there() -> None:
    """No file that a test or a try has left there is committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a checkout of git")
    assert {name.partition("/")[0] for name in listed.stdout.split("\0") if name} == ROOT_HOLDS


def test_every_folder_with_code_is_a_package() -> None:
    assert {
        str(path.parent.relative_to(ROOT)) for path in PACKAGED if not (path.parent / "__init__.py").is_file()
    } == set()


def test_the_tests_are_no_packages_and_their_names_differ() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py")]
    assert [str(path) for path in files if path.name == "__init__.py"] == []
    names = [path.name for path in files if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea_and_says_which(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    assert name in LONGER or text.count("\n") <= _most(name), f"{name}: over {_most(name)} lines is two ideas"
    assert path.stem not in EMPTY_NAMES, f"{name}: a name says what comes out"
    if path.suffix == ".py":
        assert text.startswith(('"""', 'r"""', "#!")) and ast.get_docstring(ast.parse(text)), f"{name}: say what it is"


def test_a_file_that_may_be_longer_still_is() -> None:
    assert [name for name in LONGER if (ROOT / name).read_text(encoding="utf-8").count("\n") <= _most(name)] == []
