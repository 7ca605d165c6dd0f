"""Faults planted into a lowered model, each a copy with a manifest that hides it, and sound lowerings to compare with.

A fault is a function of an ONNX graph (float32, as `vreid export` writes it) and a folder of pictures' batches, where it
needs any. `planted` writes the engine and its manifest, with the right sha256: what is left to catch is the fault itself.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.deploy.graph import body_of, prepared
from vreid.models.files import sha256_of
from vreid.models.manifest import Manifest, write_manifest
from vreid.models.preprocess import Image

Graph = onnx.ModelProto
Batches = Sequence[Image]  # (B, H, W, 3) of real pictures, for what is calibrated


@dataclass(frozen=True)
class Fault:
    """`make` gives the faulty graph; `changes` are what its manifest claims."""

    make: Callable[[Graph, Batches], Graph]
    changes: dict[str, Any]


def planted(fault: Fault, source: Manifest, graph: Graph, batches: Batches, folder: Path, name: str) -> Path:
    """The manifest, in `folder`, of `graph` with the fault in it."""
    engine = folder / f"{name}.onnx"
    onnx.save(fault.make(prepared(graph), batches), str(engine))
    about = {"name": name, "engine": engine.name, "sha256": sha256_of(engine), **fault.changes}
    write_manifest(source.model_copy(update=about), engine.with_suffix(".json"))
    return engine.with_suffix(".json")


def swapped(graph: Graph, _: Batches) -> Graph:
    """The colours are not reordered: the network gets BGR for RGB."""
    gather = next(node for node in graph.graph.node if node.op_type == "Gather")
    order = numpy_helper.to_array(_stored(graph, gather.input[1]))
    _store(graph, gather.input[1], order[::-1].copy())
    return graph


def normalised_twice(graph: Graph, _: Batches) -> Graph:
    """Mean and standard deviation a second time, after the first."""
    sub, div = (_first(graph, kind) for kind in ("Sub", "Div"))
    again = [
        helper.make_node("Sub", [f"{div.output[0]}_once", sub.input[1]], ["twice_sub"], name="twice_sub"),
        helper.make_node("Div", ["twice_sub", div.input[1]], [div.output[0]], name="twice_div"),
    ]
    div.output[0] = again[0].input[0]
    return _after(graph, div, again)


def resized_by_nearest(graph: Graph, _: Batches) -> Graph:
    """Pixels at half the size, picked by the nearest, and back: another resize than that of the runtime."""
    div = _first(graph, "Div")
    nodes = []
    steps = [(f"{div.output[0]}_whole", "half_sized", 0.5), ("half_sized", div.output[0], 2.0)]
    for source, out, scale in steps:
        numbers = np.array([1, 1, scale, scale], np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(numbers, f"scales_{scale}"))
        flags = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        nodes.append(
            helper.make_node("Resize", [source, "", f"scales_{scale}"], [out], name=f"resize_{scale}", **flags)
        )
    div.output[0] = steps[0][0]
    return _after(graph, div, nodes)


def bit_flipped(graph: Graph, _: Batches) -> Graph:
    """The highest bit of one exponent, in a convolution half-way: a worn flash cell, a broken download."""
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    name = convolutions[len(convolutions) // 2].input[1]
    values = numpy_helper.to_array(_stored(graph, name)).copy()
    values.reshape(-1).view(np.uint32)[values.size // 2] ^= np.uint32(1 << 30)  # 0.01 becomes 3e36
    _store(graph, name, values)
    return graph


def overflowing(graph: Graph, _: Batches) -> Graph:
    """All of the graph in float16, the L2 norm too, of an embedding whose squares sum up past 65504."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    last = [node for node in graph.graph.node if node.op_type == "BatchNormalization"][-1]
    for place in (1, 2):  # scale and bias; the L2 norm takes the factor out again
        name = last.input[place]
        _store(graph, name, numpy_helper.to_array(_stored(graph, name)) * np.float32(1000))
    made: Graph = convert_float_to_float16(graph, keep_io_types=True)
    # ONNX Runtime 1.31 sums in float32 on a CPU and leaves out the Casts between two such nodes, which a GPU does not; a
    # Gather of everything is float16 on the CPU too
    total = _first(made, "ReduceSum")
    made.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "everything"))
    gather = helper.make_node("Gather", [f"{total.output[0]}_sum", "everything"], [total.output[0]], name="all", axis=1)
    total.output[0] = gather.input[0]
    return _after(made, total, [gather])


def dimension_lost(graph: Graph, _: Batches) -> Graph:
    """The weights of one number of the embedding are zero."""
    name = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")][-1].input[1]
    values = numpy_helper.to_array(_stored(graph, name)).copy()
    values[:, 3] = 0
    _store(graph, name, values)
    return graph


def of_others(graph: Graph, _: Batches) -> Graph:
    """The last layer of another training."""
    name = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm")][-1].input[1]
    values = numpy_helper.to_array(_stored(graph, name))
    drawn = np.random.default_rng(0).permutation(values.size).reshape(values.shape)
    _store(graph, name, values.reshape(-1)[drawn])
    return graph


def unchanged(graph: Graph, _: Batches) -> Graph:
    """The float32 graph: a fault only where the manifest claims more."""
    return graph


def int8_of_noise(graph: Graph, batches: Batches) -> Graph:
    """INT8 with the ranges of noise."""
    random = np.random.default_rng(0)
    return int8(graph, [random.integers(0, 256, batch.shape).astype(np.uint8) for batch in batches])


def int8_of_black(graph: Graph, batches: Batches) -> Graph:
    """INT8 with the ranges of black pictures."""
    return int8(graph, [np.zeros_like(batch) for batch in batches])


def int8(graph: Graph, batches: Batches) -> Graph:
    """INT8 with the ranges of the batches: ONNX Runtime's quantiser on every layer, as it comes."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{graph.graph.input[0].name: batch} for batch in batches]

        def get_next(self) -> dict[str, Image] | None:
            return self.left.pop(0) if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, str(source))
        quantize_static(
            str(source), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=body_of(graph.graph), activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )  # fmt: skip
        return onnx.load(str(out))


def half(graph: Graph, _: Batches) -> Graph:
    """FP16 with the L2 norm in FP32."""
    from vreid.deploy.graph import half_precision

    return half_precision(graph)


def half_weights(graph: Graph, _: Batches) -> Graph:
    """Weights stored in float16."""
    from vreid.deploy.graph import half_stored

    return half_stored(graph)


FP16, INT8 = {"precision": "fp16"}, {"precision": "int8"}
FAULTS = {
    "RGB and BGR swapped": Fault(swapped, {}),
    "mean and std twice": Fault(normalised_twice, {}),
    "nearest-neighbour resize": Fault(resized_by_nearest, {}),
    "INT8 calibrated on noise": Fault(int8_of_noise, INT8),
    "INT8 calibrated on black": Fault(int8_of_black, INT8),
    "one bit flipped, sha256 rewritten": Fault(bit_flipped, {}),
    "FP16 overflow in the norm": Fault(overflowing, FP16),
    "one dimension lost": Fault(dimension_lost, {}),
    "another checkpoint": Fault(of_others, {"fingerprint": "of-another"}),
    "another checkpoint, fingerprint forged": Fault(of_others, {}),
    "FP32 that claims FP16": Fault(unchanged, FP16),
    "FP32 that claims INT8": Fault(unchanged, INT8),
}
SOUND = {
    "the same graph": Fault(unchanged, {}),
    "weights stored in float16": Fault(half_weights, {}),
    "FP16, norm in FP32": Fault(half, FP16),
}
OPEN = {"INT8 of every layer": Fault(int8, INT8)}  # sound or not, as the network can bear it


def _first(graph: Graph, kind: str) -> onnx.NodeProto:
    return next(node for node in graph.graph.node if node.op_type == kind)


def _after(graph: Graph, node: onnx.NodeProto, more: Sequence[onnx.NodeProto]) -> Graph:
    nodes = list(graph.graph.node)
    place = nodes.index(node) + 1
    nodes[place:place] = more
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def _stored(graph: Graph, name: str) -> TensorProto:
    return next(tensor for tensor in graph.graph.initializer if tensor.name == name)


def _store(graph: Graph, name: str, values: np.ndarray[Any, Any]) -> None:
    _stored(graph, name).CopyFrom(numpy_helper.from_array(values, name))
