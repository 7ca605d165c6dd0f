"""MOT text: what is read, what is written, and what is refused with its line."""

from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.mot import MotTable, read_mot, write_mot


def test_reads_columns_and_defaults(tmp_path: Path) -> None:
    path = tmp_path / "cam.txt"
    path.write_text("2,7,10.5,20,30,40,0.9,2,0.75\n\n1,-1,0,0,5,5\n3,8,1,1,2,2,-1,-1,-1,-1\r\n")
    table = read_mot(path)
    assert table.frames.tolist() == [2, 1, 3]
    assert table.ids.tolist() == [7, -1, 8]
    assert table.boxes[0].tolist() == [10.5, 20, 30, 40]
    np.testing.assert_allclose(table.scores, [0.9, 1, 1])
    assert table.kinds.tolist() == [2, -1, -1]
    np.testing.assert_allclose(table.visibility, [0.75, 1, 1])


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "cam.txt").write_text("")
    table = read_mot(tmp_path / "cam.txt")
    assert len(table) == 0 and table.boxes.shape == (0, 4)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 50
    table = MotTable(
        rng.integers(1, 9, n),
        rng.integers(-1, 2**31, n),
        rng.uniform(1, 900, (n, 4)).astype(np.float32),
        rng.random(n, np.float32),
        rng.integers(-1, 8, n),
        rng.random(n, np.float32),
    )
    write_mot(tmp_path / "cam.txt", table)
    again = read_mot(tmp_path / "cam.txt")
    assert again.frames.tolist() == table.frames.tolist() and again.ids.tolist() == table.ids.tolist()
    assert again.kinds.tolist() == table.kinds.tolist()
    np.testing.assert_allclose(again.boxes, table.boxes, atol=0.0051)
    np.testing.assert_allclose(again.scores, table.scores, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["cam.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "1,2,3,4,5",
        "0,1,2,3,4,5",
        "1.5,1,2,3,4,5",
        "1,2147483648,2,3,4,5",
        "1,1e99,2,3,4,5",
        "1,-2,2,3,4,5",
        "1,1.5,2,3,4,5",
        "1,1,2,3,0,5",
        "1,1,2,3,4,-5",
        "1,1,nan,3,4,5",
        "1,1,2,3,inf,5",
        "1,1,x,3,4,5",
        "1,1,2,3,4,5,1,2.5",
        "1 1 2 3 4 5",
    ],
)
def test_a_bad_line_is_refused_with_file_and_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cam.txt"
    path.write_text(f"1,2147483647,2,3,4,5\n\n{line}\n")
    with pytest.raises(Refused, match=r"cam\.txt, line 3"):
        read_mot(path)


def test_what_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cam.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(Refused, match="MOT text"):
        read_mot(tmp_path / "cam.txt")
    with pytest.raises(Refused, match="no MOT file"):
        read_mot(tmp_path / "other.txt")
    with pytest.raises(Refused, match="no folder"):
        write_mot(tmp_path / "away" / "cam.txt", read_mot_of(tmp_path, "1,1,1,1,1,1"))


def read_mot_of(folder: Path, text: str) -> MotTable:
    (folder / "given.txt").write_text(text)
    return read_mot(folder / "given.txt")
