"""`vreid train` with several data sets: their shares of an epoch, and vehicles held out by group."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.checkpoint import load_checkpoint

WORDS = ["--recipe", "teacher_resnet18_small", "--epochs", "1", "--threads", "1", "--device", "cpu", "--size", "32"]
BATCH = ["--p", "3", "--k", "2"]


@pytest.fixture
def noises(tmp_path: Path) -> Callable[..., Path]:
    """noises(name, vehicles) -> a CSV data set of two pictures a vehicle; groups of three vehicles each by their names."""

    def make(name: str, vehicles: int, groups: str = "") -> Path:
        rows = ["path,vehicle,camera,group"]
        for vehicle, camera in np.ndindex(vehicles, 2):
            picture = tmp_path / f"{name}_{vehicle}_{camera}.png"
            seed = (len(name), vehicle, camera)
            noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
            assert cv2.imwrite(str(picture), noise)
            rows.append(f"{picture.name},{vehicle},c{camera},{groups[vehicle // 3] if groups else ''}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
        return tmp_path / f"{name}.csv"

    return make


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence of a `vreid train teacher` that ended with 2."""
    capsys.readouterr()
    assert main(["train", "teacher", *WORDS, *BATCH, *map(str, words)]) == 2
    return capsys.readouterr().err


def test_data_sets_are_weighed_and_a_resumed_training_wants_the_same_shares(
    capsys: pytest.CaptureFixture[str], noises: Callable[..., Path], tmp_path: Path
) -> None:
    one, other, out = noises("one", 6), noises("another", 9), tmp_path / "run"
    sets = ["--data", f"{one}=3", "--data", f"{other}=1", "--validation", "0", "--out", str(out)]
    assert main(["train", "teacher", *WORDS, *BATCH, *sets]) == 0
    kept = load_checkpoint(out / "last.pt").training
    assert kept is not None and kept["shares"] == "0.75 0.25"
    sets[1] = f"{one}=1"
    assert "was made with other shares of the data sets" in refused(capsys, *sets, "--resume")
    assert "give every data set a share over 0" in refused(capsys, "--data", one, *sets[2:4], "--out", tmp_path / "a")
    sets[1] = f"{one}=0"
    assert "give every data set a share over 0" in refused(capsys, *sets[:4], "--out", tmp_path / "b")


def test_shares_that_no_epoch_has_are_refused(
    capsys: pytest.CaptureFixture[str], noises: Callable[..., Path], tmp_path: Path
) -> None:
    one, two, out = noises("many", 9), noises("few", 2), tmp_path / "run"
    words = ["--validation", "0", "--out", out]
    for first, second, says in (
        (1, 9, "the share of 'few' is 90% of a batch of 3 vehicles, and it has 2; give it less, or lower --p"),
        (9, 0.001, "the share of 'few' is too small for an epoch of 3 batches; give it more, or leave it out"),
    ):
        assert says in refused(capsys, "--data", f"{one}={first}", "--data", f"{two}={second}", *words)
    assert not out.exists()


def test_a_path_that_is_there_is_no_share(noises: Callable[..., Path], tmp_path: Path) -> None:
    named = noises("even", 6).rename(tmp_path / "even=2")
    (folder := tmp_path / "set=2").mkdir()
    for picture in tmp_path.glob("*.png"):
        picture.rename(folder / picture.name)
    named.rename(folder / "train.csv")
    words = ["--data", str(folder), "--validation", "0", "--out", str(tmp_path / "run")]
    assert main(["train", "teacher", *WORDS, *BATCH, *words]) == 0
    kept = load_checkpoint(tmp_path / "run" / "last.pt").training
    assert kept is not None and kept["shares"] == ""


def test_a_share_of_groups_that_holds_none_out_is_refused_with_one_that_does(
    capsys: pytest.CaptureFixture[str], noises: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["--data", noises("fleet", 9, "abc"), "--out", tmp_path / "run"]
    said = refused(capsys, *words, "--validation", "0.001")
    assert "no group of vehicles is held out by the share 0.001 and the seed 0; give --validation 0." in said
    share = said.split("--validation ")[1].split()[0]
    assert main(["train", "teacher", *WORDS, *BATCH, *map(str, words), "--validation", share]) == 0
    stored = load_checkpoint(tmp_path / "run" / "last.pt")
    assert (
        stored.config.classes == 6 and "fleet" in stored.metrics["validation"]
    )  # one group of three vehicles is held out
