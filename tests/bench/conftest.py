"""bench/ is no package: its scripts find each other as they do when one of them is run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def bench(root: Path) -> Iterator[Path]:
    sys.path.insert(0, str(root / "bench"))
    yield root / "bench"
    sys.path.remove(str(root / "bench"))
