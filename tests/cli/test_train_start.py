"""`vreid train --start`, `--resume --epochs`, `--recipe FILE.toml` and `vreid recipes`: what is done, said and refused."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vreid.cli.main import main
from vreid.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.recipes.bundled import RECIPES

TINY = """
base = "teacher_resnet18_small"
p = 4
k = 2
epochs = 2
[network]
height = 32
width = 32
dim = 16
options.scale = 0.125
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.toml, data.csv of 6 vehicles, few.csv of 5 of them, and a training of tiny.toml in run/."""
    place = tmp_path_factory.mktemp("starts")
    (place / "tiny.toml").write_text(TINY)
    rows = ["path,vehicle,camera"]
    for vehicle, camera, picture in np.ndindex(6, 2, 2):
        name = f"{vehicle}_{camera}_{picture}.png"
        noise = np.random.default_rng((vehicle, camera, picture)).integers(0, 256, (24, 24, 3), np.uint8)
        assert cv2.imwrite(str(place / name), noise)
        rows.append(f"{name},{vehicle},c{camera}")
    (place / "data.csv").write_text("\n".join(rows) + "\n")
    (place / "few.csv").write_text("\n".join(rows[:21]) + "\n")
    assert trained(place, place / "run") == 0
    return place


def trained(folder: Path, out: Path, *words: object, data: str = "data.csv", recipe: str = "tiny.toml") -> int:
    given = ["--recipe", folder / recipe if recipe.endswith(".toml") else recipe, "--data", folder / data, "--out", out]
    common = ["--validation", 0, "--threads", 1, "--device", "cpu"]
    return main(["train", "teacher", *map(str, (*given, *common, *words))])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one sentence of a command that ended with 2."""
    said = capsys.readouterr()
    assert code == 2 and said.out == "" and said.err.startswith("vreid: ") and said.err.count("\n") == 1, said
    return said.err


def test_a_recipe_is_listed_and_printed_and_a_file_is_trained(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in RECIPES)
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipes"].keys() == RECIPES.keys()
    for word in (folder / "tiny.toml", folder / "run" / "last.pt"):  # the recipe of a training is that of its file
        assert main(["recipes", str(word)]) == 0
        text = capsys.readouterr().out
        assert text.startswith("epochs = 2\n") and 'body = "resnet18"' in text and "scale = 0.125" in text
        (tmp_path / "printed.toml").write_text(text)
        assert main(["recipes", str(tmp_path / "printed.toml"), "--json"]) == 0
        assert (
            json.loads(capsys.readouterr().out)["recipe"]
            == load_checkpoint(folder / "run" / "last.pt").metrics["recipe"]
        )
    assert "there is no recipe 'none'" in refused(capsys, main(["recipes", "none"]))
    plain = replace(load_checkpoint(folder / "run" / "last.pt"), metrics={})
    save_checkpoint(plain, tmp_path / "plain.pth")
    assert "plain.pth does not name the recipe" in refused(capsys, main(["recipes", str(tmp_path / "plain.pth")]))


def test_flags_apply_on_top_of_a_file(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    (folder / "wrong.toml").write_text(TINY + "depth = 3\n")
    assert "wrong.toml, line 11: there is no setting network.depth" in refused(
        capsys, trained(folder, tmp_path / "run", recipe="wrong.toml")
    )
    words = ["--lr", 0.01, "--p", 3, "--size", "32x48", "--dim", 8, "--epochs", 1, "--json"]
    assert trained(folder, tmp_path / "run", *words) == 0
    recipe = json.loads(capsys.readouterr().out)["recipe"]
    assert [recipe[name] for name in ("lr", "p", "k", "epochs", "planned")] == [0.01, 3, 2, 1, 2]
    assert (recipe["network"]["width"], recipe["network"]["dim"], recipe["network"]["options"]["scale"]) == (
        48,
        8,
        0.125,
    )
    again = [*words[:-1], "--resume"]
    assert "another p; resume" in refused(capsys, trained(folder, tmp_path / "run", *again, "--p", 2))
    assert trained(folder, tmp_path / "run", *again) == 0


@pytest.mark.slow
def test_a_finished_training_is_trained_longer(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert trained(folder, out, "--epochs", 1) == 0
    capsys.readouterr()
    assert "of a training of 1 epochs, and the recipe has 2; give --epochs 1" in refused(
        capsys, trained(folder, out, "--resume")
    )
    assert trained(folder, out, "--resume", "--epochs", 1) == 0
    assert "the training is done, 1 of 1 epochs" in capsys.readouterr().out
    assert trained(folder, out, "--resume", "--epochs", 3) == 0
    assert "the training goes on after epoch 1 to epoch 3 instead of 1; its learning rate" in capsys.readouterr().out
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(record["epoch"], "note" in record) for record in log] == [(1, False), (2, True), (3, False)]
    assert "3 of 3 epochs done, so the training cannot end after 2" in refused(
        capsys, trained(folder, out, "--resume", "--epochs", 2)
    )
    assert trained(folder, out, "--resume", "--epochs", 4, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["recipe"]["epochs"] == 4 and "goes on after epoch 3" in said.err


@pytest.mark.parametrize(
    "suffix", ["pt", pytest.param("pth", marks=pytest.mark.slow), pytest.param("PTH", marks=pytest.mark.slow)]
)
def test_a_checkpoint_is_begun_as(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str
) -> None:
    start = tmp_path / f"start.{suffix}"
    save_checkpoint(replace(load_checkpoint(folder / "run" / "best.pt"), training=None), start)
    capsys.readouterr()
    words = ["--start", start, "--epochs", 1]
    # with the recipe of another network, and one that asks for ImageNet weights
    for number, (recipe, data) in enumerate((("teacher_resnet18_small", "data.csv"), ("teacher_mobilenet", "few.csv"))):
        out = tmp_path / str(number)
        assert trained(folder, out, *words, "--p", 4, "--k", 2, recipe=recipe, data=data) == 0
        said = capsys.readouterr()
        assert "begins as the checkpoint's network (resnet18, 32x32 pixels, 16 dimensions), " in said.out
        assert ("its classifier too" if number == 0 else "with a new classifier") in said.out
        kept = load_checkpoint(out / "best.pt")
        assert (kept.config.height, kept.config.dim, kept.config.classes) == (32, 16, 6 - number)
        assert kept.trained is not None and len(kept.trained) == 24
    assert trained(folder, tmp_path / "2", *words, "--size", 48, "--dim", 16) == 0  # another size fits every network
    assert load_checkpoint(tmp_path / "2" / "best.pt").config.height == 48
    assert trained(folder, tmp_path / "2", *words, "--size", 48, "--resume") == 0


def test_a_start_that_cannot_be_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    best, out = folder / "run" / "best.pt", tmp_path / "never"
    stored = load_checkpoint(best)
    weights = {key: value.clone() for key, value in stored.weights.items()}
    weights["head.embed.weight"][3, 5] = float("nan")
    save_checkpoint(replace(stored, weights=weights), tmp_path / "nan.pt")
    torch.save(stored.weights, tmp_path / "bare.pt")
    for words, says in (
        (["--start", best, "--dim", 8], f"--dim 8 does not fit {best}, whose embedding has 16"),
        (["--start", best, "--weights", best], "give one of the two"),
        (["--start", tmp_path / "none.pt"], "there is no checkpoint"),
        (["--start", "vreid-s"], "--start takes a checkpoint (.pt or .pth) of vreid train, not vreid-s"),
        (["--start", tmp_path / "w.safetensors"], "weights of a body only are for --weights"),
        (["--start", tmp_path / "bare.pt"], "is not a checkpoint of this vreid"),
        (["--start", tmp_path / "nan.pt"], "NaN or infinite numbers in head.embed.weight"),
    ):
        assert says in refused(capsys, trained(folder, out, *words))
    student = ["train", "student", "--recipe", "cdd2_resnet50_small", "--data", folder / "data.csv", "--out", out]
    said = refused(capsys, main([str(word) for word in (*student, "--teacher", best, "--start", best)]))
    assert "begins as its teacher (inherit), so it takes no --start" in said
    assert not out.exists()


def test_a_pruned_checkpoint_is_fine_tuned(folder: Path, tmp_path: Path) -> None:
    inner = [[[5], [7]], [[8], [9]], [[10], [11]], [[12], [13]]]
    config = NetworkConfig("resnet18", 32, 32, 16, classes=3, options={"scale": 0.125, "inner": inner})
    save_checkpoint(Checkpoint(config, ReidNetwork(config).state_dict(), {}), tmp_path / "pruned.pt")
    assert trained(folder, tmp_path / "run", "--start", tmp_path / "pruned.pt") == 0
    assert load_checkpoint(tmp_path / "run" / "best.pt").config.options["inner"] == inner
