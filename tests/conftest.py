"""What every test may lean on: one thread, the `shared` folder, and skips that say their reason."""

import os
from pathlib import Path

import pytest

# Before torch, faiss or BLAS are imported by a test: threads that wait for each other on few cores only add time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    if not SHARED.is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason="there is no ../shared beside this checkout"))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        from vreid.cli.installed import machine

        if not machine().devices:
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="this machine has no NVIDIA device"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared of data and models that are not in the repository; without it the test is skipped."""
    if not SHARED.is_dir():
        pytest.skip("there is no ../shared beside this checkout")
    return SHARED
