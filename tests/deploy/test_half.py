"""Half precision lies in the graph: a float16 body between float32 pixels and a float32 norm."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.graph import biases_moved, half_precision, half_stored, types_of
from vreid.deploy.lower import half_from
from vreid.deploy.precision import precision_of, shares_in
from vreid.deploy.settings import ExportOptions
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.preprocess import batch_of
from vreid.models.zoo import manifest_path
from vreid.runtime.embedder import open_embedder

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


def precision_in(path: Path) -> str:
    return precision_of(shares_in(path.read_bytes(), path))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small float32 student."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("half")
    network = ReidNetwork(NetworkConfig("resnet50", 32, 32, 16, "gem", options={"scale": 0.125}))
    network.train()
    for _ in range(3):
        network(torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8))
    save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), folder / "best.pt")
    onnx_from_checkpoint(folder / "best.pt", folder / "student.onnx")
    return folder / "student.json"


@pytest.fixture(scope="module")
def graph(student: Path) -> onnx.ModelProto:
    return onnx.load(str(student.with_suffix(".onnx")))


def run(model: onnx.ModelProto, pixels: np.ndarray = PICTURES) -> np.ndarray:
    out: np.ndarray = ort.InferenceSession(model.SerializeToString()).run(None, {"images": pixels})[0]
    return out


def test_the_body_is_half_and_both_ends_are_not(graph: onnx.ModelProto, tmp_path: Path) -> None:
    half = half_precision(graph)
    types = types_of(half)
    for node in half.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
        if node.op_type in ("Transpose", "Sub", "ReduceSum", "ReduceL2", "Sqrt"):
            assert types[node.output[0]] == TensorProto.FLOAT
    first = next(node for node in half.graph.node if "images" in node.input)
    assert first.op_type == "Cast" and types[first.output[0]] == TensorProto.FLOAT
    assert types["images"] == TensorProto.UINT8 and types["embedding"] == TensorProto.FLOAT
    claims = {"half": half, "plain": graph, "stored": half_stored(graph)}
    for name, model in claims.items():
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
    assert [precision_in(tmp_path / f"{name}.onnx") for name in claims] == ["fp16", "fp32", "fp32"]
    assert half.ByteSize() < 0.6 * graph.ByteSize()


def test_it_says_what_the_float_network_says(graph: onnx.ModelProto) -> None:
    wide, half, stored = run(graph), run(half_precision(graph)), run(half_precision(half_stored(graph)))
    assert (wide * half).sum(1).min() > 0.9999 and not np.array_equal(wide, half)
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(half, stored)  # weights that were stored in half are the same weights


def test_a_bias_that_takes_a_large_mean_away_costs_nothing() -> None:
    """Of the bundled network: the last convolution has biases of 400, of which float16 has quarters, before a ReLU6."""
    bundled = onnx.load(str(manifest_path("vreid-s").with_suffix(".onnx")))
    about = read_manifest(manifest_path("vreid-s")).input
    pixels = batch_of([picture for picture in PICTURES], about.height, about.width)
    wide, half = run(bundled, pixels), run(half_precision(bundled), pixels)
    assert (wide * half).sum(1).min() > 0.9998


def test_a_bias_is_moved_only_where_the_sums_stay_the_same() -> None:
    random = np.random.default_rng(0)
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (6, 4, 1, 1), "b2": (6,), "w3": (6, 6, 1, 1), "b3": (6,)}
    values = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values["b2"], values["b3"] = 100 * values["w2"][:, :, 0, 0].sum(1), values["b3"] + 100
    for padded in (0, 1):
        nodes = [
            helper.make_node("Conv", ["images", "w1", "b1"], ["first"], "one", pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["first", "w2", "b2"], ["second"], "two", pads=[padded] * 4),
            helper.make_node("Relu", ["second"], ["third"], "relu"),
            helper.make_node("Conv", ["third", "w3", "b3"], ["out"], "three"),
        ]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("images", "out")]
        tensors = [numpy_helper.from_array(array, name) for name, array in values.items()]
        model = helper.make_model(helper.make_graph(nodes, "two", ends[:1], ends[1:], tensors))
        model.ir_version, model.opset_import[0].version = 8, 17
        moved = onnx.ModelProto()
        moved.CopyFrom(model)
        biases_moved(moved.graph)
        left = {tensor.name: numpy_helper.to_array(tensor) for tensor in moved.graph.initializer}
        biases = [np.abs(left[node.input[2]]).max() for node in moved.graph.node if node.op_type == "Conv"]
        assert biases[2] > 90 and (biases[1] < 1 if not padded else biases[1] == np.abs(values["b2"]).max())
        pixels = random.normal(size=(2, 3, 8, 8)).astype(np.float32)
        np.testing.assert_allclose(run(moved, pixels), run(model, pixels), atol=1e-3)


def test_an_embedding_whose_squares_float16_cannot_hold_is_no_trouble(graph: onnx.ModelProto) -> None:
    large = onnx.ModelProto()
    large.CopyFrom(graph)
    scale = next(tensor for tensor in large.graph.initializer if "head.norm.weight" in tensor.name)
    values = 3000 * numpy_helper.to_array(scale)
    scale.CopyFrom(numpy_helper.from_array(values, scale.name))
    wide, half = run(large), run(half_precision(large))
    assert (wide * half).sum(1).min() > 0.9999


def test_what_cannot_be_halved_is_refused(graph: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="already"):
        half_precision(half_precision(graph))
    large = onnx.ModelProto()
    large.CopyFrom(graph)
    tensor = next(tensor for tensor in large.graph.initializer if len(tensor.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e5
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(Refused, match="65504"):
        half_precision(large)


def test_a_lowered_model_keeps_its_contract(student: Path, tmp_path: Path) -> None:
    made = half_from(student, tmp_path / "half.onnx").manifest
    before = read_manifest(student)
    assert made == read_manifest(tmp_path / "half.json")
    assert (made.precision, made.fingerprint, made.made_from) == ("fp16", before.fingerprint, before.made_from)
    assert open_embedder(tmp_path / "half.json").embed(list(PICTURES)).shape == (5, 16)
    with pytest.raises(Refused, match="float32"):
        half_from(tmp_path / "half.json", tmp_path / "quarter.onnx")
    with pytest.raises(Refused, match=r"\.onnx"):
        half_from(student, tmp_path / "half.engine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.json", "half.onnx"]


def test_export_writes_half_at_once(student: Path, tmp_path: Path) -> None:
    made = onnx_from_checkpoint(student.with_name("best.pt"), tmp_path / "half.onnx", ExportOptions(half=True))
    assert made.precision == "fp16" and precision_in(tmp_path / "half.onnx") == "fp16"
    with pytest.raises(Refused, match="half-weights"):
        onnx_from_checkpoint(
            student.with_name("best.pt"), tmp_path / "no.onnx", ExportOptions(half_weights=True, half=True)
        )
