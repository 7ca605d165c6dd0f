"""What the processor can do at best: a large float32 matrix product, run by turns with the models it is compared with."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

SIDE = 768  # of the square matrices: large enough for the peak, small enough for the cache and for a short turn


class Gemm:
    """(SIDE, SIDE) @ (SIDE, SIDE) by ONNX Runtime's own kernels on `threads` threads; calling it runs it once.

    What a network reaches is told as its share of this. Winograd's convolutions need fewer multiplications than are
    counted, and INT8 has more of them in a register, so a share may be above 1.
    """

    flops = 2 * SIDE**3

    def __init__(self, threads: int) -> None:
        random = np.random.default_rng(0)
        self._left, right = random.standard_normal((2, SIDE, SIDE)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["left", "right"], ["out"])],
            "gemm",
            [helper.make_tensor_value_info("left", TensorProto.FLOAT, [SIDE, SIDE])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [SIDE, SIDE])],
            [numpy_helper.from_array(right, "right")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            onnx.ModelProto.SerializeToString(model), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self) -> None:
        self._session.run(None, {"left": self._left})


def share_of_peak(flops: int, ms: float, gemm_ms: float) -> float:
    """What a network of `flops` in `ms` reaches of what the product reached in `gemm_ms`; 1 is all."""
    return (flops / ms) / (Gemm.flops / gemm_ms)
