"""A seam opens its members on demand, and says what is there or what to install."""

import sys
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.models.seam import open_seam

TABLE = {"plain": "math:floor", "rare": "a_wheel_nobody_has.part:open", "broken": "vreid.models.nothing:open"}


def test_a_member_is_imported_on_opening() -> None:
    assert open_seam("engine", TABLE, "plain")(1.5) == 1


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(Refused, match="no engine 'fast'; choose one of: broken, plain, rare"):
        open_seam("engine", TABLE, "fast")


def test_a_missing_wheel_is_answered_with_its_command() -> None:
    with pytest.raises(Refused, match=r"'a_wheel_nobody_has': pip install 'vreid\[gpu\]'"):
        open_seam("engine", TABLE, "rare", "gpu")
    with pytest.raises(Refused, match=r"pip install a_wheel_nobody_has$"):
        open_seam("engine", TABLE, "rare")


def test_a_member_whose_own_import_is_missing_names_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seam_member_for_a_test.py").write_text("import another_wheel_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Refused, match="'another_wheel_nobody_has'"):
        open_seam("engine", {"own": "seam_member_for_a_test:open"}, "own")
    assert "seam_member_for_a_test" not in sys.modules


def test_a_hole_in_vreid_itself_is_not_blamed_on_the_user() -> None:
    with pytest.raises(ModuleNotFoundError):
        open_seam("engine", TABLE, "broken", "gpu")


def test_a_long_unknown_name_is_cut_in_the_message() -> None:
    with pytest.raises(Refused, match=r"there is no index 'x{60}\.\.\.'; choose"):
        open_seam("index", {"flat": "a:b"}, "x" * 9999)
