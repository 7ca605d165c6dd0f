"""What every lowering of an ONNX graph begins with: weights as float32 initializers, a name for every node, known types."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from vreid.models.errors import Refused

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
LOWERED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes the same: Constants and Casts of stored weights (deploy/store.py) have become initializers, every
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
