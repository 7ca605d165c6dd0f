"""A checkpoint in two files of half precision, and made of them again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stored_checkpoint import join, main, split

from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork

CONFIG = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.25}, classes=5)


def made(epoch: int = 3) -> Checkpoint:
    torch.manual_seed(epoch)
    weights = ReidNetwork(CONFIG).state_dict()
    weights["body.bn1.running_var"] += 300_000  # more than half precision holds
    return Checkpoint(CONFIG, weights, {"epoch": epoch, "classes": "ab"}, {"epochs": 3}, torch.arange(7))


def test_both_files_make_the_checkpoint_again(tmp_path: Path) -> None:
    whole = made()
    for name, part in zip("ab", split(whole), strict=True):
        save_checkpoint(part, tmp_path / name)
    again = join(load_checkpoint(tmp_path / "a"), load_checkpoint(tmp_path / "b"))
    assert again.config == CONFIG and again.metrics == whole.metrics and again.training is None
    assert again.trained is not None and again.trained.tolist() == list(range(7))
    assert again.weights.keys() == whole.weights.keys()
    for key, value in whole.weights.items():
        assert again.weights[key].dtype == value.dtype
        torch.testing.assert_close(again.weights[key], value, rtol=1e-3, atol=1e-4)
    pixels = torch.randint(0, 255, (2, 32, 32, 3), dtype=torch.uint8)
    one, other = (network_from(each, classifier=True)(pixels).logits for each in (whole, again))
    assert one is not None and other is not None
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_the_network_needs_no_classes() -> None:
    network, _ = split(made())
    assert not any(key.startswith("head.classifier.") for key in network.weights)
    assert network_from(network).embed(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 16)


def test_parts_that_make_no_checkpoint_are_refused() -> None:
    network, of_it = split(made(3))
    _, classes = split(made(4))
    with pytest.raises(Refused, match="two checkpoints"):
        join(network, classes)
    with pytest.raises(Refused, match="two checkpoints"):
        join(replace(network, config=replace(CONFIG, dim=8)), of_it)
    with pytest.raises(Refused, match="without the layer of its"):
        join(network, network)


def test_a_weight_that_half_precision_does_not_hold_is_refused() -> None:
    whole = made()
    whole.weights["head.embed.weight"][0, 0] = 1e5
    with pytest.raises(Refused, match=r"infinite numbers in head\.embed\.weight"):
        split(whole)


def test_no_part_takes_the_place_of_what_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_checkpoint(made(), tmp_path / "best.pt")

    def ran(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["stored_checkpoint.py", *map(str, words)])
        code = main()
        said = capsys.readouterr().err
        assert (code, said.count("\n")) in ((0, 0), (2, 1)), said
        return said

    content = (tmp_path / "best.pt").read_bytes()
    assert "would replace" in ran("split", tmp_path / "best.pt", "--out", tmp_path / "best")
    assert (tmp_path / "best.pt").read_bytes() == content and len(list(tmp_path.iterdir())) == 1
    assert ran("split", tmp_path / "best.pt", "--out", tmp_path / "m") == ""
    assert "would replace" in ran("join", tmp_path / "m", "--out", tmp_path / "m.pt")
    assert "there is no checkpoint" in ran("join", tmp_path / "n", "--out", tmp_path / "whole.pt")
    assert ran("join", tmp_path / "m", "--out", tmp_path / "whole.pt") == ""
