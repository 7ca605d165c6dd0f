"""--seed has one range in every verb: what lies outside is refused in a sentence before anything is read or written."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from vreid.cli.main import VERBS, main
from vreid.runtime.sources.table import open_source

COMMANDS = {
    "train teacher": "train teacher --data . --out OUT",
    "train student": "train student --data . --out OUT",
    "refit": "refit model.pt --data . --out OUT.pt",
    "quantize": "quantize vreid-s --data . --out OUT.onnx",
    "synth city": "synth city --out OUT",
    "synth crops": "synth crops --out OUT",
    "demo": "demo --out OUT",
}


def kinds(arguments: Any) -> list[Any]:
    """The dataclasses of a verb or of its sub-verbs."""
    found = [part for member in get_args(arguments) for part in (get_args(member) or (member,))]
    return [part for part in found or [arguments] if hasattr(part, "__dataclass_fields__")]


def test_every_verb_with_a_seed_stands_in_this_test() -> None:
    having = set()
    for verb in VERBS:
        for kind in kinds(import_module(f"vreid.cli.{verb.replace('-', '_')}").Args):
            inner = [
                entry.default_factory
                for entry in fields(kind)
                if hasattr(entry.default_factory, "__dataclass_fields__")
            ]
            if any(entry.name == "seed" for part in (kind, *inner) for entry in fields(part)):
                having.add(verb)
    assert having == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seed", [-1, -(2**70), 2**64, 2**70])
def test_a_seed_beyond_its_range_is_refused_in_a_sentence(
    command: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command.startswith(("train", "refit", "quantize")):
        pytest.importorskip("torch")
        pytest.importorskip("onnx")
    words = COMMANDS[command].replace("OUT", str(tmp_path / "out")).split()
    assert main([*words, "--seed", str(seed)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"vreid: --seed {seed} is out of range; give 0 to 18446744073709551615")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seed", ["seven", "1.5", "0x10", ""])
def test_a_seed_that_is_not_a_number_is_refused(
    command: str, seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = COMMANDS[command].replace("OUT", str(tmp_path / "out")).split()
    with pytest.raises(SystemExit) as end:
        main([*words, "--seed", seed])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == "" and "--seed" in said.err and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_large_seed_keeps_all_its_digits_in_an_address() -> None:
    largest, next_one = (
        next(iter(open_source(f"synth://city?cameras=1&seconds=0.5&vehicles=2&seed={seed}"))).image
        for seed in (2**64 - 1, 2**64 - 2)
    )
    assert not np.array_equal(largest, next_one)


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("command", ["synth city", "synth crops"])
def test_the_ends_of_the_range_are_in_it(command: str, seed: int, tmp_path: Path) -> None:
    few = ["--seconds", "0.5"] if command == "synth city" else ["--per-camera", "1"]
    words = COMMANDS[command].replace("OUT", str(tmp_path / "out")).split()
    assert main([*words, *few, "--vehicles", "2", "--cameras", "1", "--seed", str(seed)]) == 0
