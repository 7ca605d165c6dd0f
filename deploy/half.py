"""A network that computes in half precision: float16 body, float32 pixels and float32 L2 norm, written into the ONNX."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.deploy.graph import arrays_of, body_of, drop_unused, prepared, types_of
from vreid.models.errors import Refused

LARGEST = float(np.finfo(np.float16).max)
FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}  # inputs that ONNX defines as float32 alone


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes between the first and the last with weights compute in float16.

    Pixels, L2 norm, input and output stay in float32 (`body_of`). Engines need no flag: the types in the graph are what ONNX
    Runtime and a strongly typed TensorRT both obey. Raises Refused for a graph without weights, in half or INT8 already, or
    of weights that float16 cannot hold.
    """
    half = prepared(model)
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
