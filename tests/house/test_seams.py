"""Every name in a seam's table opens."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMBER = r"\w+(\.\w+)+:\w+"
LAYERS = ("models", "report", "synth", "train", "runtime", "deploy", "cli")


def members() -> list[tuple[str, str]]:
    """(table, "module:function") of every table.py."""
    found = []
    for table in sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("table.py")):
        for node in ast.walk(ast.parse(table.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(MEMBER, node.value):
                found.append((table.relative_to(ROOT).as_posix(), node.value))
    return found


@pytest.mark.parametrize(("table", "member"), members())
def test_a_member_of_a_seam_opens(table: str, member: str) -> None:
    module, _, function = member.partition(":")
    try:
        opened = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if (error.name or "vreid").startswith("vreid"):
            raise
        pytest.skip(f"{member} needs the package '{error.name}', which is not installed")
    assert callable(opened)
