"""An engine is built of what the ONNX says, once, and again when something of its key changed; on every engine of this machine."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
import torch

from vreid.cli.main import main
from vreid.deploy.build.engine import built_manifest, engine_from_onnx
from vreid.deploy.build.table import BUILDERS, read_source
from vreid.deploy.build.tensorrt import (
    begin_timing,
    keep_timing,
    layers_of,
    parsed,
    put_on_dla,
    refuse_dla,
    serialised,
    timing_name,
)
from vreid.deploy.build.torch_tensorrt import open_torch_tensorrt, plan_from_checkpoint
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.graph import half_precision
from vreid.deploy.lower import half_from
from vreid.deploy.quantize import quantised
from vreid.deploy.settings import BuildOptions, ExportOptions, Quantization
from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Accuracy, Calibration, Manifest, read_manifest, write_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.runtime.embedder import open_embedder
from vreid.runtime.engines.devices import driver
from vreid.runtime.engines.table import ENGINES

NO_GPU = not driver().devices
PICTURES = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3)).astype(np.uint8)
Graph = onnx.ModelProto
# precision -> the graph of a float32 graph, in the form that TensorRT takes
GRAPHS: dict[str, Callable[[Graph], Graph]] = {
    "fp32": lambda graph: graph,
    "fp16": half_precision,
    "int8": lambda graph: quantised(graph, [PICTURES[:16], PICTURES[16:32]], Quantization("tensorrt")),
}
LIKE = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.97}  # least cosine to the float32 graph: a small, untrained network


def lowered(source: Path, graph: Graph, precision: str, out: Path) -> Path:
    """`graph` at `out` (.onnx) with the contract of `source` for `precision`; the manifest's path."""
    onnx.save(graph, str(out))
    about = {"name": out.stem, "engine": out.name, "sha256": sha256_of(out), "precision": precision}
    write_manifest(read_manifest(source).model_copy(update=about), out.with_suffix(".json"))
    return out.with_suffix(".json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its export, and that in every precision: fp32.json, fp16.json, int8.json. Not to be written to."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("built")
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.25}))
    network.train()
    for _ in range(3):
        network(torch.from_numpy(PICTURES[:16]))
    save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), folder / "student.pt")
    manifest = onnx_from_checkpoint(folder / "student.pt", folder / "student.onnx", ExportOptions((1, 2, 4)))
    reached = Accuracy(dataset="synthetic", map=71.5, rank1=90.0, queries=20)
    write_manifest(manifest.model_copy(update={"accuracy": reached}), folder / "student.json")
    for precision, make in GRAPHS.items():
        graph = make(onnx.load(str(folder / "student.onnx")))
        lowered(folder / "student.json", graph, precision, folder / f"{precision}.onnx")
    return folder


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A test's own copy of the float32 model."""
    for name in ("student.onnx", "student.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path / "student.json"


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


# TensorRT for RTX: the real parser and builder, with no GPU


@pytest.mark.parametrize("precision", GRAPHS)
def test_rtx_builds_every_precision_ahead_of_time(folder: Path, tmp_path: Path, rtx: Any, precision: str) -> None:
    out = tmp_path / f"{precision}.json"
    built = engine_from_onnx(folder / f"{precision}.json", "tensorrt_rtx", out)
    source, manifest = read_manifest(folder / f"{precision}.json"), read_manifest(out)
    assert built.fresh and manifest == built.manifest and manifest.backend == "tensorrt_rtx"
    assert manifest.built_for == {
        "onnx": source.sha256,
        "precision": precision,
        "profile": "1 2 4",
        "device": "any RTX",
        "compute_capability": "default",
        "tensorrt_rtx": rtx.__version__,
    }
    assert manifest.fingerprint == source.fingerprint and manifest.made_from == source.made_from
    assert manifest.accuracy is None  # another engine's says nothing of this one
    share = (tmp_path / manifest.engine).stat().st_size / (folder / "fp32.onnx").stat().st_size
    # of INT8 the size says nothing here: layers as narrow as these seem to stay in float
    assert share < {"fp32": 1.3, "fp16": 0.8, "int8": 1.3}[precision]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{precision}.engine", f"{precision}.json"]


@pytest.mark.parametrize("precision", GRAPHS)
def test_the_network_is_typed_as_the_graph_and_its_batch_is_dynamic(folder: Path, rtx: Any, precision: str) -> None:
    found = parsed(rtx, read_source(folder / f"{precision}.json"))
    pixels = found.network.get_input(0)
    assert (pixels.name, pixels.dtype, tuple(pixels.shape)) == ("images", rtx.DataType.UINT8, (-1, 32, 32, 3))
    assert found.network.num_outputs == 1 and found.network.get_output(0).dtype == rtx.DataType.FLOAT
    assert found.config.num_optimization_profiles == 1 and not found.config.get_flag(rtx.BuilderFlag.TF32)
    layers = layers_of(found.network)
    kinds = {layer.get_output(0).dtype for layer in layers if layer.type == rtx.LayerType.CONVOLUTION}
    assert kinds == {rtx.DataType.HALF if precision == "fp16" else rtx.DataType.FLOAT}
    assert any(layer.type == rtx.LayerType.QUANTIZE for layer in layers) == (precision == "int8")


def test_rtx_builds_for_chosen_capabilities(model: Path, rtx: Any) -> None:
    built = engine_from_onnx(model, "tensorrt_rtx", options=BuildOptions(capabilities=("8.9", "8.6")))
    assert built.manifest.built_for is not None and built.manifest.built_for["compute_capability"] == "8.6 8.9"
    with pytest.raises(Refused, match=r"not build for compute capability 8\.7; choose of 7\.5"):
        engine_from_onnx(model, "tensorrt_rtx", options=BuildOptions(capabilities=("8.7",)))  # an Orin is no RTX


def test_int8_for_a_cpu_is_not_for_tensorrt(folder: Path, tmp_path: Path, rtx: Any) -> None:
    graph = quantised(onnx.load(str(folder / "student.onnx")), [PICTURES[:16]], Quantization("cpu", reduce_range="no"))
    path = lowered(folder / "student.json", graph, "int8", tmp_path / "cpu.onnx")
    with pytest.raises(Refused, match=r"cannot take .*cpu\.onnx .*Int32.*--for tensorrt"):
        engine_from_onnx(path, "tensorrt_rtx")
    assert engine_from_onnx(path, "onnxruntime").fresh  # which is what it is for
    about = {"dataset": "synthetic", "images": 16, "seed": 0, "sha256": "0" * 64, "method": "average", "target": "cpu"}
    calibration = Calibration(**about, kept_float=[])  # type: ignore[arg-type]
    write_manifest(read_manifest(path).model_copy(update={"calibration": calibration}), path)
    with pytest.raises(Refused, match="is INT8 for a CPU, in a form that TensorRT's parser does not take"):
        engine_from_onnx(path, "tensorrt_rtx")


# The cache


def test_what_did_not_change_is_up_to_date_and_what_did_is_named(model: Path, rtx: Any) -> None:
    def build(**options: Any) -> tuple[bool, tuple[str, ...], int]:
        built = engine_from_onnx(model, "tensorrt_rtx", **options)
        assert read_manifest(built.path) == built.manifest
        return built.fresh, built.why, built.path.with_name(built.manifest.engine).stat().st_mtime_ns

    first = build()
    assert first[:2] == (True, ())
    assert build() == (False, (), first[2])
    forced = build(force=True)
    assert forced[:2] == (True, ()) and forced[2] > first[2]
    assert build(options=BuildOptions(capabilities=("8.9",)))[:2] == (
        True,
        ("compute_capability was default and is 8.9",),
    )
    assert build()[1] == ("compute_capability was 8.9 and is default",)
    engine = model.with_name("student.tensorrt_rtx.engine")
    engine.write_bytes(engine.read_bytes()[:-1])
    assert build()[:2] == (True, ("student.tensorrt_rtx.json and its engine are no longer complete",))
    source = read_manifest(model)
    wider = source.model_copy(update={"input": source.input.model_copy(update={"batch": [1, 4, 8]})})
    write_manifest(wider, model)
    assert build()[:2] == (True, ("profile was 1 2 4 and is 1 4 8",))


def test_what_was_measured_on_an_engine_stays_with_it(model: Path) -> None:
    path = engine_from_onnx(model, "openvino").path
    reached = Accuracy(dataset="synthetic", map=70.5, rank1=89.0, queries=20)
    write_manifest(read_manifest(path).model_copy(update={"accuracy": reached}), path)
    assert not engine_from_onnx(model, "openvino").fresh
    assert read_manifest(path).accuracy == reached


# Engines that are the ONNX file


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", GRAPHS)
def test_an_engine_of_the_cpu_is_the_onnx_and_embeds_alike(
    folder: Path, tmp_path: Path, engine: str, precision: str
) -> None:
    pytest.importorskip(engine)
    built = engine_from_onnx(folder / f"{precision}.json", engine, tmp_path / "deeper" / "there.json")
    assert built.tried and built.manifest.built_for is None and built.manifest.backend == engine
    assert sha256_of(tmp_path / "deeper" / f"{precision}.onnx") == read_manifest(folder / f"{precision}.json").sha256
    plain, found = (open_embedder(path) for path in (folder / "student.json", built.path))
    for count in (1, 3, 9):
        cosines = (plain.infer(PICTURES[:count]) * found.infer(PICTURES[:count])).sum(1)
        assert cosines.min() > LIKE[precision]


def test_openvino_equals_onnxruntime(folder: Path, tmp_path: Path) -> None:
    """Which it does not where it computes in bfloat16, its own choice on a CPU that can."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    built = engine_from_onnx(folder / "student.json", "openvino", tmp_path / "ov.json")
    plain, found = open_embedder(folder / "student.json"), open_embedder(built.path)
    for count in (1, 2, 5, 48):
        np.testing.assert_allclose(found.infer(PICTURES[:count]), plain.infer(PICTURES[:count]), atol=1e-4)


def test_next_to_the_model_the_onnx_is_shared(model: Path) -> None:
    built = engine_from_onnx(model, "onnxruntime")
    assert built.path == built_manifest(model, "onnxruntime") == model.with_name("student.onnxruntime.json")
    assert built.manifest.engine == "student.onnx" and built.manifest.accuracy == read_manifest(model).accuracy
    assert {path.name for path in model.parent.iterdir()} == {"student.onnx", "student.json", built.path.name}


def test_every_builder_makes_what_an_engine_runs() -> None:
    assert set(BUILDERS) - {"torch_tensorrt"} < set(ENGINES)  # whose plans TensorRT runs


# Precision is in the file


@pytest.mark.parametrize(("claimed", "there"), [("fp16", "fp32"), ("int8", "fp32"), ("fp32", "fp16"), ("fp16", "int8")])
def test_a_precision_that_is_not_in_the_graph_is_refused(
    folder: Path, tmp_path: Path, claimed: str, there: str
) -> None:
    graph = onnx.load(str(folder / f"{there}.onnx"))
    path = lowered(folder / "student.json", graph, claimed, tmp_path / "claims.onnx")
    for engine in ("openvino", "tensorrt_rtx", "onnxruntime"):
        with pytest.raises(Refused, match=f"computes in {there.upper()} and its manifest claims {claimed.upper()}"):
            engine_from_onnx(path, engine)


def test_weights_that_are_only_stored_in_half_compute_in_single(folder: Path, tmp_path: Path, rtx: Any) -> None:
    onnx_from_checkpoint(
        folder / "student.pt", tmp_path / "small.onnx", ExportOptions((1, 2, 4), ExportOptions(half_weights=True))
    )
    assert engine_from_onnx(tmp_path / "small.json", "tensorrt_rtx").manifest.precision == "fp32"


# What needs a GPU says so; its parts are tried on the libraries that are here


@pytest.mark.skipif(not NO_GPU, reason="this machine has an NVIDIA device")
def test_without_a_gpu_tensorrt_names_what_can_be_built_here(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(model), "--engine", "tensorrt"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "there is no NVIDIA device here" in said and "onnxruntime" in said
    assert [path.name for path in sorted(model.parent.iterdir())] == ["student.json", "student.onnx"]


def test_a_dla_that_is_not_there_is_refused(folder: Path, model: Path, rtx: Any) -> None:
    with pytest.raises(Refused, match="0 DLA cores and no core 0"):
        put_on_dla(parsed(rtx, read_source(folder / "fp16.json")), 0)
    with pytest.raises(Refused, match="--dla means nothing to the openvino engine"):
        engine_from_onnx(model, "openvino", options=BuildOptions(dla=0))


def test_a_dla_takes_one_fixed_batch_in_low_precision(folder: Path, tmp_path: Path) -> None:
    """Judged before a device is looked for; no DLA is here."""
    half = folder / "fp16.json"
    with pytest.raises(Refused, match=r"one fixed batch, and fp16\.onnx has batches of 1 2 4; .*--batch 2 2 2"):
        engine_from_onnx(half, "tensorrt", options=BuildOptions(dla=0))
    with pytest.raises(Refused, match="fp16 and int8, not fp32"):
        engine_from_onnx(folder / "student.json", "tensorrt", options=BuildOptions(dla=0))
    fixed = half_from(folder / "student.json", tmp_path / "fixed.onnx", (2, 2, 2)).manifest
    assert fixed.input.batch == [2, 2, 2]
    refuse_dla(read_source(tmp_path / "fixed.json"))


class FakeConfig:
    """The part of TensorRT's builder config that `parsed` uses, strict about what it knows."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def clear_flag(self, flag: str) -> None:
        assert flag == "TF32"

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == "WORKSPACE" and isinstance(size, int)
        self.limits[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        return 0


def fake_trt(config: FakeConfig) -> Any:
    """A stand-in for TensorRT that parses everything."""

    class Listening:
        pass

    builder = SimpleNamespace(
        create_network=lambda flags: SimpleNamespace(num_layers=0),
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: None),
    )
    return SimpleNamespace(
        ILogger=Listening,
        Builder=lambda listener: builder,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        OnnxParser=lambda network, listener: SimpleNamespace(parse=lambda data: True),
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
        LayerType=SimpleNamespace(QUANTIZE=1),
    )


def test_a_workspace_is_in_mebibytes(folder: Path, model: Path) -> None:
    for workspace, limits in ((None, {}), (512, {"WORKSPACE": 512 << 20})):
        config = FakeConfig()
        parsed(fake_trt(config), read_source(model), workspace)
        assert config.limits == limits
    with pytest.raises(Refused, match="--workspace is a number of MiB from 1"):
        engine_from_onnx(model, "tensorrt", options=BuildOptions(workspace=0))
    with pytest.raises(Refused, match="--workspace means nothing to the openvino engine"):
        engine_from_onnx(model, "openvino", options=BuildOptions(workspace=64))


def test_rtx_takes_a_workspace_and_builds_again_for_another(model: Path, rtx: Any) -> None:
    first = engine_from_onnx(model, "tensorrt_rtx", options=BuildOptions(workspace=256))
    assert first.manifest.built_for is not None and first.manifest.built_for["workspace"] == "256"
    assert engine_from_onnx(model, "tensorrt_rtx").why == ("workspace was 256 and is not set",)


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")  # where a cache does nothing
def test_timings_are_kept_for_a_device_and_a_version(model: Path, tmp_path: Path, rtx: Any) -> None:
    orin = {"device": "Orin (nvgpu)", "compute_capability": "8.7", "tensorrt": "10.3.0"}
    assert timing_name(orin) == "timing-Orin_nvgpu_-8.7-10.3.0.cache"
    cache = tmp_path / "cache" / timing_name(orin)
    found = parsed(rtx, read_source(model))
    begin_timing(found, cache)
    plan = serialised(found)
    keep_timing(found, cache)
    kept = cache.read_bytes()
    assert kept and plan and [path.name for path in cache.parent.iterdir()] == [cache.name]
    cache.write_bytes(b"of another version")
    again = parsed(rtx, read_source(model))
    begin_timing(again, cache)
    assert serialised(again)
    keep_timing(again, cache)
    assert cache.read_bytes() != b"of another version"


class FakeTorchTensorRt:
    """Takes what Torch-TensorRT takes and keeps it."""

    def __init__(self) -> None:
        self.dynamo, self.given, self.program = self, None, None

    def Input(self, **shapes: Any) -> Any:  # noqa: N802
        return SimpleNamespace(**shapes)

    def convert_exported_program_to_serialized_trt_engine(self, program: Any, arg_inputs: Any, **options: Any) -> bytes:
        assert options == {"use_explicit_typing": True, "disable_tf32": True}
        self.program, (self.given,) = program, arg_inputs
        return b"plan"


@pytest.mark.slow
def test_torch_tensorrt_gets_the_whole_network_with_a_dynamic_batch(folder: Path) -> None:
    fake, spec = FakeTorchTensorRt(), read_manifest(folder / "student.json").input
    assert plan_from_checkpoint(fake, folder / "student.pt", spec, "cpu") == b"plan"
    given: Any = fake.given
    assert (given.min_shape, given.opt_shape, given.max_shape) == ((1, 32, 32, 3), (2, 32, 32, 3), (4, 32, 32, 3))
    network, program = network_from(load_checkpoint(folder / "student.pt")), fake.program
    assert program is not None
    for count in (1, 3, 4):
        pixels = torch.from_numpy(PICTURES[:count])
        with torch.no_grad():
            torch.testing.assert_close(program.module()(pixels), network.embed(pixels), atol=1e-5, rtol=1e-5)


def test_torch_tensorrt_builds_of_the_models_own_checkpoint(folder: Path, tmp_path: Path) -> None:
    def refused(match: str, model: str = "student.json", **options: Any) -> None:
        with pytest.raises(Refused, match=match):
            open_torch_tensorrt(read_source(folder / model), BuildOptions(**options))

    refused("name the one of this model with --checkpoint")
    refused("there is no checkpoint", checkpoint=tmp_path / "gone.pt")
    refused("is not what student.onnx was exported from", checkpoint=folder / "student.onnx")
    refused("builds fp32, as the checkpoint is, and not fp16", "fp16.json", checkpoint=folder / "student.pt")
    if NO_GPU:
        refused("there is no NVIDIA device here", checkpoint=folder / "student.pt")


# The verb


def test_the_verb_says_in_json_what_there_is(model: Path, rtx: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", str(model), "--engine", "tensorrt_rtx", "--capabilities", "8.6", "8.9", "--json"]
    said = []
    for _ in range(2):
        assert main(words) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert [one["built"] for one in said] == [True, False]
    assert said[0]["manifest"] == str(model.with_name("student.tensorrt_rtx.json"))
    assert said[0]["built_for"]["compute_capability"] == "8.6 8.9" and said[1]["ran_here"] is False


def test_a_bundled_model_is_built_into_the_folder_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["build", "vreid-s", "--engine", "onnxruntime"]) == 0
    manifest: Manifest = read_manifest(tmp_path / "vreid-s.onnxruntime.json")
    assert manifest.engine == "vreid-s.onnx" and "vreid-s.onnxruntime.json" in capsys.readouterr().out


def test_requests_that_mean_nothing(model: Path, tmp_path: Path) -> None:
    def refused(match: str, engine: str = "onnxruntime", **options: Any) -> None:
        with pytest.raises(Refused, match=match):
            engine_from_onnx(options.pop("model", model), engine, **options)

    refused("there is no engine to build 'trt'; choose one of: onnxruntime", "trt")
    refused("--out is the manifest", out=tmp_path / "student.engine")
    refused("would replace", out=model)
    built = engine_from_onnx(model, "onnxruntime")
    if "tensorrt_rtx" in sys.modules:
        plan = engine_from_onnx(model, "tensorrt_rtx")
        refused("give the manifest of the ONNX model that it was built from", model=plan.path)
    assert built.fresh
