"""onnxsim, checked: the simplified graph must still begin with the Cast and keep its batch dynamic."""

import contextlib
import io

import numpy as np
import onnx
import onnxsim

from vreid.models.errors import Refused


def simplified(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The simplified graph; raises Refused when onnxsim's own check on noise or the contract fails."""
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
