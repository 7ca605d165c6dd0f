"""Weights are read from safetensors files, and one that is missing, damaged or holds NaN is refused in a sentence."""

import sys
from pathlib import Path

import pytest
import torch

from vreid.models.checkpoint import imagenet_weights, is_safetensors, load_body
from vreid.models.errors import Refused
from vreid.models.resnet import resnet

save_file = pytest.importorskip("safetensors.torch", reason="the extra train is not installed").save_file


@pytest.mark.parametrize("name", ["weights.safetensors", "WEIGHTS.SafeTensors"])
def test_safetensors_fill_a_body(name: str, tmp_path: Path) -> None:
    body = resnet("resnet18", {"scale": 0.0625})
    weights = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in body.state_dict().items()
    }
    save_file({**weights, "fc.weight": torch.rand(10, 32)}, tmp_path / name)
    load_body(body, imagenet_weights("resnet18", str(tmp_path / name)))
    assert all(torch.equal(value, weights[key]) for key, value in body.state_dict().items())


def test_safetensors_come_from_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    for _ in range(2):  # the second time from torch's cache
        assert list(imagenet_weights("resnet18", (tmp_path / "w.safetensors").as_uri())) == ["conv1.weight"]
        (tmp_path / "w.safetensors").unlink(missing_ok=True)
    with pytest.raises(Refused, match="absent"):
        imagenet_weights("resnet18", (tmp_path / "absent.safetensors").as_uri())
    assert is_safetensors("https://example.org/a/W.safetensors?download=true")
    assert not is_safetensors("https://example.org/weights.pth?like=w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_nan_in_safetensors_is_named(dtype: torch.dtype, tmp_path: Path) -> None:
    bad = torch.tensor([1.0, float("nan")]).to(dtype)
    save_file({"conv1.weight": torch.ones(2), "bn1.weight": bad}, tmp_path / "w.safetensors")
    with pytest.raises(Refused, match=r"infinite numbers in bn1\.weight"):
        imagenet_weights("resnet18", str(tmp_path / "w.safetensors"))


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(2, 8)}, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "torch.pt")
    for content in (
        b"",
        b"{}",
        whole[:-3],
        whole[:20],
        whole[:8] + b"[" + whole[9:],
        (tmp_path / "torch.pt").read_bytes(),
    ):
        (tmp_path / "w.safetensors").write_bytes(content)
        with pytest.raises(Refused, match=r"w\.safetensors is not a complete safetensors file"):
            imagenet_weights("resnet18", str(tmp_path / "w.safetensors"))
    with pytest.raises(Refused, match="there are no weights at"):
        imagenet_weights("resnet18", str(tmp_path / "absent.safetensors"))


def test_safetensors_without_the_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(Refused, match=r"pip install 'vreid\[train\]'"):
        imagenet_weights("resnet18", str(tmp_path / "w.safetensors"))
