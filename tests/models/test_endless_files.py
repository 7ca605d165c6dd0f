"""A pipe or a device in place of a file is refused in a sentence, and never waited for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vreid.cli.main import main

COMMANDS = {
    "eval hsv --data FIFO": "is a pipe, a socket or a device",
    "eval hsv --data /dev/null": "is a pipe, a socket or a device",
    "eval FIFO --data .": "",
    "adopt FIFO --out out.onnx": "it is a pipe, a socket or a device",
    "adopt /dev/zero --out out.onnx": "it is a pipe, a socket or a device",
    "gallery enrol FIFO.jpg --gallery g.db --model vreid-s": "it is a pipe, a socket or a device",
    "gallery enrol /dev/zero --gallery g.db --model vreid-s": "it is a pipe, a socket or a device",
    "recipes FIFO.toml": "it is a pipe, a socket or a device",
    "run synth://city?camera=1&seconds=2&vehicles=2 --out out --enrol-unknown --topology FIFO": "it is a pipe, a socket",
}


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """A read that waits for ever is a failure of the test and not of its run."""

    def waited(number: int, frame: object) -> None:
        pytest.fail("it waited for the pipe")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    for name in ("FIFO", "FIFO.jpg", "FIFO.toml"):
        os.mkfifo(tmp_path / name)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("vreid: ") and said.err.count("\n") == 1
    assert COMMANDS[command] in said.err
