"""CMake configures the tree as it is, with the version of pyproject.toml."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="cmake or c++ is not installed"
)


def configured(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "-S", str(ROOT), "-B", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_default_configures_with_the_version_of_the_package(tmp_path: Path) -> None:
    done = configured(tmp_path)
    assert done.returncode == 0, done.stderr
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version and f"CMAKE_PROJECT_VERSION:STATIC={version[1]}" in (tmp_path / "CMakeCache.txt").read_text(
        encoding="utf-8"
    )
