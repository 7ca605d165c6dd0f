"""Ground truth of others: JSON and pickles give the same, hostile pickles do nothing, what does not fit is refused."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ground_truth_json import convert, main, plain_content
from landmarks import Landmarks, Query, read_landmarks

from vreid.models.errors import Refused


def read(path: Path) -> Landmarks:
    """The ground truth in a JSON file, or in a pickle that is converted first."""
    if path.suffix != ".pkl":
        return read_landmarks(path)
    convert(path, path.with_suffix(".made.json"))
    return read_landmarks(path.with_suffix(".made.json"))


def truth(**changes: Any) -> dict[str, Any]:
    marks = {"bbx": [1.5, 2, 30, 40.25], "easy": [0, 3], "hard": [], "junk": [1], **changes}
    return {"imlist": ["a", "b", "c/d", "e"], "qimlist": ["q", "r"], "gnd": [marks, {**marks, "easy": [2]}]}


def as_arrays(content: dict[str, Any]) -> dict[str, Any]:
    marks = [{key: np.array(value) for key, value in each.items()} for each in content["gnd"]]
    for each in marks:
        each["hard"] = np.array([], np.int64)
        each["easy"] = [np.int64(row) for row in each["easy"]]
        each["junk"] = each["junk"].astype(">i4")
    return {"imlist": np.array(content["imlist"]), "qimlist": np.array(content["qimlist"], object), "gnd": marks}


@pytest.mark.parametrize("protocol", range(6))
def test_json_and_pickles_of_every_protocol_give_the_same(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "gnd.json").write_text(json.dumps(truth()))
    (tmp_path / "lists.pkl").write_bytes(pickle.dumps(truth(), protocol))
    old = pickle.dumps(as_arrays(truth()), protocol)
    (tmp_path / "arrays.pkl").write_bytes(old)
    expected = Landmarks(
        ("a", "b", "c/d", "e"),
        (Query("q", (1.5, 2, 30, 40.25), (0, 3), (), (1,)), Query("r", (1.5, 2, 30, 40.25), (2,), (), (1,))),
    )
    assert [read(tmp_path / name) for name in ("gnd.json", "lists.pkl", "arrays.pkl")] == [expected] * 3
    if protocol < 4:  # names stand in lines there: as numpy 1 wrote them
        (tmp_path / "one.pkl").write_bytes(old.replace(b"numpy._core.", b"numpy.core."))
        assert read(tmp_path / "one.pkl") == expected


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.said = (call, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.said


class Foreign:
    """A class that unpickling would make, state and all."""

    def __init__(self) -> None:
        self.value = 1


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickles_are_refused_by_name_and_do_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "gnd.pkl"
    system = Runs(os.system, f"touch '{mark}'")
    hostile: list[tuple[object, str]] = [
        (system, "system"),
        ({**truth(), "extra": [({"deep": system},)]}, "system"),
        (truth(easy=np.array([system], object)), "system"),
        (Runs(open, str(mark), "w"), "open"),
        (Runs(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (Runs(getattr, "", "join"), "getattr"),
        (Foreign(), "_reconstructor" if protocol < 2 else "Foreign"),
        (Path("x"), "Path"),
        ({1, 2}, "set" if protocol < 4 else "EMPTY_SET"),
    ]
    for content, named in hostile:
        path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(Refused, match=named):
            read(path)
    pickle.loads(pickle.dumps(system, protocol))
    assert mark.exists(), "the test's own bomb works"


def test_pickles_written_by_hand_cannot_reach_further(tmp_path: Path) -> None:
    path = tmp_path / "gnd.pkl"
    by_hand = [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",  # a dotted name
        b"\x80\x02cnumpy\nndarray\n)R.",  # ndarray itself called
        b"\x80\x02cnumpy\ndtype\n}\x8c\x01aK\x01sb.",  # a state for a function
        b"\x80\x02cnumpy\ndtype\n\x8c\x02O8\x85RK\x03\x85b.",
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n)\x81.",  # NEWOBJ
        b"Pname\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"K\x01s.",  # its hash would overflow the stack
        b"\x80\x04Nr\xff\xff\xff\xff.",  # a slot far away: legal, and costs nothing here
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a string longer than memory
        b"\x80\x04",
        b"",
        b"no pickle",
    ]
    for content in by_hand:
        path.write_bytes(content)
        with pytest.raises(Refused):
            read(path)
    again = (
        b"\x80\x02c_codecs\nencode\nq\x00X"
        + struct.pack("<I", 2**21)
        + 2**21 * b"a"
        + b"X\x06\x00\x00\x00latin1\x86q\x01"
    )
    path.write_bytes(again + 200 * b"h\x00h\x01R" + b".")  # a small file that makes 400 MiB of one argument
    with pytest.raises(Refused, match="makes more than ground truth holds"):
        plain_content(path)
    path.write_bytes(again + 3 * b"h\x00h\x01R" + b".")
    content = plain_content(path)
    assert isinstance(content, bytes) and len(content) == 2**21
    forged = pickle.dumps(np.array(["x"], object), 3)
    at = forged.index(b"]")  # the list of the objects; numpy can be made to take bytes in its place for pointers
    path.write_bytes(forged[:at] + b"C\x08AAAAAAAA" + b"tb.")
    with pytest.raises(Refused):
        plain_content(path)


def test_cut_pickles_are_refused_wherever_they_end(tmp_path: Path) -> None:
    content = pickle.dumps(as_arrays(truth()), 4)
    random = np.random.default_rng(1)
    for end in range(0, len(content), 7):
        (tmp_path / "gnd.pkl").write_bytes(content[:end])
        with pytest.raises(Refused):
            read(tmp_path / "gnd.pkl")
        changed = bytearray(content)
        changed[end] = int(random.integers(256))
        (tmp_path / "gnd.pkl").write_bytes(changed)
        with suppress(Refused):  # some changes are of a letter in a name
            read(tmp_path / "gnd.pkl")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "needs 'imlist'"),
        ({"imlist": ["a"], "qimlist": ["q"]}, "'gnd'"),
        ({**truth(), "gnd": truth()["gnd"][:1]}, "as long as 'qimlist'"),
        ({**truth(), "imlist": ["a", 1]}, "list of names"),
        ({**truth(), "imlist": ["a", "a", "b", "c"]}, "twice"),
        ({**truth(), "qimlist": ["q", "../../etc/passwd"]}, "not a picture in the folder"),
        ({**truth(), "imlist": ["/a", "b", "c", "d"]}, "not a picture in the folder"),
        (truth(easy=[4]), "from 0 to 3"),
        (truth(easy=[-1]), "from 0 to 3"),
        (truth(hard=[1.0]), "whole numbers"),
        (truth(hard=[True]), "whole numbers"),
        (truth(hard="12"), "whole numbers"),
        (truth(junk=[0]), "twice"),
        (truth(hard=[2, 2]), "twice"),
        (truth(bbx=[1, 2, 3]), "four numbers"),
        (truth(bbx=[1, 2, float("nan"), 4]), "four numbers"),
        (truth(bbx=[5, 2, 3, 4]), "no pixels"),
        (truth(bbx=None), "four numbers"),
    ],
)
def test_content_that_does_not_fit_is_refused(tmp_path: Path, content: object, why: str) -> None:
    (tmp_path / "gnd.json").write_text(json.dumps(content))
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(content))
    for name in ("gnd.json", "gnd.pkl"):
        with pytest.raises(Refused, match=why) as said:
            read(tmp_path / name)
        assert name.partition(".")[0] in str(said.value) and "\n" not in str(said.value)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for missing in ("deep.json", "none.pkl", "."):
        with pytest.raises(Refused):
            read(tmp_path / missing)


def test_the_script_converts_a_file_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(truth()))
    monkeypatch.setattr("sys.argv", ["ground_truth_json.py", str(tmp_path / "gnd.pkl"), str(tmp_path / "gnd.json")])
    assert main() == 0 and len(read_landmarks(tmp_path / "gnd.json").queries) == 2
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(b"bytes"))
    assert main() == 2
    with pytest.raises(Refused, match=r"is not JSON; make it of a pickle with python bench/ground_truth_json\.py"):
        read_landmarks(tmp_path / "gnd.pkl")
