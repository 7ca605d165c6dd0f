"""The made site of the server's tests (kit/made_site.py), filled once a session and copied for each test that writes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if (
    TYPE_CHECKING
):  # a test file imports it by itself, and is skipped where the extra is not installed (tests/conftest.py)
    from made_site import MadeSite, Served


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> "MadeSite":
    """The site's folder, which nobody writes to."""
    from made_site import MadeSite, fill_folder

    folder = tmp_path_factory.mktemp("site")
    fill_folder(folder)
    return MadeSite(folder)


@pytest.fixture
def made_site(filled: "MadeSite", tmp_path: Path, request: pytest.FixtureRequest) -> "MadeSite":
    """A copy for one test, with tokens look, edit, admin, and gate (edits, sees the camera gate alone); with made_site.IN_BOTH
    its gallery is in a file and, a second time, in a database."""
    site = filled.copy_to(tmp_path / "site")
    if getattr(request, "param", "file") == "database":
        site = site.in_database(request.getfixturevalue("postgres").new_place("serve"))
    return site.with_tokens()


@pytest.fixture
def open_site(filled: "MadeSite", tmp_path: Path) -> "MadeSite":
    """A copy for one test without tokens: anybody on this machine may do everything."""
    return filled.copy_to(tmp_path / "open")


@pytest.fixture
def served(made_site: "MadeSite") -> Iterator["Served"]:
    """A server in this process over this test's own site."""
    from made_site import served_here

    with served_here(made_site) as server:
        yield server


@pytest.fixture(scope="session")
def looked_at(filled: "MadeSite", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Served"]:
    """One server in this process for all tests that only read."""
    from made_site import served_here

    site = filled.copy_to(tmp_path_factory.mktemp("looked-at") / "site").with_tokens()
    with served_here(site) as server:
        yield server


@pytest.fixture
def serve_apart(made_site: "MadeSite") -> Callable[..., "AbstractContextManager[Served]"]:
    """Starts `vreid serve` over this test's site in a process of its own, with more words of the command line."""

    from made_site import served_apart

    def start(*words: str, port: int = 0) -> "AbstractContextManager[Served]":
        return served_apart(made_site, *words, port=port)

    return start
