"""Real pipes: a reader that leaves, a closed stream, a full disk. No traceback, no noise, and the command's own exit code."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main

VREID = (sys.executable, "-m", "vreid.cli.main")
VEHICLES = 3


class Place:
    """A gallery, a data set, a model and one of another fingerprint, which `verify` fails."""

    def __init__(self, folder: Path, model: Path) -> None:
        rows = ["path,vehicle,camera"]
        for vehicle, camera in np.ndindex(12, 2):
            colour = np.random.default_rng(vehicle).integers(20, 236, 3) + 5 * camera
            cv2.imwrite(str(folder / f"{vehicle}{camera}.png"), np.full((12, 12, 3), colour, np.uint8))
            rows.append(f"{vehicle}{camera}.png,v{vehicle},c{camera}")
        self.data, self.known, self.model, self.other = (
            folder / name for name in ("colours.csv", "known.db", "colour.json", "other.json")
        )
        self.data.write_text("\n".join(rows) + "\n")
        for file in model.parent.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        self.other.write_text(json.dumps(json.loads(self.model.read_text()) | {"fingerprint": "colour-2"}))
        for vehicle in range(VEHICLES):
            words = ["gallery", "enrol", str(folder / f"{vehicle}0.png"), "--name", f"car-{vehicle}", "--force"]
            assert main([*words, "--gallery", str(self.known), "--model", str(self.model)]) == 0

    def words(self, name: str) -> list[str]:
        where = f"--gallery {shlex.quote(str(self.known))}"
        against = f"--against {shlex.quote(str(self.model))} --data {shlex.quote(str(self.data))}"
        return shlex.split(
            {
                "help": "--help",
                "long help": "gallery --help",
                "version": "--version",
                "list": f"gallery list {where}",
                "document": f"gallery list {where} --json",
                "profile": "profile vreid-s --json",  # more than a pipe holds
                "eval": f"eval hsv --data {shlex.quote(str(self.data))}",
                "passes": f"verify {shlex.quote(str(self.model))} {against} --dry-run",
                "fails": f"verify {shlex.quote(str(self.other))} {against}",
                "refused": f"gallery show nobody {where}",
                "doctor": "doctor",
            }[name]
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, colour_model: Path) -> Place:
    return Place(tmp_path_factory.mktemp("pipes"), colour_model)


CODES = {
    "help": 0,
    "long help": 0,
    "version": 0,
    "list": 0,
    "document": 0,
    "profile": 0,
    "eval": 0,
    "passes": 0,
    "fails": 1,  # and not 0 because nobody read why
    "refused": 2,
}


LONG = ("profile", "eval", "passes", "fails")  # load models


def deserted(words: Sequence[str], stream: str) -> tuple[int, str]:
    """(exit code, what the other stream said) of a command to whose `stream` nobody listens from its first letter on."""
    read, write = os.pipe()
    os.close(read)
    other = "stderr" if stream == "stdout" else "stdout"
    try:
        done = subprocess.run(
            [*VREID, *words], **{stream: write, other: subprocess.PIPE}, text=True, timeout=120, check=False
        )
    finally:
        os.close(write)
    return done.returncode, getattr(done, other)


def shell(words: Sequence[str], rest: str) -> tuple[int, str, str]:
    """(exit code of the command itself, stdout, stderr) of `command rest` in a real shell."""
    line = f"{shlex.join([*VREID, *words])} {rest}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CODES]
)
def test_a_reader_that_is_gone_changes_nothing_but_what_is_read(place: Place, name: str) -> None:
    if name == "profile":
        pytest.importorskip("onnx")
    code, said = deserted(place.words(name), "stdout")
    assert code == CODES[name]
    for noise in ("Traceback", "Broken", "Exception ignored"):
        assert noise not in said
    if not code:
        assert "vreid:" not in said


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("eval", "fails")), "refused"]
)
def test_nobody_reads_what_goes_wrong(place: Place, name: str) -> None:
    code, said = deserted(place.words(name), "stderr")
    assert code == CODES[name]
    assert ("mAP" in said) == (name != "refused")


@pytest.mark.slow
def test_head_and_grep_get_only_rows_of_results(place: Place) -> None:
    code, out, err = shell(place.words("list"), "| head -1")
    assert (code, err) == (0, "") and out.count("\n") == 1
    code, out, err = shell(place.words("list"), "| grep car-1")
    assert (code, err) == (0, "") and out.count("\n") == 1 and "car-1" in out
    code, out, err = shell(place.words("eval"), "| head -1")
    assert (code, err) == (0, "") and "hsv" in out
    code, out, err = shell(place.words("fails"), "| head -1")
    assert code == 1 and err.startswith("vreid: ") and "Traceback" not in err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(place: Place, closed: str) -> None:
    content = place.known.read_bytes()
    for name in ("list", "refused"):
        code, out, err = shell(place.words(name), closed)
        assert code == CODES[name] and "Traceback" not in err
        assert (out != "") == (">&-" not in closed.split() and name != "refused")
    assert place.known.read_bytes() == content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["help", "list", "document"])
def test_results_that_cannot_be_written_are_refused_in_a_sentence(place: Place, name: str) -> None:
    code, _, err = shell(place.words(name), "> /dev/full")
    assert code == 2 and err.startswith("vreid: cannot use standard output (No space left") and err.count("\n") == 1


def test_a_child_of_a_shell_with_unbuffered_output_ends_well(place: Place) -> None:
    line = f"PYTHONUNBUFFERED=1 {shlex.join([*VREID, *place.words('list')])} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
