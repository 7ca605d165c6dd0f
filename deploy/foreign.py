"""The graph of a foreign embedder with our preprocessing before it and the L2 norm behind it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.deploy.model import refuse_batch
from vreid.deploy.settings import Preprocessing
from vreid.models.errors import MOST_PIXELS, MOST_SIDE, Refused, shown

EPS = 1e-12
GREY = (0.114, 0.587, 0.299)  # of blue, green and red, as cv2.COLOR_BGR2GRAY (ITU-R BT.601)
FLOATS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
CHANNELS = (1, 3)


@dataclass(frozen=True)
class ForeignInput:
    """The input of a foreign network: its name and element type, the size it takes, and its own batch, 0 where that varies."""

    name: str
    kind: int
    height: int
    width: int
    channels: int
    first: bool  # whether the channels come before height and width
    batch: int


def refuse_preprocessing(wants: Preprocessing) -> None:
    """Raises Refused for numbers that make no sense, before any work is done."""
    refuse_batch(wants.batch)
    numbers = (*wants.mean, *wants.std, wants.scale)
    if not np.isfinite(numbers).all() or min(*wants.std, wants.scale) <= 0:
        raise Refused("--mean, --std and --scale are finite numbers, --std and --scale above 0; correct them")
    if wants.size is not None and not 1 <= min(wants.size) <= max(wants.size) <= MOST_SIDE:
        given = shown(f"{wants.size[0]} {wants.size[1]}")
        raise Refused(f"--size is a height and a width from 1 to {MOST_SIDE}, not {given}")


def input_of(model: onnx.ModelProto, source: Path, wants: Preprocessing) -> ForeignInput:
    """The one input of `model`, if it takes float pictures. Raises Refused."""
    stored = {tensor.name for tensor in model.graph.initializer}
    stored |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise Refused(f"{source} has {len(inputs)} inputs; an embedder takes pictures and nothing else")
    about = inputs[0].type.tensor_type
    dims = [dim.dim_value for dim in about.shape.dim]
    if about.elem_type not in FLOATS or len(dims) != 4:
        raise Refused(f"{source} does not take float pictures of (N, 3, height, width); export it so")
    last = dims[1] not in CHANNELS and dims[3] in CHANNELS
    first = wants.layout == "NCHW" or (wants.layout == "auto" and not last)
    channels, size = (dims[1], dims[2:]) if first else (dims[3], dims[1:3])
    if channels not in (0, *CHANNELS):
        raise Refused(
            f"{source} does not take float pictures of (N, 3, height, width): its input has {channels} channels; export it so"
        )
    height, width = wants.size or size
    if min(height, width) < 1:
        raise Refused(f"{source} leaves the size of its pictures open; give it with --size HEIGHT WIDTH")
    if any(own not in (0, side) for own, side in zip(size, (height, width), strict=True)):
        raise Refused(f"{source} takes pictures of {size[0]} x {size[1]}, not {height} x {width}")
    if max(height, width) > MOST_SIDE or height * width * wants.batch[2] > MOST_PIXELS:
        raise Refused(
            f"{source} takes {wants.batch[2]} pictures of {height} x {width} at once, which is more than {MOST_SIDE} pixels a "
            f"side or {MOST_PIXELS / 1e6:.0f} million in all; export it for smaller pictures, or lower --batch"
        )
    return ForeignInput(inputs[0].name, about.elem_type, height, width, channels or 3, first, dims[0])


def output_of(model: onnx.ModelProto, source: Path, wants: Preprocessing) -> str:
    """The name of the embedding. Raises Refused for several without a choice, and for what is not a tensor."""
    values = {value.name: value for value in model.graph.output}
    names = ", ".join(values) or "none"
    if wants.output is None and len(values) != 1:
        raise Refused(f"{source} has the outputs {names}; name the embedding with --output")
    if wants.output is not None and wants.output not in values:
        raise Refused(f"{source} has no output {wants.output}; it has {names}")
    wanted = wants.output or next(iter(values))
    if not values[wanted].type.HasField("tensor_type"):
        raise Refused(f"the output {wanted} of {source} is a sequence and not a tensor; export one tensor (N, D)")
    if wanted in {value.name for value in model.graph.input}:
        raise Refused(f"{source} gives its input back; export an embedder")
    return wanted


def wrapped(
    model: onnx.ModelProto, given: ForeignInput, wanted: str, wants: Preprocessing, by_reshape: bool
) -> onnx.ModelProto:
    """A copy that takes uint8 BGR (batch, height, width, 3) and gives (batch, D) of length one; D is still open.

    `by_reshape` makes rows by the number of pictures, which also mends an output that has lost its batch of one; else the
    output is flattened from its second axis on, which every engine knows how to fold.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    names = {"images": "vreid_foreign_images", "embedding": "vreid_foreign_embedding"}
    _rename(graph, {**names, given.name: "vreid_pixels", wanted: "vreid_raw"})
    opset = next(entry.version for entry in found.opset_import if entry.domain in ("", "ai.onnx"))
    before, constants = _preprocessing(given, wants)
    nodes = [*before, *graph.node]
    if by_reshape:
        nodes += [
            helper.make_node("Shape", ["images"], ["vreid_shape"]),
            helper.make_node("Gather", ["vreid_shape", "vreid_zero"], ["vreid_count"], axis=0),
            helper.make_node("Concat", ["vreid_count", "vreid_rest"], ["vreid_rows"], axis=0),
            helper.make_node("Reshape", ["vreid_raw", "vreid_rows"], ["vreid_flat"]),
        ]
        constants |= {"vreid_zero": np.array([0]), "vreid_rest": np.array([-1])}
    else:
        nodes.append(helper.make_node("Flatten", ["vreid_raw"], ["vreid_flat"], axis=1))
    nodes += [
        helper.make_node("Cast", ["vreid_flat"], ["vreid_single"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["vreid_single", "vreid_single"], ["vreid_squares"]),
        _summed("vreid_squares", "vreid_sum", opset),
        helper.make_node("Max", ["vreid_sum", "vreid_eps"], ["vreid_least"]),
        helper.make_node("Sqrt", ["vreid_least"], ["vreid_length"]),
        helper.make_node("Div", ["vreid_single", "vreid_length"], ["embedding"]),
    ]
    constants["vreid_eps"] = np.array(EPS, np.float32)
    if opset >= 13:
        constants["vreid_axis"] = np.array([1])
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    shape: list[str | int | None] = ["batch", given.height, given.width, 3]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]))
    found.ir_version = max(found.ir_version, 8)  # before 4 every stored tensor is an input too
    return found


def _summed(name: str, out: str, opset: int) -> onnx.NodeProto:
    """Over the second axis, which is an input of ReduceSum since opset 13."""
    if opset < 13:
        return helper.make_node("ReduceSum", [name], [out], axes=[1], keepdims=1)
    return helper.make_node("ReduceSum", [name, "vreid_axis"], [out], keepdims=1)


def _preprocessing(given: ForeignInput, wants: Preprocessing) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """images -> vreid_pixels. The first node is a Cast, as TensorRT transposes no uint8."""
    order = np.eye(3, dtype=np.float32)[[2, 1, 0] if wants.order == "RGB" else [0, 1, 2]]
    mean, std = np.array(wants.mean, np.float32), np.array(wants.std, np.float32)
    if given.channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    shape = (1, given.channels, 1, 1) if given.first else (1, 1, 1, given.channels)
    constants: dict[str, np.ndarray] = {
        "vreid_mean": (mean * np.float32(wants.scale)).reshape(shape),
        "vreid_std": (std * np.float32(wants.scale)).reshape(shape),
    }
    nodes = [helper.make_node("Cast", ["images"], ["vreid_float"], to=TensorProto.FLOAT)]
    if given.channels == 1:
        constants["vreid_grey"] = np.array(GREY, np.float32).reshape(3, 1)
        nodes.append(helper.make_node("MatMul", ["vreid_float", "vreid_grey"], ["vreid_colours"]))
    else:
        constants["vreid_order"] = order.argmax(1).astype(np.int64)
        nodes.append(helper.make_node("Gather", ["vreid_float", "vreid_order"], ["vreid_colours"], axis=3))
    last = "vreid_colours"
    if given.first:
        nodes.append(helper.make_node("Transpose", [last], ["vreid_planes"], perm=[0, 3, 1, 2]))
        last = "vreid_planes"
    half = given.kind != TensorProto.FLOAT
    nodes += [
        helper.make_node("Sub", [last, "vreid_mean"], ["vreid_centred"]),
        helper.make_node("Div", ["vreid_centred", "vreid_std"], ["vreid_scaled" if half else "vreid_pixels"]),
    ]
    if half:
        nodes.append(helper.make_node("Cast", ["vreid_scaled"], ["vreid_pixels"], to=given.kind))
    return nodes, constants


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Tensors of a graph and of the graphs inside its nodes, which may use those around them."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for item in node.attribute:
            for inner in (*([item.g] if item.HasField("g") else []), *item.graphs):
                _rename(inner, names)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
