"""The latency comparison compares like with like: OSNet is the paper's, every engine answers as torch, what fails says why."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnxsim", reason="the comparison exports its networks")

from vreid.deploy.settings import ExportOptions
from vreid.models.cost import cost_of, total_of
from vreid.models.network import Features, Head, NetworkConfig, Pixels, ReidNetwork, unit

NEEDS = {"ncnn": ("ncnn", "pnnx"), "OpenVINO": ("openvino",)}


@pytest.fixture(scope="module")
def script(bench: Path) -> ModuleType:
    return importlib.import_module("latency_peers")


class Tiny(nn.Module):
    """The parts of a ReidNetwork around two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.config = NetworkConfig("tiny", 24, 16, 8)
        self.pixels: nn.Module = Pixels()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1)
        )
        self.head = Head(16, 8)

    def forward(self, pixels: Tensor) -> Features:
        out: Features = self.head(self.body(self.pixels(pixels)))
        return out

    def embed(self, pixels: Tensor) -> Tensor:
        return unit(self(pixels).embedding)


@pytest.fixture(scope="module")
def tiny(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.manual_seed(0)
    networks = importlib.import_module("peer_networks")
    return networks.lowered("tiny", Tiny(), script.pictures(16), tmp_path_factory.mktemp("tiny"))


def ways(tiny: Any) -> dict[str, Any]:
    return {
        f"{way.engine} {way.form}".strip(): way for way in importlib.import_module("peer_engines").ways_of(tiny, True)
    }


def test_osnet_is_the_papers(bench: Path) -> None:
    network = importlib.import_module("osnet").OsNet()
    total = total_of(cost_of(network))
    assert round(total.macs / 1e6, 1) == 978.9  # table 1: 978.9 M multiply-adds, 2.2 M parameters
    assert round(total.params / 1e6, 1) == 2.2
    # 2 193 616 and 978 878 352 are what its authors' code prints, which counts biases as multiply-adds and the weights of the
    # gate, one for four streams, four times
    gates = {name: sum(one.numel() for one in module.parameters()) for name, module in network.named_modules()
             if name.endswith("gate")}  # fmt: skip
    assert total.params + 3 * sum(gates.values()) == 2_193_616
    biases = sum(len(one) for name, one in network.named_parameters() if name.endswith("bias") and ".gate." in name)
    assert total.macs + 4 * biases + network.config.dim == 978_878_352


def test_osnet_gives_unit_rows_of_512(bench: Path) -> None:
    network = importlib.import_module("osnet").OsNet(64, 32).eval()
    with torch.inference_mode():
        found = network.embed(torch.randint(0, 256, (2, 64, 32, 3), dtype=torch.uint8))
    assert found.shape == (2, 512)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    "name",
    ["torch eager plain", "torch eager channels_last", "OpenCV DNN", "ncnn", "ONNX Runtime", "OpenVINO"],
)
def test_an_engine_answers_as_torch(script: ModuleType, tiny: Any, name: str) -> None:
    """torch.compile, which needs half a minute for its first network, is checked by the script alone, as all its rows are."""
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module)
    row, run = script.opened(tiny, ways(tiny)[name], 1, 3)
    assert row.error is None and row.cosine > 0.9999
    assert run().shape == (3, 8)


def test_a_network_of_other_channel_order_is_no_quick_row(script: ModuleType, tiny: Any) -> None:
    plain = ways(tiny)["torch eager plain"]

    def swapped(subject: Any, threads: int, batch: int) -> Any:
        run, note = plain.open(subject, threads, batch)
        return lambda pixels: run(np.ascontiguousarray(pixels[..., ::-1])), note

    row, run = script.opened(tiny, replace(plain, open=swapped), 1, 1)
    assert run is None and "another answer" in row.error


def test_opencv_falls_back_to_planes_and_says_so(script: ModuleType, tiny: Any) -> None:
    row, run = script.opened(replace(tiny, graphs=()), ways(tiny)["OpenCV DNN"], 1, 2)
    assert run is not None and row.cosine > 0.9999 and "left out" in row.note


def test_every_row_stays_and_a_failed_one_has_its_reason(
    script: ModuleType, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)  # as if it were not installed
    without = replace(tiny, network=None)
    found = script.measured([(without, True)], 1, [1, 40], 1)
    best = {(row.engine, row.batch): row for row in found["rows"] if row.best}
    assert len(best) == 12
    assert "pip install ncnn" in best["ncnn", 1].error
    assert "checkpoint" in best["torch eager", 1].error and "checkpoint" in best["torch.compile", 1].error
    assert "32 pictures" in best["ONNX Runtime", 40].error
    timed = best["ONNX Runtime", 1]
    assert timed.error is None and 0 < timed.p50_ms <= timed.p90_ms <= timed.p99_ms
    assert timed.peak_share == pytest.approx(2 * timed.macs / timed.p50_ms / 1e6 / found["gemm"]["gflops"])
    assert script.markdown(found["rows"]).count("\n") == 13


def test_models_of_one_embedding_space_are_one_network(script: ModuleType, tmp_path: Path) -> None:
    networks = importlib.import_module("peer_networks")
    from vreid.deploy.export import onnx_from_checkpoint
    from vreid.models.checkpoint import Checkpoint, save_checkpoint

    torch.manual_seed(0)
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.05}))
    save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), tmp_path / "small" / "best.pt")
    onnx_from_checkpoint(tmp_path / "small" / "best.pt", tmp_path / "half.onnx", ExportOptions(half=True))
    given = [str(tmp_path / "half.json"), str(tmp_path / "small" / "best.pt")]
    (subject,) = networks.subjects_of(given, tmp_path)
    assert [graph.manifest.precision for graph in subject.graphs] == ["fp32", "fp16"]
