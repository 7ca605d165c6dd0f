"""Writes docs/api.md, the page of the Python interface, from the docstrings of the names that `import vreid` exports.

    python bench/api_page.py > docs/api.md

Needs griffe (pip install -e '.[dev]'), which reads the sources without importing them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import griffe
from griffe import DocstringSectionKind as Kind

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# The Python interface

    import vreid

Everything that a program needs stands in the module `vreid`; what is not on this page may change without notice. This page is made
from the docstrings: `python bench/api_page.py > docs/api.md`.
"""
PAGES = {
    "runtime/api.py": ("load", "Model", "Gallery", "Hit"),
    "runtime/gallery/records.py": ("Vehicle",),
    "runtime/gallery/doubts.py": ("Doubt",),
    "runtime/gallery/doubt_rows.py": ("Candidate",),
    "runtime/sightings.py": ("track", "Sighting"),
    "serve/client.py": ("Client",),
    "models/errors.py": (),  # all
}


def page() -> str:
    """The page as Markdown."""
    lines = [HEAD]
    for file, names in PAGES.items():
        path = ROOT / file
        module = griffe.visit(path.stem, path, path.read_text(encoding="utf-8"), docstring_parser="google")
        if not names:
            lines.append("## Errors\n")
            lines += [f"* `{name}`: {_text(item)}" for name, item in module.classes.items()]
            continue
        for name in names:
            lines += _entry(module[name], f"## {name}", name)
    return "\n".join(lines) + "\n"


def _entry(item: griffe.Object, heading: str, called: str) -> Iterator[str]:
    """A class with its public methods, or a function."""
    yield f"{heading}\n"
    parameters = item.parameters if isinstance(item, griffe.Class | griffe.Function) else []
    if isinstance(item, griffe.Function) or any(Kind.parameters is section.kind for section in _parsed(item)):
        yield f"```python\n{_signature(called, parameters, item)}\n```\n"
    yield from _sections(item)
    if not isinstance(item, griffe.Class):
        return
    attributes = [one for one in item.attributes.values() if not one.name.startswith("_") and one.docstring]
    if attributes:
        yield "Attributes:\n"
        yield from (f"* `{one.name}`: {_text(one)}" for one in attributes)
        yield ""
    for method in item.functions.values():
        if not method.name.startswith("_"):
            yield from _entry(method, f"### {item.name}.{method.name}", method.name)


def _sections(item: griffe.Object) -> Iterator[str]:
    """The text of a docstring, and its lists of parameters, results and errors."""
    for section in _parsed(item):
        if section.kind is Kind.text:
            yield f"{section.value}\n"
            continue
        yield f"{section.kind.value.capitalize()}:\n"
        for part in section.value:
            name = getattr(part, "name", "") or str(part.annotation)
            shown = "" if section.kind is Kind.returns else f"`{name}`: "
            yield f"* {shown}{' '.join(part.description.split())}"
        yield ""


def _parsed(item: griffe.Object) -> list[griffe.DocstringSection]:
    return item.docstring.parsed if item.docstring else []


def _signature(called: str, parameters: griffe.Parameters | list[griffe.Parameter], item: griffe.Object) -> str:
    """As a person would write it; long ones with a parameter a line."""
    shown, star = [], False
    for one in parameters:
        if one.name == "self":
            continue
        if one.kind is griffe.ParameterKind.keyword_only and not star:
            shown.append("*")
            star = True
        default = "" if one.default is None else f" = {one.default}"
        shown.append(f"{one.name}: {one.annotation}{default}")
    returns = f" -> {item.returns}" if isinstance(item, griffe.Function) and item.returns is not None else ""
    line = f"{called}({', '.join(shown)}){returns}"
    return line if len(line) <= 100 else f"{called}(\n    " + ",\n    ".join(shown) + f",\n){returns}"


def _text(item: griffe.Object) -> str:
    return " ".join(item.docstring.value.split()) if item.docstring else ""


if __name__ == "__main__":
    sys.stdout.write(page())
