"""What every lowering of an ONNX graph begins with: weights as float32 initializers, a name for every node, known types."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import onnx
import onnxsim
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from vreid.models.errors import Refused

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
LOWERED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same: Constants and Casts of stored weights have become initializers, every
    node has a name of its own. Raises Refused for a graph that is quantised or in half precision already."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            stored[tensor.name] = tensor
        elif node.op_type == "Cast" and node.input[0] in stored and node.attribute[0].i == TensorProto.FLOAT:
            values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            tensor = graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
            stored[tensor.name] = tensor
        else:
            nodes.append(node)
    halves = {name for name, tensor in stored.items() if tensor.data_type == TensorProto.FLOAT16}
    for node in nodes:
        if node.op_type in LOWERED or (node.op_type in WEIGHTED and halves & set(node.input)):
            raise Refused(
                "the model is in INT8 or half precision already; give the float32 model that it was made from"
            )
    taken = {node.name for node in nodes}
    for place, node in enumerate(nodes):
        if not node.name:
            node.name = f"{node.op_type}_{place}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)
    return plain


def body_of(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes between the first and the last with weights, both included: where precision may be lowered.

    What stands before them makes normalised pixels of uint8, what stands after them is the L2 norm, whose sum of squares
    overflows in half (NVIDIA/TensorRT#1954). Raises Refused where nothing has weights.
    """
    return _between(graph, WEIGHTED)


def convolutions_of(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes between the first and the last convolution: where INT8 pays. The head behind them (pooling, batch
    norms, one small matrix) is a thousandth of the work and all of the embedding. A graph without any: its whole body."""
    return _between(graph, ("Conv", "ConvTranspose") if any(n.op_type == "Conv" for n in graph.node) else WEIGHTED)


def _between(graph: onnx.GraphProto, kinds: Sequence[str]) -> list[str]:
    stored = {tensor.name for tensor in graph.initializer}
    places = [
        place
        for place, node in enumerate(graph.node)
        if node.op_type in kinds and any(name in stored for name in node.input)
    ]
    if not places:
        raise Refused("the graph has no convolution and no matrix with weights; there is nothing to lower")
    return [node.name for node in graph.node[places[0] : places[-1] + 1]]


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """{tensor: element type}, as ONNX infers them."""
    graph = shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in graph.initializer
    }


def arrays_of(graph: onnx.GraphProto, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """{name: values} of the initializers among `names`."""
    wanted = set(names)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in wanted}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Without the nodes and initializers that nothing uses any more, and without shapes written for another graph."""
    while True:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        kept = [node for node in graph.node if used & set(node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(tensors)


LEAST = 1024  # numbers: what is smaller, biases above all, stays as it is


def half_stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large float32 initializers are float16 behind a Cast, which every engine folds away when it loads.

    Only the weights are rounded (2**-11 of their size); all arithmetic stays float32, so the precision is still fp32.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    casts = []
    for tensor in small.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = list(small.graph.node)
    given = {value.name for value in small.graph.input}
    start = next((place + 1 for place, node in enumerate(nodes) if given & set(node.input)), 0)
    nodes[start:start] = casts  # after the Cast of the pixels, which stays first
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small)
    return small


LARGE_BIAS = 16.0  # where float16 steps by a 64th, which is much next to a ReLU6


def biases_moved(graph: onnx.GraphProto) -> None:
    """Move large biases of 1x1 convolutions into the convolutions before them, in place; what is computed is the same.

    A folded batch norm takes away the mean of what its convolution makes, by a bias of hundreds. Where the input is another
    convolution's and nobody else's, m less in that one's bias is W m more in this one's; m is the least with which nearly nothing
    is left there.
    """
    makers = {name: node for node in graph.node for name in node.output}
    uses = [name for node in graph.node for name in node.input] + [value.name for value in graph.output]
    stored = arrays_of(graph, uses)
    for node in graph.node:
        before = makers.get(node.input[0]) if node.op_type == "Conv" and len(node.input) == 3 else None
        if before is None or before.op_type != "Conv" or len(before.input) < 3 or uses.count(node.input[0]) > 1:
            continue
        if not {*node.input[1:], before.input[2]} <= stored.keys() or not _pointwise(node, stored[node.input[1]]):
            continue
        weights, bias = (stored[name].astype(np.float64) for name in node.input[1:])
        if np.abs(bias).max() < LARGE_BIAS:
            continue
        matrix = weights.reshape(weights.shape[:2])
        moved = np.linalg.lstsq(matrix, -bias, rcond=1e-3)[0]
        earlier = stored[before.input[2]].astype(np.float64) - moved
        for place, values in ((node, bias + matrix @ moved), (before, earlier)):
            name = f"{place.name}_bias"
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
            stored[name] = values
            place.input[2] = name


def _pointwise(node: onnx.NodeProto, weights: NDArray[np.generic]) -> bool:
    """A matrix over the channels of each pixel: in one group, with no border of zeros, which no bias is added to."""
    set_to = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    plain = set_to.get("group", 1) == 1 and set_to.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    return plain and weights.shape[2:] == (1, 1) and not any(set_to.get("pads", ()))


LARGEST = float(np.finfo(np.float16).max)
FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}  # inputs that ONNX defines as float32 only


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes between the first and the last with weights compute in float16.

    Pixels, L2 norm, input and output stay in float32 (`body_of`). Engines need no flag: the types in the graph are what ONNX
    Runtime and a strongly typed TensorRT both obey. Raises Refused for a graph without weights, in half or INT8 already, or
    of weights that float16 cannot hold.
    """
    half = prepared(model)
    biases_moved(half.graph)
    graph, types, inside = half.graph, types_of(half), set(body_of(half.graph))
    stored = arrays_of(graph, list(types))
    for node in (node for node in graph.node if node.name in inside):
        for place, name in enumerate(node.input):
            if types.get(name) != TensorProto.FLOAT or place in FLOAT_INPUTS.get(node.op_type, ()):
                continue
            node.input[place] = f"{name}_half"
            if name in stored and all(f"{name}_half" != tensor.name for tensor in graph.initializer):
                graph.initializer.append(_halved(name, stored[name]))
        for place, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT:
                node.output[place] = f"{name}_half"
        for item in node.attribute:
            if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT:
                item.i = TensorProto.FLOAT16
            elif item.type == onnx.AttributeProto.TENSOR and item.t.data_type == TensorProto.FLOAT:
                item.t.CopyFrom(_halved(item.t.name, numpy_helper.to_array(item.t), item.t.name))
    _joined(graph)
    drop_unused(graph)
    onnx.checker.check_model(half, full_check=True)
    return half


def _halved(name: str, values: np.ndarray, called: str = "") -> onnx.TensorProto:
    if values.size and not np.abs(values).max() <= LARGEST:
        raise Refused(f"float16 ends at {LARGEST:.0f} and the weights {name} do not; keep this model in float32")
    return numpy_helper.from_array(values.astype(np.float16), called or f"{name}_half")


def _joined(graph: onnx.GraphProto) -> None:
    """Casts where the body begins and ends: a tensor that is made on one side and wanted on the other."""
    given = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    made = given | {name for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    ready = set(given)

    def need(name: str) -> None:
        if not name or name in made or name in ready:
            return
        source, to = (
            (name[: -len("_half")], TensorProto.FLOAT16) if name.endswith("_half") else (name, TensorProto.FLOAT)
        )
        if to == TensorProto.FLOAT:
            source = f"{name}_half"
        nodes.append(helper.make_node("Cast", [source], [name], name=f"{name}_cast", to=to))
        ready.add(name)

    for node in graph.node:
        for name in node.input:
            need(name)
        nodes.append(node)
    for value in graph.output:
        need(value.name)
    del graph.node[:]
    graph.node.extend(nodes)


def simplified(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The simplified graph; raises Refused when onnxsim's own check on noise fails, or its inputs and outputs change."""
    shape = [batch] + [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    # its own random inputs are in [0, 1), which is all zeros as uint8
    noise = {model.graph.input[0].name: np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)}
    smaller: onnx.ModelProto
    with contextlib.redirect_stdout(io.StringIO()):  # it prints, and stdout is for the one JSON document
        smaller, same = onnxsim.simplify(model, check_n=1, input_data=noise)
    if not same:
        raise Refused("onnxsim changed what the graph computes; export with another onnxsim version")
    name = smaller.graph.input[0].name
    first = [node.op_type for node in smaller.graph.node if name in node.input]
    if first != ["Cast"]:
        raise Refused(f"the graph must begin with a Cast from uint8 and begins with {first}; TensorRT would refuse it")
    if not smaller.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise Refused("the batch is no longer dynamic after onnxsim; export with another onnxsim version")
    onnx.checker.check_model(smaller)
    return smaller
