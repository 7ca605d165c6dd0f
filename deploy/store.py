"""Weights stored in half precision and computed in single: a file of half the size for the way to the device."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
