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


@pytest.fixture
def svg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a picture is drawn whose words stay words."""
    mpl = pytest.importorskip("matplotlib")
    monkeypatch.setitem(mpl.rcParams, "svg.fonttype", "none")
    return tmp_path / "table.svg"
