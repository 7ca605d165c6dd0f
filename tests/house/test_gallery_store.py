"""SQL and databases stay in the gallery's folders sqlite/ and postgres/: everything else goes through the Store."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("models", "train", "report", "synth", "runtime", "serve", "fleet", "deploy", "cli")
INSIDE = [ROOT / "runtime" / "gallery" / name for name in ("postgres", "sqlite")]
FILES = sorted(
    path for layer in LAYERS for path in (ROOT / layer).rglob("*.py") if not {*INSIDE} & {*path.parents}
) + sorted(ROOT.glob("*.py"))
STATEMENT = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX|TRIGGER)|PRAGMA)\b",
    re.DOTALL,
)


def database_parts(source: str) -> Iterator[str]:
    """What only a store may have: SQL in strings, and imports of database packages."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.search(node.value):
            yield node.value.strip().splitlines()[0]
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.partition(".")[0] in ("sqlite3", "psycopg", "sqlalchemy", "alembic"))


def test_only_a_store_speaks_sql() -> None:
    found = {str(path.relative_to(ROOT)): [*database_parts(path.read_text(encoding="utf-8"))] for path in FILES}
    assert {name: parts for name, parts in found.items() if parts} == {}


def test_the_rule_itself() -> None:
    assert list(database_parts('run("SELECT id FROM vehicles")')) == ["SELECT id FROM vehicles"]
    assert list(database_parts("import sqlite3")) == ["sqlite3"]
    assert list(database_parts('f"UPDATE vehicles SET {x}"')) == ["UPDATE vehicles SET"]
    assert list(database_parts('"""Select a vehicle from the list."""')) == []
    for folder in INSIDE:
        assert any([*database_parts(path.read_text(encoding="utf-8"))] for path in folder.glob("*.py"))
