"""Numbers that no machine can meet are refused in one sentence by every verb, before anything is read or written."""

from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from vreid.cli import recipes
from vreid.cli.main import VERBS, main
from vreid.models.errors import Refused, refuse_threads
from vreid.runtime.embedder import open_embedder

COMMANDS = {
    "train": "train teacher --data . --out OUT",
    "train student": "train student --data . --out OUT",
    "cache-teacher": "cache-teacher vreid-s --data . --out OUT.npz",
    "refit": "refit model.pt --data . --out OUT.pt",
    "eval": "eval vreid-s --data .",
    "quantize": "quantize vreid-s --data . --out OUT.onnx",
    "verify": "verify vreid-s --against vreid-s --data . --dry-run",
    "bench": "bench vreid-s",
    "run": "run synth://city?camera=1 --out OUT --enrol-unknown",
    "centre": "centre search OUT.toml north:1",
    "serve": "serve --gallery OUT.db --model vreid-s",
}


def kinds(arguments: Any) -> list[Any]:
    """The dataclasses of a verb or of its sub-verbs."""
    found = [part for member in get_args(arguments) for part in (get_args(member) or (member,))]
    return [part for part in found or [arguments] if hasattr(part, "__dataclass_fields__")]


def test_every_verb_with_threads_stands_in_this_test() -> None:
    having = set()
    for verb in VERBS:
        for kind in kinds(import_module(f"vreid.cli.{verb.replace('-', '_')}").Args):
            records = [entry.default_factory for entry in fields(kind) if is_dataclass(entry.default_factory)]
            if any(entry.name == "threads" for part in (kind, *records) for entry in fields(part)):
                having.add(verb)
    assert having - {"gallery"} == {words.split()[0] for words in COMMANDS.values()}  # gallery: by the engine


def refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and len(said.err) < 400, said.err
    assert list(tmp_path.iterdir()) == []
    return said.err


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("threads", [-1, 1025, 10**9, 10**23])
def test_threads_beyond_their_range(
    verb: str, threads: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    words = COMMANDS[verb].replace("OUT", str(tmp_path / "out")).split()
    said = refused([*words, "--threads", str(threads)], tmp_path, capsys)
    assert "--threads must be at least " in said and f"at most 1024, not {threads}" in said


@pytest.mark.parametrize("words", ["cache-teacher", "eval"])
def test_batches_beyond_their_range(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    line = COMMANDS[words].replace("OUT", str(tmp_path / "out")).split()
    for batch in (0, 1025, 10**23):
        assert "--batch must be at least 1 and at most 1024" in refused(
            [*line, "--batch", str(batch)], tmp_path, capsys
        )


def test_an_engine_has_the_same_range(colour_model: Path) -> None:
    for threads in (0, 1025, 10**12):
        with pytest.raises(Refused, match="threads must be at least 1 and at most 1024"):
            open_embedder(colour_model, threads)
    refuse_threads(0, least=0)
    refuse_threads(1024)


def test_too_little_memory_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(flags: object) -> int:
        raise MemoryError

    monkeypatch.setattr(recipes, "main", fails)
    assert "not enough memory" in refused(["recipes"], tmp_path, capsys)


@pytest.mark.parametrize(
    "words",
    [
        "bench vreid-s --rounds",
        "quantize vreid-s --data . --out OUT.onnx --images",
        "quantize vreid-s --data . --out OUT.onnx --validation-images",
        "verify vreid-s --against vreid-s --data . --dry-run --gallery-size",
        "demo --out OUT --cameras",
        "synth crops --out OUT --vehicles",
        "synth crops --out OUT --per-camera",
        "synth city --out OUT --cameras",
        "train teacher --recipe teacher_resnet18_small --data . --out OUT --epochs",
        "train teacher --recipe teacher_resnet18_small --data . --out OUT --log-every",
    ],
)
def test_counts_beyond_their_range(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    said = refused([*words.replace("OUT", str(tmp_path / "out")).split(), str(10**23)], tmp_path, capsys)
    assert (words.split()[-1] in said and "at most" in said) or "out of range" in said
