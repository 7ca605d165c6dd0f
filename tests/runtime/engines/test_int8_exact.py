"""INT8 is integer arithmetic: an engine's sums are those of whole numbers, whatever the processor can do."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from vreid.models.manifest import Cost, Input, Manifest, Output, write_manifest
from vreid.runtime.embedder import open_embedder

onnx = pytest.importorskip("onnx")
STEP = 512  # of the output's scale: a power of two, by which a float is divided without an error
CHANNELS = 16


def weights() -> np.ndarray:
    """(CHANNELS, 3, 3, 3) int8 of both signs and the full range: two products of one sign and a byte need 17 bits."""
    return np.random.default_rng(0).integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A convolution in INT8, 3 x 3 on pixels from 0 to 255, and its mean over the picture's inside, in the form of Q/DQ."""
    make, kind, stored = onnx.helper, onnx.TensorProto, onnx.numpy_helper.from_array
    scales = {"one": np.float32(1), "step": np.float32(STEP)}
    zeros = {"byte": np.uint8(0), "sign": np.int8(0), "middle": np.uint8(128)}
    tensors = [stored(np.array(value), name) for name, value in {**scales, **zeros}.items()]
    nodes = [
        make.make_node("Cast", ["images"], ["float"], to=kind.FLOAT),
        make.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        make.make_node("QuantizeLinear", ["planes", "one", "byte"], ["x8"]),
        make.make_node("DequantizeLinear", ["x8", "one", "byte"], ["x"]),
        make.make_node("DequantizeLinear", ["w8", "one", "sign"], ["w"]),
        make.make_node("Conv", ["x", "w"], ["y"]),
        make.make_node("QuantizeLinear", ["y", "step", "middle"], ["y8"]),
        make.make_node("DequantizeLinear", ["y8", "step", "middle"], ["found"]),
        make.make_node("ReduceMean", ["found"], ["embedding"], axes=[2, 3], keepdims=0),
    ]
    pixels = make.make_tensor_value_info("images", kind.UINT8, ["batch", 8, 8, 3])
    feature = make.make_tensor_value_info("embedding", kind.FLOAT, ["batch", CHANNELS])
    graph = make.make_graph(nodes, "sums", [pixels], [feature], [*tensors, stored(weights(), "w8")])
    engine = tmp_path / "sums.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), engine)
    about = Manifest(
        name="sums", engine=engine.name, sha256=hashlib.sha256(engine.read_bytes()).hexdigest(),
        backend="onnxruntime", precision="int8", input=Input(height=8, width=8, batch=[1, 4, 8]),
        output=Output(dim=CHANNELS), cost=Cost(params=0, macs=0, flops=0), accuracy=None, match=None,
        fingerprint="sums-in-int8", built_for=None, made_from=None,
    )  # fmt: skip
    write_manifest(about, tmp_path / "sums.json")
    return tmp_path / "sums.json"


def test_sums_of_int8_products_are_exact(manifest: Path) -> None:
    """Without VNNI x86 would add pairs of products in 16 bits, which overflow."""
    pictures = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(pictures.astype(np.int64), (3, 3), axis=(1, 2))  # type: ignore[call-overload]
    sums = np.einsum("byxchw,fchw->bfyx", windows, weights().astype(np.int64))
    assert np.abs(sums).max() > 2**15  # it would overflow
    expected = STEP * np.clip(np.rint(sums / STEP), -128, 127).mean((2, 3))
    found = open_embedder(manifest).infer(pictures)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)  # a mean of float32: 1 sum of 36 is 14 away
