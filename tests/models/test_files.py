"""A file appears complete or not at all, and a lock is held by one process."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.models.files import atomic, locked, remove_leftovers, sha256_of, write_atomic


def test_a_file_is_replaced_when_the_block_succeeds_and_kept_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "one")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "one" and temporary.parent == tmp_path and temporary.suffix == ".json"
        _ = 1 / 0
    assert path.read_text() == "one"
    with atomic(path) as temporary:
        temporary.write_text("two")
    assert path.read_text() == "two" and [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_atomic(tmp_path / "written", b"")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", os.fsdecode(b"caf\xe9.json"), "no-ending", ".hidden"])
def test_any_name_that_the_disk_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, "text \udce9")
    assert (tmp_path / name).read_bytes() == b"text ?"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_write_that_fails_names_its_file_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write_atomic(tmp_path / "a.json", b" " * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "a.json") and list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last+.pt"
    kill = (
        "import os, sys; from pathlib import Path; from vreid.models.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as temporary:\n    temporary.touch(); os.kill(os.getpid(), 9)"
    )
    for name in (path, tmp_path / "last+.1-2.pt"):
        assert subprocess.run([sys.executable, "-c", kill, str(name)], check=False).returncode == -9
    (tmp_path / ".last+.mine.tmp.pt").touch()
    assert len(list(tmp_path.iterdir())) == 3
    remove_leftovers(path)
    left = sorted(found.name for found in tmp_path.iterdir())
    assert len(left) == 2 and left[0].startswith(".last+.1-2.") and left[1] == ".last+.mine.tmp.pt"


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "a", b"")


def test_a_lock_keeps_other_processes_out_until_its_holder_is_gone(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from vreid.models.files import locked\n"
        "with locked(Path(sys.argv[1]), 'writing'):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Refused, match="another process is training in"), locked(tmp_path, "training in"):
            pass
        holder.kill()
    with locked(tmp_path, "training in"):
        pass


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
