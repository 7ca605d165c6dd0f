"""What exact INT8 sums cost ONNX Runtime on this processor: python bench/int8_exact.py

The bundled vreid-s in INT8, its ranges from noise (speed alone is measured), with weights of 8 and of 7 bits, with and without
the option that makes sums exact on x86 without VNNI, and in float32: CPU milliseconds of 4 pictures on one thread, the least of
12 by turns.
"""

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from vreid.deploy.graph import prepared
from vreid.deploy.quantize import quantised
from vreid.deploy.settings import Quantization
from vreid.models import zoo
from vreid.runtime.engines.onnxruntime import EXACT_INT8

ROUNDS = 12


def session(model: onnx.ModelProto, exact: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(EXACT_INT8[0], str(int(exact)))
    return ort.InferenceSession(model.SerializeToString(), options)


def main() -> None:
    graph = onnx.load(str(Path(zoo.__path__[0]) / "vreid-s.onnx"))
    given = graph.graph.input[0]
    shape = [size.dim_value for size in given.type.tensor_type.shape.dim][1:]
    pixels = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.uint8)
    sessions = {"float32": session(prepared(graph), True)}
    for reduced in (False, True):
        int8 = quantised(graph, [pixels], Quantization("cpu", reduce_range="yes" if reduced else "no"))
        for exact in (False, True):
            sessions[f"INT8, weights of {7 if reduced else 8} bits, {'exact' if exact else 'as it comes'}"] = session(
                int8, exact
            )
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, one in sessions.items():
            began = time.process_time()
            one.run(None, {given.name: pixels})
            times[name].append(1000 * (time.process_time() - began))
    for name, found in times.items():
        print(f"{name}: {min(found):.1f} ms")


if __name__ == "__main__":
    main()
