"""onnxsim, checked: the simplified graph must still begin with the Cast and keep its batch dynamic."""

import onnx
import onnxsim

from vreid.models.errors import Refused


def simplified(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The simplified graph; raises Refused when onnxsim's own check or the contract fails."""
    shape = [batch] + [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    smaller, same = onnxsim.simplify(model, test_input_shapes={model.graph.input[0].name: shape})
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
