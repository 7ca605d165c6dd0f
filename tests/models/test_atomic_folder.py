"""Output folders: a finite run's folder is whole or absent, a live one's grows; the file system's errors are sentences."""

import os
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.models.files import atomic_folder, growing_folder


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else "/" for p in sorted(folder.rglob("*"))}


def test_a_new_folder_appears_whole_and_may_be_read_by_others(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    with atomic_folder(out) as temporary:
        (temporary / "mot").mkdir()
        (temporary / "mot" / "a.txt").write_text("1")
        assert not out.exists()
    assert tree(tmp_path) == {"runs": "/", "runs/one": "/", "runs/one/mot": "/", "runs/one/mot/a.txt": "1"}
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_files_of_an_earlier_run_are_replaced_and_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mot").mkdir(parents=True)
    (out / "report.json").write_text("old")
    (out / "notes").write_text("mine")
    with atomic_folder(out) as temporary:
        (temporary / "report.json").write_text("new")
        (temporary / "mot").mkdir()
        (temporary / "mot" / "a.txt").write_text("1")
    assert tree(tmp_path / "out") == {"mot": "/", "mot/a.txt": "1", "notes": "mine", "report.json": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_there_needs_nothing_next_to_it(tmp_path: Path) -> None:
    """It may be a mounted disk, to which nothing can be renamed, in a folder that may not be written."""
    out = tmp_path / "out"
    out.mkdir()
    with atomic_folder(out) as temporary:
        assert temporary.is_relative_to(out) and tree(tmp_path).keys() == {"out", *(f"out/{p}" for p in tree(out))}
        (temporary / "report.json").write_text("new")
    assert tree(out) == {"report.json": "new"}


@pytest.mark.parametrize("error", [Refused("no"), KeyboardInterrupt(), ValueError("bug")])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_body_that_fails_leaves_all_as_it_was(tmp_path: Path, error: BaseException, earlier: bool) -> None:
    out = tmp_path / "runs" / "one"
    if earlier:
        out.mkdir(parents=True)
        (out / "report.json").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(type(error)), atomic_folder(out) as temporary:
        (temporary / "report.json").write_text("new")
        raise error
    assert tree(tmp_path) == before


def test_what_is_in_the_way_is_refused_before_the_first_file_is_moved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "report.json").mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(Refused, match=r"report\.json is in the way"), atomic_folder(out) as temporary:
        (temporary / "a.json").write_text("new")
        (temporary / "report.json").write_text("new")
    (out / "mot").write_text("a file")
    with pytest.raises(Refused, match="mot is in the way"), atomic_folder(out) as temporary:
        (temporary / "mot").mkdir()
        (temporary / "mot" / "a.txt").write_text("new")
    (out / "mot").unlink()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("opening", [atomic_folder, growing_folder])
def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, opening: object) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Refused, match="is a file; give a folder"), opening(tmp_path / "out"):  # type: ignore[operator]
        pass
    with pytest.raises(Refused, match="cannot write"), opening(tmp_path / "out" / "inner"):  # type: ignore[operator]
        pass
    assert tree(tmp_path) == {"out": "a file"}


@pytest.mark.parametrize("opening", [atomic_folder, growing_folder])
def test_a_full_disk_is_a_sentence(tmp_path: Path, opening: object) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("this machine has no /dev/full")
    with (
        pytest.raises(Refused, match="No space left"),
        opening(tmp_path / "out"),  # type: ignore[operator]
        Path("/dev/full").open("w") as file,
    ):
        file.write("x")
        file.flush()
    assert tree(tmp_path) == {}


def test_a_growing_folder_keeps_what_was_written_and_goes_when_nothing_was(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "live"
    with pytest.raises(Refused), growing_folder(out):
        raise Refused("the gallery is another model's")
    assert tree(tmp_path) == {}
    with pytest.raises(KeyboardInterrupt), growing_folder(out) as folder:
        assert folder == out
        (folder / "sightings.jsonl").write_text("1")
        raise KeyboardInterrupt
    assert tree(tmp_path)["runs/live/sightings.jsonl"] == "1"
