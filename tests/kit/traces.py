"""What files still hold of something that was removed, and the turnover of a PostgreSQL server's write-ahead log."""

import re
from pathlib import Path

from real_postgres import Server, database_connection


def found(folder: Path, wanted: dict[str, bytes]) -> dict[str, list[str]]:
    """The files below `folder` that hold each of these bytes."""
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {what: [name for name, content in contents.items() if some in content] for what, some in wanted.items()}


def turn_over(server: Server) -> None:
    """What docs/gallery.md lets an administrator of the server do, so that the write-ahead log holds nothing older."""
    page = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text()
    statements = re.findall(r"^      ((?:SELECT|CHECKPOINT).*);$", page, re.MULTILINE)
    assert len(statements) == 4
    with database_connection(server.place("public")) as connection:
        for statement in statements:
            connection.execute(statement.encode())
