"""`vreid eval` says when it measures on what was learnt, and does not take a training list for a test part."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vreid.cli.main import main
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.datasets.table import read_dataset
from vreid.train.identity import keys_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(3, 2):
        noise = np.random.default_rng((vehicle, camera)).integers(0, 256, (16, 16, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{vehicle}_{camera}.png"), noise)
        rows.append(f"{vehicle}_{camera}.png,{vehicle},c{camera}")
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_folder_with_a_training_and_a_test_list_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "hsv", "--data", str(data)]) == 0
    for name in ("test.csv", "query.csv"):
        (data / name).write_text((data / "train.csv").read_text())
        capsys.readouterr()
        assert main(["eval", "hsv", "--data", str(data)]) == 2
        said = capsys.readouterr().err
        assert "train.csv" in said and name in said and said.count("\n") == 1
        assert main(["eval", "hsv", "--data", str(data / name)]) == 0


def test_measuring_on_what_was_learnt_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.125})
    weights = dict(ReidNetwork(config).state_dict())
    keys = torch.from_numpy(keys_of(read_dataset(data).train[:4]))
    for trained, count in ((keys, 4), (keys[:0], 0), (None, 0)):
        save_checkpoint(Checkpoint(config, weights, {}, trained=trained), data / "best.pt")
        capsys.readouterr()
        assert main(["eval", str(data / "best.pt"), "--data", str(data), "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["trained_on"] == count
        assert ("learnt from 4 of these 6 pictures" in said.err) == bool(count)
