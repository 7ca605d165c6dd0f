"""`vreid eval` says when it measures on what was learnt, and does not take a training list for a test part."""

import json
from pathlib import Path

import pytest
import torch
from made_data import noise_set

from vreid.cli.main import main
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.data.records import keys_of
from vreid.train.data.table import read_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return noise_set(tmp_path, "train.csv", vehicles=3, side=16, suffix="png")


def test_the_test_part_of_a_folder_is_measured_and_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measured() -> tuple[int, int, str]:
        capsys.readouterr()
        assert main(["eval", "hsv", "--data", str(data), "--json"]) == 0
        said = capsys.readouterr()
        figures = json.loads(said.out)
        return figures["queries"], figures["gallery"], said.err

    assert measured()[:2] == (6, 6)
    lines = (data / "train.csv").read_text().splitlines()
    (data / "test.csv").write_text("\n".join(lines[:3]) + "\n")
    queries, gallery, said = measured()
    assert (queries, gallery) == (2, 2) and f"measured on {data / 'test.csv'}" in said
    (data / "query.csv").write_text("\n".join([lines[0], lines[3]]) + "\n")
    (data / "test.csv").rename(data / "gallery.csv")
    (data / "gallery.csv").write_text("\n".join([lines[0], lines[3], lines[4]]) + "\n")
    queries, gallery, said = measured()
    assert (queries, gallery) == (1, 2) and "query.csv and " in said
    (data / "query.csv").unlink()
    assert main(["eval", "hsv", "--data", str(data)]) == 2
    assert "not a clear test part" in capsys.readouterr().err


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
