"""What an ONNX file costs, node by node, from its shapes alone: FP32 and explicit Q/DQ graphs alike."""

from collections.abc import Callable
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import shape_inference

from vreid.models.cost import LayerCost
from vreid.models.errors import Refused

Shape = tuple[int, ...]
ShapeOf = Callable[[str], Shape]

# which inputs are parameters; of a batch norm the running statistics are none, as in torch
PARAMETERS = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2)}
# what stands between a stored weight and the node that uses it
HANDED_ON = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape")


def cost_of_onnx(path: str | Path) -> list[LayerCost]:
    """Of the file at `path`, as `layers_of_onnx`."""
    path = Path(path)
    try:
        return layers_of_onnx(path.read_bytes(), path)
    except OSError as error:
        raise Refused(f"{path} is no ONNX file that can be read; give the manifest of an ONNX model") from error


def layers_of_onnx(data: bytes, path: Path) -> list[LayerCost]:
    """Every Conv, Gemm, MatMul and BatchNormalization of one image (the batch set to 1), in the order of the graph.

    Parameters are the stored numbers a node uses, each counted once: a folded network has a bias for each folded batch
    norm; scales and zero points of Q/DQ are none. Raises Refused for a file that is no ONNX or has open shapes.
    """
    try:
        model = onnx.load_model_from_string(data)
        graph = _with_batch_one(model).graph
    except (DecodeError, onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise Refused(f"{path} is no ONNX file that can be read; give the manifest of an ONNX model") from error
    shapes = _shapes(graph)
    stored = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    stored |= {node.output[0]: tuple(node.attribute[0].t.dims) for node in graph.node if node.op_type == "Constant"}
    maker = {output: node for node in graph.node for output in node.output}

    def shape(name: str) -> Shape:
        found = stored.get(name, shapes.get(name))
        if found is None or 0 in found:
            raise Refused(f"{path} leaves the shape of {name} open; export the model again with 'vreid export'")
        return found

    def origin(name: str) -> str:
        while name not in stored and name in maker and maker[name].op_type in HANDED_ON:
            name = maker[name].input[0]
        return name

    layers: list[LayerCost] = []
    counted: set[str] = set()
    for node in (node for node in graph.node if node.op_type in PARAMETERS):
        used = {origin(node.input[place]) for place in PARAMETERS[node.op_type] if place < len(node.input)}
        new = {name for name in used if name in stored} - counted
        counted |= new
        name = node.name or node.output[0]
        params = sum(prod(stored[name]) for name in new)
        layers.append(LayerCost(name, node.op_type, shape(node.output[0])[1:], params, _macs(node, shape)))
    return layers


def _macs(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Outputs times the length of the sum behind each."""
    if node.op_type == "BatchNormalization":
        return 0
    weight = shape(node.input[1])
    if node.op_type == "Conv":  # (outputs, inputs / groups, kernel height, kernel width)
        length = prod(weight[1:])
    elif node.op_type == "Gemm":
        length = weight[1] if any(item.name == "transB" and item.i for item in node.attribute) else weight[0]
    else:  # (..., K, N), or (K,)
        length = weight[-2] if len(weight) > 1 else weight[0]
    return prod(shape(node.output[0])) * length


def _with_batch_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every shape inferred for a batch of 1; shapes written for another batch are dropped first."""
    given = {tensor.name for tensor in model.graph.initializer}
    for value in (value for value in model.graph.input if value.name not in given):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Name -> shape, an unknown length as 0."""
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}
