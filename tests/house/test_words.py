"""The project's old private words stay out of names, messages, help and documents; the glossary is in CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("models", "report", "synth", "train", "runtime", "serve", "fleet", "deploy", "cli", "bench", "examples")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NATIVE = sorted(path for end in ("cpp", "hpp", "h") for path in (ROOT / "runtime" / "native").rglob(f"*.{end}"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

NAMES = {
    *("told", "tells", "unasked", "asked", "asking", "beside", "ours", "theirs", "taps", "graphed", "alone", "staging"),
    *("draft", "outlet", "outlets", "judging", "verdict", "deciding", "watching", "presence", "salvage", "renewing"),
}
"""Words that are part of no name: a module's, a function's, a class's or a variable's."""

TEXT = re.compile(
    r"\b(films?|contracts?|made scenes?)\b"
    r"|\b(told|tells|outlets?|beside|ours|theirs|verdict|judging|unasked|ways? out|says nothing of|no number)\b"
    r"|(?<!there )\bis no (?!longer\b|more\b|less\b|room\b|need\b|way\b|other\b|such\b|one\b)",
    re.IGNORECASE,
)
"""Words and phrases that stand in no message, help, docstring or page."""

KEPT = {("train/recipe.py", "beside"), ("cli/main.py", "unasked")}
"""Names that files and command lines of earlier commits have, and that are read for ever."""


def words_of(name: str) -> set[str]:
    """The words of an identifier: `TeacherCache_of` -> teacher, cache, of."""
    return set(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_"))


def names_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that a module names: definitions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.value.lineno, node.arg


def strings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a module: messages, help and docstrings; parts of f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def in_names(path: Path) -> list[str]:
    """What stands in the names of one file, and in its own."""
    found = [f"{path.relative_to(ROOT)}: the file's name"] if words_of(path.stem) & NAMES else []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return found + [
        f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in names_of(tree) if words_of(name) & NAMES
    ]


def in_text(path: Path) -> list[str]:
    """What stands in the strings of one Python file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.relative_to(ROOT)}:{line}: ...{match[0]}..."
        for line, text in strings_of(tree)
        for match in TEXT.finditer(text)
        if (str(path.relative_to(ROOT)), match[0]) not in KEPT
    ]


def in_lines(path: Path) -> list[str]:
    """What stands in the lines of a page or of a C++ file, comments included."""
    return [
        f"{path.relative_to(ROOT)}:{number}: ...{match[0]}..."
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in TEXT.finditer(line)
    ]


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_names_are_of_the_field(room: str) -> None:
    paths = [path for path in [*SOURCES, *TESTS] if path.relative_to(ROOT).parts[0] == room and path != Path(__file__)]
    found = [line for path in paths for line in in_names(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_messages_and_help_are_plain(room: str) -> None:
    paths = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == room]
    found = [line for path in paths for line in in_text(path)]
    assert not found, "\n".join(found)


def test_the_native_part_is_plain() -> None:
    found = [line for path in NATIVE for line in in_lines(path)]
    assert NATIVE
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_plain(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    glossary = text.partition("## Words")[2].partition("\n## ")[0]  # names the old words, to say what took their place
    found = [match[0] for match in TEXT.finditer(text.replace(glossary, "") if glossary else text)]
    assert not found, f"{page.name}: {found}"


@pytest.mark.parametrize(
    ("code", "words"),
    [("def asked_names(): ...", 1), ("self.told = 1", 1), ("f(beside=1)", 1), ("def requested(): ...", 0)],
)
def test_a_name_is_found_wherever_it_is_given(code: str, words: int) -> None:
    assert sum(bool(words_of(name) & NAMES) for _, name in names_of(ast.parse(code))) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x.jpg is no picture", True),
        ("it is no longer open", False),
        ("this was Told", True),
        ("give a film", True),
        ("a stolen car", False),
    ],
)
def test_a_phrase_is_found(text: str, found: bool) -> None:
    assert bool(TEXT.search(text)) is found
