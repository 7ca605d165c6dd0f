"""The cost of an ONNX graph is that of its formulae, whatever the batch it was written for and however weights are stored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.deploy.onnx_cost import layers_of_onnx
from vreid.models.cost import LayerCost, total_of
from vreid.models.errors import Refused


def cost_of_onnx(path: Path) -> list[LayerCost]:
    return [layer.cost for layer in layers_of_onnx(path.read_bytes(), path)]


def stored(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, dtype), name)


def written(
    path: Path, nodes: Sequence[onnx.NodeProto], tensors: Sequence[onnx.TensorProto], batch: int | str | None = "batch"
) -> Path:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8, 10, 12])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [given], [out], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return path


@pytest.mark.parametrize("batch", ["batch", None, 1, 8])
def test_convolutions_and_products_are_counted_for_one_image(tmp_path: Path, batch: int | str | None) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2"], ["c"], "grouped", group=4, pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("BatchNormalization", ["f", "s", "t", "m", "v"], ["n"], "norm"),
        helper.make_node("Gemm", ["n", "w3", "b3"], ["h"], "gemm", transB=1),
        helper.make_node("MatMul", ["h", "w4"], ["out"], "product"),
    ]
    tensors = [
        stored("w1", 16, 8, 3, 3),
        stored("b1", 16),
        stored("w2", 16, 4, 3, 3),
        stored("w3", 6, 16),
        stored("b3", 6),
    ]
    tensors += [stored("w4", 6, 5), *(stored(name, 16) for name in "stmv")]
    layers = cost_of_onnx(written(tmp_path / "a.onnx", nodes, tensors, batch))
    assert [(layer.name, layer.kind, layer.shape, layer.params, layer.macs) for layer in layers] == [
        ("conv", "Conv", (16, 5, 6), 16 * 8 * 9 + 16, 16 * 5 * 6 * 8 * 9),
        ("grouped", "Conv", (16, 5, 6), 16 * 4 * 9, 16 * 5 * 6 * 4 * 9),
        ("norm", "BatchNormalization", (16,), 32, 0),
        ("gemm", "Gemm", (6,), 16 * 6 + 6, 16 * 6),
        ("product", "MatMul", (5,), 30, 30),
    ]
    assert total_of(layers).flops == 2 * sum(layer.macs for layer in layers)


def test_quantised_weights_are_counted_and_their_scales_are_not(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["wd"], axis=0),
        helper.make_node("Conv", ["d", "wd"], ["out"], "conv"),
    ]
    tensors = [
        stored("scale"),
        stored("zero", dtype=np.int8),
        stored("scales", 16),
        stored("zeros", 16, dtype=np.int8),
        stored("w", 16, 8, 1, 1, dtype=np.int8),
    ]
    (layer,) = cost_of_onnx(written(tmp_path / "a.onnx", nodes, tensors))
    assert (layer.params, layer.macs) == (128, 128 * 120)


def test_a_weight_used_twice_is_stored_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=stored("", 8, 8, 1, 1)),
        helper.make_node("Conv", ["x", "w"], ["a"], "first"),
        helper.make_node("Conv", ["a", "w"], ["out"], "second"),
    ]
    layers = cost_of_onnx(written(tmp_path / "a.onnx", nodes, []))
    assert [layer.params for layer in layers] == [64, 0]
    assert layers[0].macs == layers[1].macs == 64 * 120


@pytest.mark.parametrize("content", [b"no graph", b"\x08"])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(Refused, match="not an ONNX file"):
        cost_of_onnx(tmp_path / "a.onnx")


def test_open_shapes_are_refused(tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, "height", "width"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Conv", ["x", "w"], ["out"], "conv")]
    graph = helper.make_graph(nodes, "graph", [given], [out], [stored("w", 8, 8, 1, 1)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(tmp_path / "a.onnx"))
    with pytest.raises(Refused, match="shape of out open"):
        cost_of_onnx(tmp_path / "a.onnx")
