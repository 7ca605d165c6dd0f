"""What the processor can do at best: a large float32 matrix product, run by turns with the models it is compared with."""

import numpy as np
import onnxruntime as ort

SIDE = 768  # of the square matrices: large enough for the peak, small enough for the cache and for a short turn
# onnx.helper's c = MatMul(a, b) of two float matrices, opset 17, IR 8: the onnx package is not needed to bench
GRAPH = (
    b'\x08\x08:^\n\x11\n\x01a\n\x01b\x12\x01c"\x06MatMul\x12\x04gemm'
    b"Z\x15\n\x01a\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01n"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01n"
    b"b\x15\n\x01c\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01nB\x04\n\x00\x10\x11"
)


class Gemm:
    """(SIDE, SIDE) @ (SIDE, SIDE) by ONNX Runtime's own kernels on `threads` threads; calling it runs it once.

    What a network reaches is told as its share of this. Winograd's convolutions need fewer multiplications than are
    counted, and INT8 has more of them in a register, so a share may be above 1.
    """

    flops = 2 * SIDE**3

    def __init__(self, threads: int) -> None:
        left, right = np.random.default_rng(0).standard_normal((2, SIDE, SIDE)).astype(np.float32)
        self._given = {"a": left, "b": right}
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def __call__(self) -> np.ndarray:
        product: np.ndarray = self._session.run(None, self._given)[0]
        return product


def share_of_peak(flops: int, ms: float, gemm_ms: float) -> float:
    """What a network of `flops` in `ms` reaches of what the product reached in `gemm_ms`; 1 is all."""
    return (flops / ms) / (Gemm.flops / gemm_ms)
