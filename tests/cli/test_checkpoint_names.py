"""A checkpoint is one whether it ends in .pt or .pth, in any case, in every verb that takes one; the others say what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxsim")

from shape_network import drawn, trained

from vreid.cli.main import main
from vreid.deploy.export import onnx_from_checkpoint
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.network import ReidNetwork
from vreid.train.recipes.bundled import recipe_named

SUFFIXES = (".pt", ".pth", ".PTH")
TRAINING = ("--epochs", "1", "--threads", "1", "--device", "cpu", "--validation", "0", "--size", "32")
# Each verb and flag that takes a checkpoint; C stands for it, W for one of the teacher's body, D for the data, O for a file or
# folder to write, M for a manifest.
VERBS = {
    "eval": "eval C --data D --json",
    "profile": "profile C --json",
    "bench": "bench C --rounds 1 --batches 1 --json",
    "cache-teacher": "cache-teacher C --data D --out O.npz --json",
    "export": "export C --out O.onnx --json",
    "verify": "verify M --against C --data D --dry-run --json",
    "train --weights": "train teacher --recipe teacher_resnet18_small --weights W --data D --out O",
    "train --teacher": "train student --recipe student_resnet18_small --teacher C --data D --out O",
}
REFUSING = {
    "run": "run F --model C --out O",
    "quantize": "quantize C --data D --out O.onnx",
    "build": "build C --engine onnxruntime --out O.json",
    "verify": "verify C --against M --data D",
    "gallery": "gallery enrol F --gallery O.db --model C",
}
Place = Callable[[str, str, Path], list[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The words of a verb, with a checkpoint of that suffix."""
    folder = tmp_path_factory.mktemp("names")
    rows = ["path,vehicle,camera"]
    for vehicle, camera, picture in np.ndindex(16, 2, 2):
        name = f"{vehicle}_{camera}_{picture}.png"
        assert cv2.imwrite(str(folder / name), drawn(vehicle, camera, picture))
        rows.append(f"{name},{vehicle},c{camera}")
    (folder / "shapes.csv").write_text("\n".join(rows) + "\n")
    save_checkpoint(trained(), folder / "best.pt")
    body = recipe_named("teacher_resnet18_small").network
    save_checkpoint(Checkpoint(body, ReidNetwork(body).state_dict(), {}), folder / "body.pt")
    onnx_from_checkpoint(folder / "best.pt", folder / "lowered.onnx")

    def words(line: str, suffix: str, out: Path) -> list[str]:
        checkpoint, body = folder / f"model{suffix}", folder / f"body{suffix}"
        shutil.copy(folder / "best.pt", checkpoint)
        if suffix != ".pt":
            shutil.copy(folder / "body.pt", body)
        known = {
            "C": checkpoint,
            "W": body,
            "D": folder / "shapes.csv",
            "M": folder / "lowered.json",
            "F": folder / "1_0_0.png",
            "O": out / "made",
            ".": folder,
        }
        found = []
        for word in line.split():
            stem, dot, rest = word.partition(".")
            here = known.get(word) or (f"{known[stem]}{dot}{rest}" if stem in known and dot else word)
            found.append(str(here))
        return found

    return words


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=pytest.mark.slow) if verb == "bench" else verb for verb in VERBS]
)
def test_every_verb_takes_a_checkpoint_by_each_of_its_endings(
    place: Place, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in SUFFIXES if not verb.startswith("train") else SUFFIXES[1:2]:
        out = tmp_path / suffix
        out.mkdir()
        words = place(VERBS[verb], suffix, out)
        code = main([*words, *(TRAINING if verb.startswith("train") else ())])
        said = capsys.readouterr()
        assert code == 0, said.err
        if verb in ("eval", "teach"):
            assert json.loads(said.out)["backend"] == "torch"
        if verb == "bench":
            assert json.loads(said.out)["models"][0]["backend"] == "torch"


@pytest.mark.parametrize("verb", REFUSING)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_verb_that_needs_a_manifest_says_how_to_make_one(
    place: Place, verb: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(place(REFUSING[verb], suffix, tmp_path)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"model{suffix} is a checkpoint" in said and "vreid export" in said
    assert list(tmp_path.iterdir()) == []
