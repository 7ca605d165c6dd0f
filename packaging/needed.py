"""What pyproject.toml requires, one a line, so that an image has it as a layer of its own: needed.py PYPROJECT [EXTRA ...]."""

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def needed(pyproject: Path, extras: list[str]) -> list[str]:
    """The requirements of vreid with these extras, as pip reads them; exits with a sentence for an extra that is not there."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    if strange := sorted(set(extras) - set(optional)):
        sys.exit(f"vreid has no extra '{strange[0]}'; choose of: {', '.join(sorted(optional))}")
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


if __name__ == "__main__":
    print("\n".join(needed(Path(sys.argv[1]), [name for name in ",".join(sys.argv[2:]).split(",") if name])))
