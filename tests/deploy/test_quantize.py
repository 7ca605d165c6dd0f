"""INT8 in the two forms that engines take, calibrated on training pictures; the layer that INT8 spoils is found and spared."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

import onnx
import torch
from onnx import TensorProto, numpy_helper

from vreid.cli.main import main
from vreid.deploy.build.table import read_source
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.graph import prepared
from vreid.deploy.lower import int8_from
from vreid.deploy.precision import precision_of, shares_in
from vreid.deploy.quantize import (
    OUTLIER,
    LayerGain,
    Quantization,
    calibration_pictures,
    chosen,
    kept_float,
    quantised,
    quantised_in,
    sensitivities,
)
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Input, read_manifest, write_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.preprocess import Embed, Image
from vreid.models.zoo import manifest_path
from vreid.runtime.embedder import open_embedder
from vreid.runtime.engines.onnxruntime import EXACT_INT8
from vreid.train.data.records import Dataset, Item
from vreid.train.evaluate import Embedded, embedded

SIZE = Input(height=32, width=32, batch=[1, 8, 32])


def precision_in(path: Path) -> str:
    return precision_of(shares_in(path.read_bytes(), path))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """20 vehicles of a colour and a place of their own, 6 grainy pictures of each from 3 cameras; the test part is a trap."""
    folder = tmp_path_factory.mktemp("pictures")
    items = []
    for vehicle in range(20):
        own = np.random.default_rng(vehicle)
        colour, corner = own.integers(60, 256, 3), own.integers(2, 14, 2)
        for place in range(6):
            noise = np.random.default_rng((vehicle, place)).normal(40, 20, (40, 40, 3))
            noise[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20] += colour * (0.6 + 0.1 * place)
            path = folder / f"{vehicle}_{place}.png"
            cv2.imwrite(str(path), noise.clip(0, 255).astype(np.uint8))
            items.append(Item(path, str(vehicle), str(place % 3)))
    trap = (Item(folder / "never read.png", "1", "1"),)
    return Dataset("drawn", tuple(items), trap, trap)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> Path:
    """The manifest of a small float32 student whose batch norms know the pictures."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("int8")
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 24, options={"scale": 0.25}))
    batches, _ = calibration_pictures(data, Quantization(images=64), SIZE)
    network.train()
    for _ in range(5):
        for batch in batches:
            network(torch.from_numpy(batch))
    save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), folder / "best.pt")
    onnx_from_checkpoint(folder / "best.pt", folder / "student.onnx")
    return folder / "student.json"


@pytest.fixture(scope="module")
def plain(student: Path) -> onnx.ModelProto:
    return prepared(onnx.load(str(student.with_suffix(".onnx"))))


def runs(model: onnx.ModelProto) -> Embed:
    options = ort.SessionOptions()
    options.add_session_config_entry(*EXACT_INT8)
    session = ort.InferenceSession(model.SerializeToString(), options)

    def embed(pictures: object) -> np.ndarray:
        out: np.ndarray = session.run(None, {"images": np.stack(list(pictures))})[0]  # type: ignore[call-overload]
        return out

    return embed


def spoiled(plain: onnx.ModelProto, node: str) -> onnx.ModelProto:
    """The same function with one channel 60 times as large before the layer `node` and its weights so much smaller: a ReLU
    hands factors on, a scale for the whole tensor does not stand it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(plain)
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    after = next(item for item in copy.graph.node if item.name == node)
    relu = next(item for item in copy.graph.node if after.input[0] in item.output)
    before = next(item for item in copy.graph.node if relu.input[0] in item.output)
    assert (before.op_type, relu.op_type, after.op_type) == ("Conv", "Relu", "Conv")
    for item, place, axis, factor in ((before, 1, 0, 60), (before, 2, 0, 60), (after, 1, 1, 1 / 60)):
        tensor = tensors[item.input[place]]
        values = numpy_helper.to_array(tensor).copy()
        values[(slice(None),) * axis + (0,)] *= factor
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return copy


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("method", ["average", "minmax", "percentile"])
def test_int8_says_nearly_what_float_says(
    plain: onnx.ModelProto, data: Dataset, target: str, method: str, tmp_path: Path
) -> None:
    rules = Quantization(target, 48, 0, method, "no")  # type: ignore[arg-type]
    batches, _ = calibration_pictures(data, rules, SIZE)
    int8 = quantised(plain, batches, rules)
    onnx.save(int8, str(tmp_path / "int8.onnx"))
    assert precision_in(tmp_path / "int8.onnx") == "int8"
    wide, narrow = runs(plain)(batches[0]), runs(int8)(batches[0])
    cosines = (wide * narrow).sum(1)
    assert cosines.min() > 0.8 and cosines.mean() > 0.97 and not np.array_equal(wide, narrow)
    with pytest.raises(Refused, match="already"):
        quantised(int8, batches, rules)


def test_tensorrt_gets_no_int32_and_no_zero_point(plain: onnx.ModelProto, data: Dataset) -> None:
    rules = Quantization("tensorrt", 32)
    graph = quantised(plain, calibration_pictures(data, rules, SIZE)[0], rules).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = stored[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
        assert node.input[0] not in stored or stored[node.input[0]].dtype == np.int8


def test_cpu_gets_bytes_and_with_a_reduced_range_weights_of_7_bits(plain: onnx.ModelProto, data: Dataset) -> None:
    for reduced, most in ((True, 64), (False, 127)):
        rules = Quantization("cpu", 32, reduce_range="yes" if reduced else "no")
        graph = quantised(plain, calibration_pictures(data, rules, SIZE)[0], rules).graph
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        kinds = {stored[node.input[2]].dtype for node in graph.node if node.op_type == "QuantizeLinear"}
        weights = [array for array in stored.values() if array.dtype == np.int8 and array.ndim == 4]
        assert kinds == {np.dtype(np.uint8)} and weights
        assert most - 1 <= max(int(np.abs(array.astype(int)).max()) for array in weights) <= most


def test_pixels_and_norm_stay_in_float(plain: onnx.ModelProto, data: Dataset) -> None:
    rules = Quantization("cpu", 32, reduce_range="no")
    graph = quantised(plain, calibration_pictures(data, rules, SIZE)[0], rules).graph
    maker = {name: node.op_type for node in graph.node for name in node.output}
    assert next(node.op_type for node in graph.node if "images" in node.input) == "Cast"
    for node in graph.node:
        if node.op_type in ("Transpose", "Gather", "Sub", "Pow", "ReduceSum", "ReduceL2", "Sqrt"):
            assert "DequantizeLinear" not in {maker.get(name) for name in node.input}, node.name


def test_the_draw_is_seeded_hashed_and_from_train_only(data: Dataset) -> None:
    digests = [calibration_pictures(data, Quantization(images=20, seed=seed), SIZE)[1] for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert sum(map(len, calibration_pictures(data, Quantization(images=10**6), SIZE)[0])) == 120
    with pytest.raises(Refused, match="no training pictures"):
        calibration_pictures(replace(data, train=()), Quantization(), SIZE)
    with pytest.raises(Refused, match="--images"):
        calibration_pictures(data, Quantization(images=0), SIZE)


VICTIM = "/network/body/layer3/layer3.1/conv2/Conv"


@dataclass(frozen=True)
class Spoiled:
    """The graph with a spoiled layer, in INT8, what it was calibrated on, and what each layer loses; not to be changed."""

    bad: onnx.ModelProto
    int8: onnx.ModelProto
    batches: list[Image]
    layers: list[LayerGain]


@pytest.fixture(scope="module")
def judged(plain: onnx.ModelProto, data: Dataset) -> Spoiled:
    bad, rules = spoiled(plain, VICTIM), Quantization("cpu", 48, reduce_range="no")
    batches, _ = calibration_pictures(data, rules, SIZE)
    int8 = quantised(bad, batches, rules)
    return Spoiled(bad, int8, batches, sensitivities(bad, int8, batches, runs))


@pytest.mark.slow
def test_the_spoiled_layer_is_found_and_in_float_the_rest_may_be_int8(plain: onnx.ModelProto, judged: Spoiled) -> None:
    bad, int8, batches, layers = judged.bad, judged.int8, judged.batches, judged.layers
    np.testing.assert_allclose(runs(bad)(batches[0]), runs(plain)(batches[0]), atol=1e-4)
    assert layers[0].name == VICTIM and layers[0].share > 0.25 and layers[0].share > 4 * layers[1].share
    assert sorted(layer.name for layer in layers) == sorted(quantised_in(int8))
    spared = kept_float(int8, bad, [VICTIM])
    wide = runs(bad)(batches[0])
    lost = [1 - float((runs(model)(batches[0]) * wide).sum(1).mean()) for model in (int8, spared)]
    assert lost[1] < 0.6 * lost[0]
    in_float = {tensor.name for tensor in spared.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    convs = {node.name: node for node in spared.graph.node if node.op_type == "Conv"}
    assert [name for name, node in convs.items() if node.input[1] in in_float] == [VICTIM]
    all_float = kept_float(int8, bad, quantised_in(int8))
    np.testing.assert_allclose(runs(all_float)(batches[0]), wide, atol=1e-3)  # biases keep their 32 bits


@pytest.mark.slow
def test_outliers_are_kept_and_as_few_others_as_meet_the_loss(data: Dataset, judged: Spoiled) -> None:
    part = Dataset("v", (), data.train, data.train)
    bad, int8, layers = judged.bad, judged.int8, judged.layers
    outliers = sum(layer.share >= OUTLIER for layer in layers)
    assert 1 <= outliers < len(layers)

    def embeds(model: onnx.ModelProto) -> tuple[Embedded, Embedded]:
        embed = runs(model)
        return embedded(part, lambda pictures: embed([cv2.resize(picture, (32, 32)) for picture in pictures]))

    easy = chosen(bad, int8, layers, embeds, most=100.0)
    assert (easy.kept, easy.met, len(easy.trials)) == (outliers, True, 1) and VICTIM in easy.names()
    most = easy.trials[0].bound / 2
    assert most > 0
    hard = chosen(bad, int8, layers, embeds, most)
    bounds = {trial.kept: trial.bound for trial in hard.trials}
    assert hard.met and hard.kept > outliers and bounds[hard.kept] <= most < bounds[hard.kept - 1]
    never = chosen(bad, int8, layers, embeds, most=-100.0)
    assert not never.met and never.kept == len(never.layers) == len(quantised_in(int8))


@pytest.mark.slow
def test_a_large_mean_that_a_bias_takes_away_takes_no_range(data: Dataset, tmp_path: Path) -> None:
    """The bundled network with 50 more in what its last convolution is given, and as much less in that one's biases."""
    bundled, rules = read_manifest(manifest_path("vreid-s")), Quantization("cpu", 48, reduce_range="no")
    graph = prepared(onnx.load(str(manifest_path("vreid-s").with_suffix(".onnx"))))
    last = [node for node in graph.graph.node if node.op_type == "Conv"][-1]
    before = next(node for node in graph.graph.node if last.input[0] in node.output)
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    weights = numpy_helper.to_array(tensors[last.input[1]])
    for name, more in ((before.input[2], 50.0), (last.input[2], -50.0 * weights.sum((1, 2, 3)))):
        values = numpy_helper.to_array(tensors[name]) + more
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    onnx.save(graph, str(tmp_path / "shifted.onnx"))
    about = {"engine": "shifted.onnx", "sha256": sha256_of(tmp_path / "shifted.onnx"), "made_from": None}
    write_manifest(bundled.model_copy(update=about), tmp_path / "shifted.json")
    int8_from(tmp_path / "shifted.json", tmp_path / "int8.onnx", data, rules, None)
    batches, _ = calibration_pictures(data, rules, bundled.input)
    wide = runs(graph)(batches[0])
    models = (quantised(graph, batches, rules), onnx.load(str(tmp_path / "int8.onnx")))
    lost = [1 - float((runs(model)(batches[0]) * wide).sum(1).mean()) for model in models]
    assert lost[1] < 0.5 * lost[0], lost


@pytest.mark.slow
def test_a_quantised_model_keeps_its_contract(student: Path, data: Dataset, tmp_path: Path) -> None:
    made = int8_from(student, tmp_path / "int8.onnx", data, Quantization("tensorrt", 24), 100.0, validation_images=40)
    before, after = read_manifest(student), read_manifest(tmp_path / "int8.json")
    assert made.manifest == after and made.choice is not None and made.choice.met
    assert (after.precision, after.fingerprint, after.made_from) == ("int8", before.fingerprint, before.made_from)
    assert after.accuracy is None and after.match == before.match  # verify measures them anew
    calibration = after.calibration
    assert calibration is not None and (calibration.images, calibration.target) == (24, "tensorrt")
    assert open_embedder(tmp_path / "int8.json").embed([np.zeros((9, 9, 3), np.uint8)]).shape == (1, 24)
    with pytest.raises(Refused, match="float32"):
        int8_from(tmp_path / "int8.json", tmp_path / "again.onnx", data, Quantization())
    with pytest.raises(Refused, match="allow more"):
        int8_from(student, tmp_path / "no.onnx", data, Quantization(images=16), -100.0, validation_images=40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.json", "int8.onnx"]


def test_a_foreign_embedder_with_a_manifest_is_quantised_too(
    plain: onnx.ModelProto, student: Path, data: Dataset, tmp_path: Path
) -> None:
    """Another exporter's habits: nodes without names, weights as Constants, an input of another name."""
    foreign = onnx.ModelProto()
    foreign.CopyFrom(plain)
    weights = list(foreign.graph.initializer)
    constants = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in weights]
    nodes = list(foreign.graph.node)
    for node in nodes:
        node.name = ""
        node.input[:] = ["crops" if name == "images" else name for name in node.input]
    foreign.graph.input[0].name = "crops"
    del foreign.graph.node[:], foreign.graph.initializer[:]
    foreign.graph.node.extend([*constants, *nodes])
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    manifest = read_manifest(student)
    about = {"engine": "foreign.onnx", "sha256": sha256_of(tmp_path / "foreign.onnx"), "made_from": None}
    given = manifest.input.model_copy(update={"name": "crops"})
    write_manifest(manifest.model_copy(update={**about, "input": given}), tmp_path / "foreign.json")
    int8_from(tmp_path / "foreign.json", tmp_path / "int8.onnx", data, Quantization(images=24, reduce_range="no"), None)
    pictures = [cv2.imread(str(item.path)) for item in data.train[:8]]
    wide, narrow = (open_embedder(tmp_path / f"{name}.json").embed(pictures) for name in ("foreign", "int8"))
    assert (wide * narrow).sum(1).mean() > 0.97 and precision_in(tmp_path / "int8.onnx") == "int8"


def test_the_verb(student: Path, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{item.path},{item.vehicle},{item.camera},train" for item in data.train]
    (tmp_path / "own.csv").write_text("path,vehicle,camera,split\n" + "\n".join(rows) + "\n")
    words = ["quantize", str(student), "--data", str(tmp_path / "own.csv"), "--for", "tensorrt", "--images", "16"]
    assert main([*words, "--out", str(tmp_path / "int8.onnx"), "--every-layer", "--json"]) == 0
    said = capsys.readouterr().out
    assert '"precision": "int8"' in said and '"choice": null' in said
    assert main([*words, "--out", str(tmp_path / "int8.engine")]) == 2
    assert ".onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_less_than_half_in_int8_is_warned_of_and_refused_by_build(
    student: Path, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A head that is more work than all convolutions before it, and stays in float as every head does
    heavy = onnx.load(str(student.with_suffix(".onnx")))
    for node in heavy.graph.node:
        node.output[:] = ["was" if name == "embedding" else name for name in node.output]
    wide = np.random.default_rng(0).normal(0, 0.01, (24, 160_000)).astype(np.float32)
    heavy.graph.initializer.extend([numpy_helper.from_array(wide, "wide"), numpy_helper.from_array(wide.T, "back")])
    make = onnx.helper.make_node
    heavy.graph.node.extend([make("MatMul", ["was", "wide"], ["much"]), make("MatMul", ["much", "back"], ["less"])])
    heavy.graph.node.append(make("LpNormalization", ["less"], ["embedding"], axis=1, p=2))
    onnx.save(heavy, str(tmp_path / "heavy.onnx"))
    about = {"name": "heavy", "engine": "heavy.onnx", "sha256": sha256_of(tmp_path / "heavy.onnx")}
    write_manifest(read_manifest(student).model_copy(update=about), tmp_path / "heavy.json")
    rows = [f"{item.path},{item.vehicle},{item.camera},train" for item in data.train]
    (tmp_path / "own.csv").write_text("path,vehicle,camera,split\n" + "\n".join(rows) + "\n")
    for model, enough in ((student, True), (tmp_path / "heavy.json", False)):
        out = tmp_path / f"{model.stem}-int8.onnx"
        words = ["quantize", str(model), "--data", str(tmp_path / "own.csv"), "--images", "16", "--every-layer"]
        assert main([*words, "--out", str(out), "--json"]) == 0
        said = capsys.readouterr()
        found = json.loads(said.out)
        assert found["shares"] == shares_in(out.read_bytes(), out) and (found["shares"]["int8"] >= 0.5) == enough
        assert main([*words, "--out", str(out)]) == 0
        assert (
            "next, on vehicles that" in capsys.readouterr().err
        ) == enough  # what verify would refuse is not sent there
        if enough:
            assert found["warning"] is None and "warning" not in said.err
            assert read_source(out.with_suffix(".json")).manifest.precision == "int8"
        else:
            assert f"vreid: warning: {found['warning']}" in said.err and "of the MACs are in INT8" in found["warning"]
            assert "--every-layer" not in found["warning"]  # it was given
            with pytest.raises(Refused, match=r"computes in FP32 and its manifest claims INT8.*of the MACs"):
                read_source(out.with_suffix(".json"))
