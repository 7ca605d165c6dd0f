"""The exported graph computes what torch computes, at any batch, from raw pixels; and it is whole or not there."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx

from vreid.deploy import export
from vreid.deploy.export import least_cosine, onnx_from_checkpoint
from vreid.deploy.settings import ExportOptions
from vreid.models.checkpoint import Checkpoint, fingerprint_of, load_checkpoint, network_from, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Manifest, read_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.train.data.table import read_dataset

MATCH = {"threshold": 0.5, "false_match_rate": 0.01, "gallery": 50}


def trained() -> Checkpoint:
    """A small network whose batch norms have seen pictures and whose every weight is its own."""
    torch.manual_seed(0)
    config = NetworkConfig("resnet18", 32, 32, 24, "gem", 5, {"scale": 0.25})
    network = ReidNetwork(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    network.train()
    for _ in range(5):
        network(torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8))
    return Checkpoint(config, network.state_dict(), {"match": MATCH})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and what was exported of it."""
    folder = tmp_path_factory.mktemp("export")
    save_checkpoint(trained(), folder / "best.pt")
    onnx_from_checkpoint(folder / "best.pt", folder / "out" / "student.onnx")
    return folder


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return open_embedder(folder / "out" / "student.json")


@pytest.mark.parametrize("count", [1, 3, 32, 35])
def test_the_engine_agrees_with_torch_at_every_batch(folder: Path, embedder: Embedder, count: int) -> None:
    pictures = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    pictures[0] = 255 * (np.arange(32) > 9)[:, None, None]
    network = network_from(load_checkpoint(folder / "best.pt"))
    with torch.inference_mode():
        expected = network.embed(torch.from_numpy(pictures)).numpy()
    found = embedder.embed(list(pictures))
    assert found.dtype == np.float32 and found.shape == (count, 24)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_graph_takes_raw_pixels_and_any_batch(folder: Path) -> None:
    graph = onnx.load(str(folder / "out" / "student.onnx")).graph
    (given,), (out,) = graph.input, graph.output
    assert given.name == "images" and out.name == "embedding"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = given.type.tensor_type.shape.dim
    assert dims[0].dim_param and [dim.dim_value for dim in dims[1:]] == [32, 32, 3]
    assert [node.op_type for node in graph.node if "images" in node.input] == ["Cast"]
    assert next(node.op_type for node in graph.node if node.op_type != "Constant") == "Cast"
    assert not any("classifier" in tensor.name for tensor in graph.initializer)


def test_the_manifest_states_the_truth(folder: Path) -> None:
    stored = load_checkpoint(folder / "best.pt")
    manifest = read_manifest(folder / "out" / "student.json")
    network = network_from(stored)
    assert manifest.fingerprint == fingerprint_of(stored)
    assert manifest.made_from == sha256_of(folder / "best.pt")
    assert manifest.cost.params == sum(parameter.numel() for parameter in network.parameters())
    assert manifest.cost.flops == 2 * manifest.cost.macs > 0
    assert manifest.accuracy is None  # of the engine itself, and only when it was given data
    assert manifest.match is not None and manifest.match.model_dump() == MATCH
    assert (manifest.engine, manifest.input.batch, manifest.output.dim) == ("student.onnx", [1, 8, 32], 24)
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["student.json", "student.onnx"]


def test_the_cosine_is_one_for_the_same_network_and_less_for_another(folder: Path, embedder: Embedder) -> None:
    stored = load_checkpoint(folder / "best.pt")
    assert least_cosine(network_from(stored), embedder) > 0.9999
    weights = {**stored.weights, "head.embed.weight": stored.weights["head.embed.weight"].flip(0)}
    assert least_cosine(network_from(replace(stored, weights=weights)), embedder) < 0.9


def test_nothing_is_left_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(trained(), tmp_path / "best.pt")
    monkeypatch.setattr(export, "LEAST_COSINE", 1.5)  # which no network reaches
    with pytest.raises(Refused, match="disagrees"):
        onnx_from_checkpoint(tmp_path / "best.pt", tmp_path / "student.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["best.pt"]


def test_a_failed_export_leaves_the_earlier_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: sha256_of(file) for file in (folder / "out").iterdir()}
    monkeypatch.setattr(export, "LEAST_COSINE", 1.5)
    with pytest.raises(Refused, match="disagrees"):
        onnx_from_checkpoint(folder / "best.pt", folder / "out" / "student.onnx")
    assert {file.name: sha256_of(file) for file in (folder / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "batch", "said"),
    [("a.pt", (1, 8, 32), r"\.onnx"), ("a.onnx", (0, 8, 32), "rising"), ("a.onnx", (1, 8, 4), "rising")],
)
def test_a_wrong_request_is_refused(tmp_path: Path, name: str, batch: tuple[int, int, int], said: str) -> None:
    with pytest.raises(Refused, match=said):
        onnx_from_checkpoint(tmp_path / "best.pt", tmp_path / name, ExportOptions(batch))
    assert not list(tmp_path.iterdir())


def test_stdout_stays_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It belongs to the one JSON document of --json."""
    save_checkpoint(trained(), tmp_path / "best.pt")
    onnx_from_checkpoint(tmp_path / "best.pt", tmp_path / "student.onnx", ExportOptions((1, 2, 4)))
    assert capfd.readouterr().out == ""


def test_an_engine_that_is_not_the_manifests_is_refused(folder: Path, tmp_path: Path) -> None:
    """The hash agrees and the graph does not: other sizes, no graph at all."""
    source = folder / "out" / "student.onnx"
    good = read_manifest(folder / "out" / "student.json")

    def opened(manifest: Manifest, content: bytes) -> Embedder:
        (tmp_path / "student.onnx").write_bytes(content)
        whole = manifest.model_copy(update={"sha256": sha256_of(tmp_path / "student.onnx")})
        (tmp_path / "student.json").write_text(whole.model_dump_json(by_alias=True))
        return open_embedder(tmp_path / "student.json")

    taller = good.model_copy(update={"input": good.input.model_copy(update={"height": 64})})
    longer = good.model_copy(update={"output": good.output.model_copy(update={"dim": 25})})
    for manifest in (taller, longer):
        with pytest.raises(Refused, match="its manifest says"):
            opened(manifest, source.read_bytes())
    for content in (b"", b"no graph", source.read_bytes()[:1000]):
        with pytest.raises(Refused, match="cannot load"):
            opened(good, content)


def test_an_engine_of_whole_batches_is_filled_up(folder: Path, embedder: Embedder) -> None:
    """The manifest's least batch is what the engine gets, and nobody sees the filling."""
    seen: list[int] = []

    class Counted:
        def infer(self, pixels: np.ndarray) -> np.ndarray:
            seen.append(len(pixels))
            return embedder.engine.infer(pixels)

    rigid = embedder.manifest.model_copy(
        update={"input": embedder.manifest.input.model_copy(update={"batch": [4, 4, 4]})}
    )
    pictures = list(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8))
    found = Embedder(rigid, Counted()).embed(pictures)
    assert seen == [4, 4]
    np.testing.assert_allclose(found, embedder.embed(pictures), atol=1e-5)


def test_half_weights_are_half_the_file_and_nearly_the_same(folder: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    a, b = (
        onnx_from_checkpoint(folder / "best.pt", whole),
        onnx_from_checkpoint(folder / "best.pt", half, ExportOptions(half_weights=True)),
    )
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    assert (a.fingerprint, a.precision, b.precision) == (b.fingerprint, "fp32", "fp32")
    nodes = onnx.load(str(half)).graph.node
    assert next(node for node in nodes if node.op_type != "Constant").input[0] == "images"  # the Cast of the pixels
    pictures = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3)).astype(np.uint8) for seed in range(4)]
    embeds = [open_embedder(path.with_suffix(".json")).embed(pictures) for path in (whole, half)]
    cosines = (embeds[0] * embeds[1]).sum(1)
    assert cosines.min() > 0.9999 and not np.array_equal(*embeds)


def test_with_data_the_manifest_says_what_the_engine_reaches(folder: Path, tmp_path: Path) -> None:
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(4, 2):
        colour = np.random.default_rng(vehicle).integers(0, 256, 3)
        cv2.imwrite(str(tmp_path / f"{vehicle}{camera}.png"), np.full((20, 20, 3), colour, np.uint8))
        rows.append(f"{vehicle}{camera}.png,v{vehicle},c{camera}")
    (tmp_path / "flat.csv").write_text("\n".join(rows))
    data = read_dataset(tmp_path / "flat.csv")
    onnx_from_checkpoint(folder / "best.pt", tmp_path / "student.onnx", data=data)
    accuracy = read_manifest(tmp_path / "student.json").accuracy
    # the two pictures of a vehicle are alike, so each finds the other
    assert accuracy is not None and accuracy.model_dump() == {
        "dataset": data.name,
        "map": 100,
        "rank1": 100,
        "queries": 8,
    }
