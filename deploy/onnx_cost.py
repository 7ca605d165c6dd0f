"""What an ONNX file costs, node by node, from its shapes only: float, explicit Q/DQ and operators that compute in INT8 alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, inliner, shape_inference

from vreid.models.cost import LayerCost
from vreid.models.errors import Refused

Shape = tuple[int, ...]
ShapeOf = Callable[[str], Shape]


@dataclass(frozen=True)
class Kind:
    """How an operator multiplies: `weight` is the place of the input that it sums over, `parameters` are the places of its
    stored numbers, `like` is the float operator with the same sum, `int8` whether it computes in INT8 by itself."""

    like: str
    weight: int
    parameters: tuple[int, ...]
    int8: bool = False


# of ONNX (onnx.ai/onnx/operators) and of ONNX Runtime's contrib operators; of a batch norm the running statistics are no
# parameters, as in torch
KINDS = {
    "Conv": Kind("Conv", 1, (1, 2)),
    "FusedConv": Kind("Conv", 1, (1, 2)),
    "NhwcFusedConv": Kind("Conv", 1, (1, 2)),
    "ConvTranspose": Kind("ConvTranspose", 1, (1, 2)),
    "Gemm": Kind("Gemm", 1, (1, 2)),
    "FusedGemm": Kind("Gemm", 1, (1, 2)),
    "MatMul": Kind("MatMul", 1, (0, 1)),
    "FusedMatMul": Kind("MatMul", 1, (0, 1)),
    "BatchNormalization": Kind("BatchNormalization", 1, (1, 2)),
    "QLinearConv": Kind("Conv", 3, (3, 8), int8=True),
    "ConvInteger": Kind("Conv", 1, (1,), int8=True),
    "QGemm": Kind("Gemm", 3, (3, 6), int8=True),
    "QLinearMatMul": Kind("MatMul", 3, (0, 3), int8=True),
    "MatMulInteger": Kind("MatMul", 1, (0, 1), int8=True),
    "MatMulIntegerToFloat": Kind("MatMul", 1, (0, 1), int8=True),
    "DynamicQuantizeMatMul": Kind("MatMul", 1, (0, 1), int8=True),
}
# what stands between a stored weight and the node that uses it
HANDED_ON = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape")
FAULTS = (
    OSError,
    DecodeError,
    RuntimeError,
    ValueError,
    onnx.checker.ValidationError,
    shape_inference.InferenceError,
)


@dataclass(frozen=True)
class Layer:
    """A node that multiplies, its cost for one image, and the precision that it multiplies in."""

    cost: LayerCost
    precision: str


def layers_of_onnx(data: bytes, path: Path) -> list[Layer]:
    """Every convolution, matrix product (`KINDS`) and batch norm of one image, the batch set to 1, in the order of the graph.

    Functions are looked into, graphs inside If, Loop and Scan are not. Parameters are the stored numbers a node uses, each
    counted once: a folded network has a bias for each folded batch norm; scales and zero points of Q/DQ are none. Shapes
    that cannot be inferred are those of one run. Raises Refused for a file that is not ONNX or has open shapes.
    """
    try:
        model = onnx.load_model_from_string(data)
        if model.functions:
            model = inliner.inline_local_functions(model)
        graph = _with_batch_one(model)
    except FAULTS as error:
        raise Refused(f"{path} is not an ONNX file that can be read; give the manifest of an ONNX model") from error
    return list(_layers(graph, path))


def _layers(graph: "Typed", path: Path) -> Iterator[Layer]:
    maker = {output: node for node in graph.nodes for output in node.output}

    def shape(name: str) -> Shape:
        found = graph.stored.get(name, graph.shapes.get(name))
        if found is None or 0 in found:
            raise Refused(f"{path} leaves the shape of {name} open; export the model again with 'vreid export'")
        return found

    def origin(name: str) -> str:
        while name not in graph.stored and name in maker and maker[name].op_type in HANDED_ON:
            name = maker[name].input[0]
        return name

    counted: set[str] = set()
    for node in (node for node in graph.nodes if node.op_type in KINDS):
        kind = KINDS[node.op_type]
        used = {origin(node.input[place]) for place in kind.parameters if place < len(node.input)}
        new = {name for name in used if name in graph.stored} - counted
        counted |= new
        name = node.name or node.output[0]
        params = sum(prod(graph.stored[name]) for name in new)
        cost = LayerCost(name, node.op_type, shape(node.output[0])[1:], params, _macs(node, kind, shape))
        yield Layer(cost, _precision(node, kind, maker, graph.types))


def _macs(node: onnx.NodeProto, kind: Kind, shape: ShapeOf) -> int:
    """Outputs times the length of the sum behind each; of a transposed convolution, inputs times what each adds to."""
    if kind.like == "BatchNormalization":
        return 0
    weight = shape(node.input[kind.weight])
    if kind.like == "ConvTranspose":
        return prod(shape(node.input[0])) * prod(weight[1:])
    turned = any(item.name == "transB" and item.i for item in node.attribute)
    if kind.like == "Conv":  # (outputs, inputs / groups, kernel height, kernel width)
        length = prod(weight[1:])
    elif kind.like == "Gemm":
        length = weight[1] if turned else weight[0]
    else:  # (..., K, N), or (K,)
        length = weight[-1] if turned or len(weight) == 1 else weight[-2]
    return prod(shape(node.output[0])) * length


def _precision(node: onnx.NodeProto, kind: Kind, maker: dict[str, onnx.NodeProto], types: dict[str, int]) -> str:
    """int8 where both factors are INT8 or come out of DequantizeLinear; INT8 weights with float inputs are multiplied in float."""
    if kind.int8:
        return "int8"
    factors = [maker.get(name) for name in (node.input[0], node.input[kind.weight])]
    if all(one is not None and one.op_type == "DequantizeLinear" for one in factors):
        return "int8"
    found = types.get(node.output[0], types.get(node.input[0], TensorProto.FLOAT))
    return "fp16" if found == TensorProto.FLOAT16 else "bf16" if found == TensorProto.BFLOAT16 else "fp32"


@dataclass(frozen=True)
class Typed:
    """The nodes of a graph, the shapes of what is stored in it, and shapes (open lengths as 0) and types of all else."""

    nodes: list[onnx.NodeProto]
    stored: dict[str, Shape]
    shapes: dict[str, Shape]
    types: dict[str, int]


def _with_batch_one(model: onnx.ModelProto) -> Typed:
    """Shapes for a batch of 1; those written for another batch are dropped first."""
    given = {tensor.name for tensor in model.graph.initializer}
    for value in (value for value in model.graph.input if value.name not in given):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value != 1:
            dims[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            stored.update((node.output[0], tuple(item.t.dims)) for item in node.attribute if item.name == "value")
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except FAULTS:  # operators that the onnx package does not know
        graph = shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    needed = {
        name
        for node in model.graph.node
        if node.op_type in KINDS
        for name in (node.input[0], node.input[KINDS[node.op_type].weight], node.output[0])
    } - stored.keys()
    unknown = sorted(name for name in needed if name not in shapes or 0 in shapes[name])
    if unknown:
        for name, array in _run(model, unknown).items():
            shapes[name], types[name] = array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)
    return Typed(list(model.graph.node), stored, shapes, types)


def _run(model: onnx.ModelProto, names: list[str]) -> dict[str, np.ndarray]:
    """{name: values} of one run on zeros; nothing where it does not run, or where its input is open."""
    import onnxruntime as ort

    from vreid.runtime.engines.onnxruntime import FAULTS as NOT_RUN

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    made = {name for node in probe.graph.node for name in node.output}
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name in made)
    given = {tensor.name for tensor in probe.graph.initializer}
    feeds = {}
    for value in (value for value in probe.graph.input if value.name not in given):
        about = value.type.tensor_type
        shape = [dim.dim_value for dim in about.shape.dim]
        if 0 in shape:
            return {}
        feeds[value.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(about.elem_type))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        wanted = [one.name for one in session.get_outputs()]
        return {name: np.asarray(one) for name, one in zip(wanted, session.run(wanted, feeds), strict=True)}
    except NOT_RUN:
        return {}
